"""procrustes and apply_pose: what each transform takes away, other packages' answers, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import linalg, spatial
from scipy.spatial.transform import Rotation

from modelaug import procrustes
from modelaug.models.alignment import apply_pose, inverse_pose, pose_matrix, pose_parameter_count
from tests.examples import Array, hearts, one_line, philox, rotation

TRANSFORMS = ["similarity", "rigid", "translation", "none"]


def _shapes(d: int, *, n: int = 6, m: int = 9, largest: float = 0.5) -> Array:
    """Return noisy copies (n, m, d) of one shape in various poses."""
    rng = philox(d)
    base = rng.normal(size=(m, d)) * 10
    return np.stack(
        [
            np.exp(rng.normal() * 0.2) * (base + rng.normal(size=(m, d))) @ rotation(rng, d, largest).T
            + rng.normal(size=d) * 5
            + 30
            for _ in range(n)
        ]
    )


def _sizes(shapes: Array) -> Array:
    return np.linalg.norm(shapes - shapes.mean(axis=1, keepdims=True), axis=(1, 2))


def _rotations(poses: Array, d: int) -> Array:
    """Return the rotation matrices (n, d, d) of poses, without the package's own conversion."""
    if d == 3:
        return Rotation.from_rotvec(poses[:, 1:4]).as_matrix()
    return np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in poses[:, 1]])


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_shapes_and_poses_make_up_the_landmarks(d: int, transform: Any) -> None:
    shapes = _shapes(d)
    alignment = procrustes(shapes, transform=transform)
    assert alignment.shapes.shape == shapes.shape
    assert alignment.poses.shape == (len(shapes), pose_parameter_count(d))
    assert alignment.center.shape == (d,)
    np.testing.assert_allclose(alignment.mean, alignment.shapes.mean(axis=0), atol=1e-12)
    for pose, aligned, original in zip(alignment.poses, alignment.shapes, shapes, strict=True):
        np.testing.assert_allclose(apply_pose(pose, alignment.center, aligned), original, atol=1e-10)


