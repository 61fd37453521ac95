"""procrustes: what must hold for any shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelaug import procrustes
from modelaug.models.alignment import apply_pose
from tests.examples import Array, rotation
from tests.properties.strategies import generator, seeds

dimensions = st.sampled_from([2, 3])
counts = st.integers(2, 7)
transforms = st.sampled_from(["similarity", "rigid", "translation", "none"])


def _similarity(rng: np.random.Generator, d: int, largest: float) -> tuple[float, Array, Array]:
    return float(np.exp(rng.normal() * 0.5)), rotation(rng, d, largest), rng.normal(size=d) * 20


def _apply(transform: tuple[float, Array, Array], points: Array) -> Array:
    scale, turn, offset = transform
    return scale * points @ turn.T + offset


@given(seeds, dimensions, counts, st.integers(4, 9))
def test_poses_of_one_shape_are_recovered(seed: int, d: int, n: int, m: int) -> None:
    rng = generator(seed)
    shape = rng.normal(size=(m, d)) * 10
    # Within a quarter turn of each other in any plane: the common orientation is well defined.
    truth = [_similarity(rng, d, 0.7) for _ in range(n)]
    alignment = procrustes(np.stack([_apply(t, shape) for t in truth]))
    np.testing.assert_allclose(alignment.shapes, np.broadcast_to(alignment.mean, (n, m, d)), atol=1e-7)
    scales = np.exp(alignment.poses[:, 0] - alignment.poses[0, 0])
    np.testing.assert_allclose(scales, [t[0] / truth[0][0] for t in truth], rtol=1e-9)
    for pose, (_, turn, _) in zip(alignment.poses, truth, strict=True):
        own, first = (
            apply_pose([0, *p[1:-d], *np.zeros(d)], np.zeros(d), np.eye(d)).T for p in (pose, alignment.poses[0])
        )
        np.testing.assert_allclose(own @ first.T, turn @ truth[0][1].T, atol=1e-8)


@given(seeds, dimensions, counts, st.integers(4, 9))
def test_a_similarity_of_all_shapes_moves_the_aligned_shapes_alike(seed: int, d: int, n: int, m: int) -> None:
    rng = generator(seed)
    base = rng.normal(size=(m, d)) * 10
    shapes = np.stack([_apply(_similarity(rng, d, 0.5), base + rng.normal(size=(m, d)) * 0.5) for _ in range(n)])
    common = _similarity(rng, d, np.pi)
    before = procrustes(shapes)
    after = procrustes(np.stack([_apply(common, shape) for shape in shapes]))
    np.testing.assert_allclose(after.shapes, [_apply(common, s) for s in before.shapes], atol=1e-6)
    np.testing.assert_allclose(after.poses[:, 0], before.poses[:, 0], atol=1e-9)


@given(seeds, dimensions, counts, st.integers(2, 9), transforms)
def test_pose_and_aligned_shape_give_back_any_shape(seed: int, d: int, n: int, m: int, transform: str) -> None:
    shapes = generator(seed).normal(size=(n, m, d)) * 10
    alignment = procrustes(shapes, transform=transform)  # type: ignore[arg-type]
    back = [apply_pose(p, alignment.center, s) for p, s in zip(alignment.poses, alignment.shapes, strict=True)]
    np.testing.assert_allclose(back, shapes, atol=1e-9)
    for original, aligned in zip(shapes, alignment.shapes, strict=True):
        # A proper similarity scales all triple products by one positive number.
        a, b = (s[: d + 1] - s[0] for s in (original, aligned))
        if m > d:
            assert np.sign(np.linalg.det(a[1:])) == np.sign(np.linalg.det(b[1:]))


@given(seeds, dimensions, counts, st.integers(4, 9))
def test_order_of_landmarks_does_not_matter(seed: int, d: int, n: int, m: int) -> None:
    rng = generator(seed)
    base = rng.normal(size=(m, d)) * 10
    shapes = np.stack([_apply(_similarity(rng, d, 0.5), base + rng.normal(size=(m, d)) * 0.5) for _ in range(n)])
    order = rng.permutation(m)
    np.testing.assert_allclose(procrustes(shapes[:, order]).shapes, procrustes(shapes).shapes[:, order], atol=1e-7)