@pytest.mark.parametrize("d", [2, 3])
def test_similarity_leaves_equal_sizes_at_one_place(d: int) -> None:
    shapes = _shapes(d)
    alignment = procrustes(shapes)
    np.testing.assert_allclose(_sizes(alignment.shapes), np.exp(np.log(_sizes(shapes)).mean()), rtol=1e-12)
    np.testing.assert_allclose(alignment.shapes.mean(axis=1), np.broadcast_to(alignment.center, (6, d)), atol=1e-10)
    np.testing.assert_allclose(alignment.center, shapes.mean(axis=(0, 1)), atol=1e-10)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_mean_pose_is_the_identity(d: int, transform: Any) -> None:
    poses = procrustes(_shapes(d), transform=transform).poses
    np.testing.assert_allclose(poses[:, 0].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(poses[:, -d:].mean(axis=0), 0, atol=1e-10)
    # The rotation nearest to all rotations, on average, is the identity: their sum is symmetric and positive.
    total = _rotations(poses, d).sum(axis=0)
    np.testing.assert_allclose(total, total.T, atol=1e-10)
    assert np.linalg.eigvalsh(total).min() > 0


@pytest.mark.parametrize("d", [2, 3])
def test_rigid_keeps_sizes(d: int) -> None:
    shapes = _shapes(d)
    alignment = procrustes(shapes, transform="rigid")
    assert not alignment.poses[:, 0].any()
    assert np.abs(alignment.poses[:, 1:-d]).max() > 0.1
    np.testing.assert_allclose(_sizes(alignment.shapes), _sizes(shapes), rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_translation_keeps_size_and_orientation(d: int) -> None:
    shapes = _shapes(d)
    alignment = procrustes(shapes, transform="translation")
    assert not alignment.poses[:, :-d].any()
    expected = shapes - shapes.mean(axis=1, keepdims=True) + shapes.mean(axis=(0, 1))
    np.testing.assert_allclose(alignment.shapes, expected, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_none_keeps_everything(d: int) -> None:
    shapes = _shapes(d)
    alignment = procrustes(shapes, transform="none")
    assert np.array_equal(alignment.shapes, shapes)
    assert not np.shares_memory(alignment.shapes, shapes)
    assert not alignment.poses.any()


@pytest.mark.parametrize("d", [2, 3])
def test_mirror_images_are_not_mapped_onto_each_other(d: int) -> None:
    shape = philox(7).normal(size=(d + 1, d)) * 10
    mirrored = shape * np.array([-1.0] + [1.0] * (d - 1))
    alignment = procrustes(np.stack([shape, mirrored, shape]))
    # The orientation of the simplex of the first landmarks survives.
    orientation = [np.sign(np.linalg.det(s[1:] - s[0])) for s in alignment.shapes]
    assert orientation == [np.sign(np.linalg.det(s[1:] - s[0])) for s in (shape, mirrored, shape)]
    assert np.abs(alignment.shapes[0] - alignment.shapes[1]).max() > 1
    np.testing.assert_allclose(alignment.shapes[0], alignment.shapes[2], atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_two_shapes_agree_with_scipy(d: int) -> None:
    first, second = _shapes(d, n=2)
    alignment = procrustes(np.stack([first, second]))
    centred = [s - s.mean(axis=0) for s in alignment.shapes]
    # An ordinary rotation of one onto the other finds nothing left to turn.
    turn, _ = linalg.orthogonal_procrustes(centred[1], centred[0])
    np.testing.assert_allclose(turn, np.eye(d), atol=1e-9)
    cosine = (centred[0] * centred[1]).sum() / np.prod([np.linalg.norm(c) for c in centred])
    _, _, disparity = spatial.procrustes(first, second)
    np.testing.assert_allclose(1 - cosine**2, disparity, atol=1e-10)


@pytest.mark.parametrize("d", [2, 3])
def test_every_shape_is_turned_to_the_mean_of_all(d: int) -> None:
    # The fixed point that generalized Procrustes analysis is defined by.
    alignment = procrustes(_shapes(d))
    mean = alignment.mean - alignment.mean.mean(axis=0)
    for shape in alignment.shapes:
        turn, _ = linalg.orthogonal_procrustes(shape - shape.mean(axis=0), mean)
        np.testing.assert_allclose(turn, np.eye(d), atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_align_is_what_the_alignment_did(d: int, transform: Any) -> None:
    shapes = _shapes(d)
    alignment = procrustes(shapes, transform=transform)
    assert alignment.transform == transform
    np.testing.assert_allclose(alignment.align(shapes), alignment.shapes, atol=1e-9)
    np.testing.assert_array_equal(alignment.align(shapes[2:3])[0], alignment.align(shapes)[2])


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("transform", "lost"), [("similarity", "srt"), ("rigid", "rt"), ("translation", "t")])
def test_align_takes_away_what_the_transform_says(d: int, transform: Any, lost: str) -> None:
    # An unseen shape, and the same in another pose: equal afterwards, if their poses differ in what is lost only.
    *training, unseen = _shapes(d, n=7)
    alignment = procrustes(training, transform=transform)
    pose = np.zeros(pose_parameter_count(d))
    pose[0] = 0.4 * ("s" in lost)
    pose[1:-d] = 1.1 * ("r" in lost)
    pose[-d:] = 7.0
    moved = apply_pose(pose, unseen[0], unseen)
    aligned = alignment.align([unseen, moved])
    np.testing.assert_allclose(aligned[1], aligned[0], atol=1e-9)
    np.testing.assert_allclose(aligned.mean(axis=1), np.broadcast_to(alignment.center, (2, d)), atol=1e-10)
    size = _sizes(alignment.shapes)[0] if "s" in lost else _sizes(unseen[None])[0]
    np.testing.assert_allclose(_sizes(aligned), size, rtol=1e-12)
    if "r" in lost:
        turn, _ = linalg.orthogonal_procrustes(aligned[0] - alignment.center, alignment.mean - alignment.center)
        np.testing.assert_allclose(turn, np.eye(d), atol=1e-9)


def test_align_without_a_transform_returns_a_copy() -> None:
    shapes = _shapes(2)
    aligned = procrustes(shapes, transform="none").align(shapes)
    assert np.array_equal(aligned, shapes)
    assert not np.shares_memory(aligned, shapes)


@pytest.mark.parametrize("d", [2, 3])
def test_align_mirrors_nothing(d: int) -> None:
    shapes = _shapes(d, largest=0.0)
    mirrored = shapes[0] * np.array([-1.0] + [1.0] * (d - 1))
    corners = slice(0, d + 1)
    before = np.sign(np.linalg.det(mirrored[corners][1:] - mirrored[0]))
    aligned = procrustes(shapes).align(mirrored[None])[0]
    assert np.sign(np.linalg.det(aligned[corners][1:] - aligned[0])) == before


@pytest.mark.parametrize(
    ("landmarks", "said"),
    [
        (np.ones((9, 2)), "landmarks has shape"),
        (np.ones((1, 8, 2)), r"landmarks has shape \(1, 8, 2\); pass \(n, 9, 2\)"),
        (np.ones((1, 9, 3)), r"pass \(n, 9, 2\)"),
        (np.full((1, 9, 2), np.inf), "is inf"),
        (np.concatenate([_shapes(2)[:2], np.ones((1, 9, 2))]), r"landmarks\[2\] all coincide"),
    ],
)
def test_align_refuses_bad_input_in_one_line(landmarks: Array, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        procrustes(_shapes(2)).align(landmarks)
    one_line(caught.value)


def test_alignment_brings_hearts_closer() -> None:
    landmarks = hearts().landmarks
    spread = {t: procrustes(landmarks, transform=t).shapes.var(axis=0).sum() for t in TRANSFORMS}  # type: ignore[arg-type]
    assert spread["similarity"] < spread["rigid"] < spread["translation"] < spread["none"]


def test_pose_parameters_mean_what_they_say() -> None:
    center = [1.0, 2.0]
    quarter = apply_pose([np.log(2), np.pi / 2, 10, 20], center, [[1, 2], [2, 2], [1, 3]])
    # A quarter turn takes the first axis to the second, and the second to minus the first.
    np.testing.assert_allclose(quarter, [[11, 22], [11, 24], [9, 22]], atol=1e-12)
    turned = apply_pose([0, 0, 0, np.pi / 2, 1, 2, 3], [0, 0, 0], [[1.0, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(turned, [[1, 3, 3], [1, 2, 4]], atol=1e-12)
    assert np.array_equal(apply_pose(np.zeros(7), np.zeros(3), np.eye(3)), np.eye(3))
    assert (pose_parameter_count(2), pose_parameter_count(3)) == (4, 7)


def test_input_is_left_alone() -> None:
    shapes = _shapes(2)
    kept = shapes.copy()
    procrustes(shapes)
    assert np.array_equal(shapes, kept)
    assert shapes.flags.writeable


@pytest.mark.parametrize(
    ("landmarks", "options", "said"),
    [
        (np.zeros((3, 2)), {}, "landmarks has shape"),
        (np.ones((3, 4, 4)), {}, "landmarks has shape"),
        (np.ones((1, 4, 2)), {}, "at least 2"),
        (np.zeros((0, 4, 2)), {}, "empty"),
        (np.full((3, 4, 2), np.nan), {}, r"landmarks\[0, 0, 0\] is nan"),
        (np.concatenate([_shapes(2)[:2], np.ones((1, 9, 2))]), {}, r"landmarks\[2\] all coincide"),
        (_shapes(2), {"transform": "affine"}, "transform is 'affine'"),
    ],
)
def test_bad_input_is_refused_in_one_line(landmarks: Array, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        procrustes(landmarks, **options)
    one_line(caught.value)


@pytest.mark.parametrize("d", [2, 3])
def test_the_inverse_pose_is_the_inverse_matrix(d: int) -> None:
    rng = philox(5)
    for _ in range(5):
        pose, centre = rng.normal(size=pose_parameter_count(d)), 30 * rng.normal(size=d)
        whole = np.vstack([pose_matrix(pose, centre), np.eye(d + 1)[-1]])
        np.testing.assert_allclose(inverse_pose(pose, centre), np.linalg.inv(whole)[:d], atol=1e-9)
        # Scale and rotation about the centre, then the translation.
        turn = Rotation.from_rotvec(pose[1:4]).as_matrix() if d == 3 else _plane_turn(pose[1])
        x = rng.normal(size=d)
        expected = np.exp(pose[0]) * turn @ (x - centre) + centre + pose[-d:]
        np.testing.assert_allclose(whole[:d, :d] @ x + whole[:d, d], expected, atol=1e-9)


def _plane_turn(angle: float) -> Array:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
