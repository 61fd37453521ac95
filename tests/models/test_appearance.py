"""AppearanceModel: what it learns from cohorts with known truth, its file, and files that are none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import modelaug
from modelaug import (
    AppearanceModel,
    Cohort,
    PairSynthesizer,
    ShapeOptions,
    TextureOptions,
    procrustes,
)
from modelaug.models.normalization import normalize
from modelaug.transforms.splines import SplineOptions
from tests.examples import (
    FULL,
    Array,
    arrays_of,
    basis_model,
    dice,
    ellipsoids,
    fields_model,
    heart_model,
    hearts,
    one_line,
    philox,
    plane,
    plane_model,
    rotation,
    same_models,
    volume,
    volume_model,
)
from tests.reference.polylines import inside_polygon

EXAMPLES: list[Any] = [
    (plane, plane_model),
    (plane, fields_model),
    (plane, basis_model),
    (volume, volume_model),
    (hearts, heart_model),
]


def _covariance(part: modelaug.GaussianModel) -> Array:
    return (part.basis * part.variances) @ part.basis.T


@pytest.mark.parametrize(("cohort", "model"), EXAMPLES)
def test_parts_fit_together(cohort: Callable[[], Cohort], model: Callable[[], AppearanceModel]) -> None:
    data, fitted = cohort(), model()
    n, c = data.images.shape[:2]
    m, d = data.landmarks.shape[1:]
    assert fitted.grid == data.grid
    assert fitted.channels == c
    assert fitted.objects == data.objects
    assert np.array_equal(fitted.spacing, data.spacing)
    assert fitted.reference.shape == (m, d)
    assert fitted.shape.mean.shape == (m * d,)
    assert fitted.texture.mean.shape == (c * int(np.prod(data.grid)),)
    assert fitted.texture.mean.dtype == fitted.texture.basis.dtype == np.float32
    assert fitted.intensities.tolist() == [
        [data.images[:, k].min(), data.images[:, k].max()] for k in range(fitted.channels)
    ]
    assert fitted.texture_coefficients.shape == (n, len(fitted.texture.variances))
    assert fitted.texture_coefficients.dtype == np.float64
    for part in (fitted.shape, fitted.texture, fitted.pose):
        gram = part.basis.astype(np.float64).T @ part.basis
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=2e-5)
    assert fitted.provenance["subjects"] == list(data.names)
    assert fitted.provenance["version"] == modelaug.__version__
    assert len(fitted.provenance["normalization_residuals"]) == n
    assert max(fitted.provenance["normalization_residuals"]) <= fitted.spline.tolerance


def test_shape_and_pose_are_those_of_the_alignment_in_mm() -> None:
    cohort, model = plane(), plane_model()
    alignment = procrustes(cohort.landmarks * cohort.spacing)
    np.testing.assert_allclose(model.reference, alignment.mean / cohort.spacing, atol=1e-10)
    np.testing.assert_allclose(model.shape.mean, model.reference.ravel(), atol=1e-10)
    np.testing.assert_allclose(model.center, alignment.center, atol=1e-10)
    np.testing.assert_allclose(model.pose.mean, alignment.poses.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(_covariance(model.pose), np.cov(alignment.poses.T), atol=1e-9)
    flat = (alignment.shapes / cohort.spacing).reshape(len(cohort), -1)
    np.testing.assert_allclose(_covariance(model.shape), np.cov(flat.T), atol=1e-9)


@pytest.mark.parametrize(("d", "spacing"), [(2, (1.0, 2.0)), (3, (2.5, 1.5, 2.0))])
def test_rotations_are_taken_away_in_mm(d: int, spacing: tuple[float, ...]) -> None:
    # Subjects differ in one mode and are rotated in mm; a rotation in voxels would leave more than that mode.
    n, grid, mm = 7, (44, 26, 30)[:d], np.array(spacing)
    rng, extent = philox(d), (np.array(grid) - 1) * mm
    stretch, turns = rng.uniform(-0.2, 0.2, size=n), [rotation(rng, d, 0.3) for _ in range(n)]
    # Symmetric about all axes, so that stretching one turns nothing.
    outline = np.array([x for x in itertools.product((-1, 0, 1), repeat=d) if any(x)]) / np.sqrt(d)
    mode = outline * np.eye(d)[0] * 10
    upright = outline * np.array([10.0, 7.0, 8.0])[:d] + stretch[:, None, None] * mode
    landmarks = [(extent / 2 + shape @ turn.T) / mm for shape, turn in zip(upright, turns, strict=True)]
    cohort = Cohort(rng.normal(size=(n, *grid)), landmarks, spacing=mm)
    model = AppearanceModel.fit(cohort, shape=ShapeOptions(levels=1, coverage=0.9999, transform="rigid"))
    assert len(model.shape.variances) == 1
    in_mm = model.shape.basis[:, 0].reshape(-1, d) * mm
    expected = stretch.var(ddof=1) * (mode**2).sum()
    np.testing.assert_allclose(model.shape.variances * (in_mm**2).sum(), [expected], rtol=1e-6)
    if d == 2:
        angles = np.array([np.arctan2(turn[1, 0], turn[0, 0]) for turn in turns])
        np.testing.assert_allclose(_covariance(model.pose)[1, 1], angles.var(ddof=1), rtol=1e-6)


@pytest.mark.parametrize("transform", ["rigid", "translation", "none"])
def test_what_alignment_leaves_is_shape(transform: Any) -> None:
    model = AppearanceModel.fit(plane(), shape=ShapeOptions(levels=1, transform=transform, coverage=1.0))
    alignment = procrustes(plane().landmarks * plane().spacing, transform=transform)
    flat = (alignment.shapes / plane().spacing).reshape(len(plane()), -1)
    np.testing.assert_allclose(_covariance(model.shape), np.cov(flat.T), atol=1e-9)
    np.testing.assert_allclose(_covariance(model.pose), np.cov(alignment.poses.T), atol=1e-9)


@pytest.mark.parametrize(("cohort", "transform"), [(plane, "similarity"), (volume, "similarity"), (plane, "none")])
def test_normalized_images_agree_at_the_landmarks(cohort: Callable[[], Cohort], transform: Any) -> None:
    # Edges, where the intensity is the mean of inside and outside, lie at the landmarks of every subject.
    data = cohort()
    model = AppearanceModel.fit(
        data, shape=ShapeOptions(transform=transform), texture=FULL["texture"], spline=SplineOptions(1e-3)
    )
    deviation = np.sqrt((model.texture.basis.astype(np.float64) ** 2 * model.texture.variances).sum(axis=1))
    for k in range(model.channels):
        edge, contrast = 10 * k + (90 * k + 100) / 2, 90 * k + 100
        mean, spread = (x.reshape(model.channels, *model.grid)[k] for x in (model.texture.mean, deviation))
        raw = data.images[:, k].std(axis=0, ddof=1)
        at = model.reference.T
        np.testing.assert_allclose(ndimage.map_coordinates(mean, at, order=3), edge, atol=0.03 * contrast)
        assert ndimage.map_coordinates(spread, at, order=1).max() < 0.05 * contrast
        assert ndimage.map_coordinates(raw, at, order=1).max() > 0.15 * contrast


def test_template_labels_lie_where_the_reference_landmarks_say() -> None:
    model = heart_model()
    assert model.labels is not None
    voxels = np.moveaxis(np.indices(model.grid), 0, -1).astype(np.float64)
    inside = {o.name: inside_polygon(model.reference[list(o.indices)], voxels) for o in model.objects}
    assert dice(model.labels == 3, inside["lv_endocardium"]) > 0.93
    assert dice(np.isin(model.labels, (2, 3)), inside["lv_epicardium"]) > 0.93
    assert dice(model.labels == 1, inside["rv_endocardium"] & ~inside["lv_epicardium"]) > 0.9


def test_template_label_is_the_commonest_and_the_smallest_of_equals() -> None:
    cohort = plane().subset(range(4))
    labels = np.zeros((4, *cohort.grid), np.int16)
    labels[0], labels[1], labels[2], labels[3] = 7, -2, 7, -2
    cohort = Cohort(cohort.images, cohort.landmarks, labels=labels, spacing=cohort.spacing)
    template = AppearanceModel.fit(cohort).labels
    assert template is not None
    assert template.dtype == np.int16
    assert (template == -2).all()
    three = AppearanceModel.fit(cohort.subset([0, 1, 2])).labels
    assert three is not None
    assert (three == 7).all()


def test_beyond_a_subjects_frame_the_others_mean_fills_in() -> None:
    # Whole-voxel translations that are left in the shapes: normalized images are shifted images, exactly.
    rng, grid, shifts = philox(4), (20, 14), np.array([[-3, 0], [0, 2], [3, -2]])
    images = ndimage.gaussian_filter(rng.normal(size=(3, 2, *grid)), (0, 0, 1, 1)).astype(np.float32)
    landmarks = 9.5 + shifts[:, None] + np.array([[-4, -2], [-4, 2], [4, -2], [4, 2], [0, 1]]) + np.array([0.0, -3.0])
    model = AppearanceModel.fit(Cohort(images, landmarks), **FULL | {"shape": ShapeOptions(transform="none")})
    expected = np.full((3, 2, *grid), np.nan)
    for image, (down, right), filled in zip(images, shifts, expected, strict=True):
        rows = np.arange(max(0, -down), min(grid[0], grid[0] - down))
        columns = np.arange(max(0, -right), min(grid[1], grid[1] - right))
        filled[:, rows[:, None], columns] = image[:, rows[:, None] + down, columns + right]
    missing = np.isnan(expected)
    assert not missing.all(axis=0).any()
    assert missing.mean(axis=(1, 2, 3)).min() > 0.1
    expected = np.where(missing, np.nanmean(expected, axis=0), expected)
    found = model.texture
    np.testing.assert_allclose(found.mean, expected.mean(axis=0).ravel(), atol=1e-4)
    variances = np.linalg.svd((expected - expected.mean(axis=0)).reshape(3, -1), compute_uv=False)[:2] ** 2 / 2
    np.testing.assert_allclose(found.variances, variances, rtol=1e-4)
    # The subjects themselves are points of the model.
    rebuilt = found.reconstruct(found.coefficients(expected.reshape(3, -1)))
    np.testing.assert_allclose(rebuilt, expected.reshape(3, -1), atol=1e-3)


def test_beyond_every_subjects_frame_its_own_border_continues() -> None:
    # The subjects are shifted along opposite diagonals, so that both look beyond their frames in two of the corners.
    shifts = np.array([[-4, 3], [4, -3]])
    images = philox(6).normal(size=(2, 2, 20, 14)).astype(np.float32)
    landmarks = np.array([[6.0, 5.0], [6.0, 8.0], [13.0, 5.0], [13.0, 8.0]]) + shifts[:, None]
    normalized = normalize(Cohort(images, landmarks), landmarks.mean(axis=0), SplineOptions(), threads=1)
    seen = np.zeros((2, 20, 14), bool)
    seen[0, 4:, :11] = seen[1, :16, 3:] = True
    nobody = ~seen.any(axis=0)
    assert nobody[:4, :3].all()
    assert nobody.sum() == 2 * 4 * 3
    for i in range(2):
        for k in range(2):
            rim = np.concatenate([images[i, k, [0, -1]].ravel(), images[i, k, 1:-1, [0, -1]].ravel()])
            np.testing.assert_allclose(normalized.textures[i, k][nobody], np.median(rim), rtol=1e-6)
            filled = ~seen[i] & ~nobody
            other = np.roll(images[1 - i, k], -shifts[1 - i], axis=(0, 1))
            np.testing.assert_allclose(normalized.textures[i, k][filled], other[filled], atol=1e-4)


def test_background_is_the_median_of_the_borders() -> None:
    cohort = plane().subset(range(3))
    images = cohort.images.copy()
    images[:, :, 1:-1, 1:-1] += 1000
    images[:, :, [0, -1]] = 5
    images[:, :, :, [0, -1]] = 5
    images[:, 1] *= 3
    assert AppearanceModel.fit(Cohort(images, cohort.landmarks)).background.tolist() == [5, 15]


@pytest.mark.parametrize(("cohort", "model"), EXAMPLES)
def test_threads_change_no_bit(cohort: Callable[[], Cohort], model: Callable[[], AppearanceModel]) -> None:
    shape, texture = ShapeOptions(**model().options["shape"]), TextureOptions(**model().options["texture"])
    for threads in (1, 2, 7):
        same_models(AppearanceModel.fit(cohort(), shape=shape, texture=texture, threads=threads), model())


def test_progress_counts_every_subject() -> None:
    calls: list[tuple[int, int]] = []
    AppearanceModel.fit(plane(), threads=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, len(plane())) for i in range(len(plane()))]


def test_an_error_of_the_progress_callback_reaches_the_caller() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        AppearanceModel.fit(plane(), threads=2, progress=stop)


def test_the_cohort_is_left_alone() -> None:
    cohort = ellipsoids(4, (24, 24), (1.0, 1.0))
    before = [a.copy() for a in (cohort.images, cohort.landmarks, cohort.labels)]  # type: ignore[union-attr]
    AppearanceModel.fit(cohort)
    for kept, now in zip(before, (cohort.images, cohort.landmarks, cohort.labels), strict=True):
        assert np.array_equal(kept, now)  # type: ignore[arg-type]


@pytest.mark.parametrize("cohort", [plane, volume, hearts])
def test_two_subjects_are_enough(cohort: Callable[[], Cohort]) -> None:
    two = cohort().subset([0, 1])
    model = AppearanceModel.fit(two, **FULL)
    assert [len(part.variances) for part in (model.shape, model.texture, model.pose)] == [1, 1, 1]
    alignment = procrustes(two.landmarks * two.spacing)
    difference = ((alignment.shapes[0] - alignment.shapes[1]) / two.spacing).ravel()
    np.testing.assert_allclose(model.shape.variances, [difference @ difference / 2], rtol=1e-9)
    np.testing.assert_allclose(np.abs(model.shape.basis[:, 0] @ difference), np.linalg.norm(difference), rtol=1e-9)
    assert np.isfinite(PairSynthesizer(model).draw(0).fixed).all()


def test_a_cohort_without_labels_makes_a_model_without() -> None:
    cohort = Cohort(plane().images, plane().landmarks, spacing=plane().spacing)
    model = AppearanceModel.fit(cohort, **FULL)
    assert model.labels is None
    assert np.array_equal(model.texture.mean, plane_model().texture.mean)
    pair = PairSynthesizer(model).draw(0)
    assert pair.labels_fixed is None
    assert pair.labels_moving is None


def test_coverage_decides_on_the_modes() -> None:
    few = AppearanceModel.fit(
        hearts(), shape=ShapeOptions(levels=1, coverage=0.5), texture=TextureOptions(coverage=0.3)
    )
    many = AppearanceModel.fit(hearts(), **FULL)
    for name, share in (("shape", 0.5), ("texture", 0.3)):
        variances, kept = getattr(many, name).variances, getattr(few, name).variances
        assert kept.sum() >= share * variances.sum()
        assert kept[:-1].sum() < share * variances.sum()
        np.testing.assert_allclose(kept, variances[: len(kept)], rtol=1e-6)
    assert np.array_equal(few.pose.variances, many.pose.variances)


@pytest.mark.parametrize("copies", [2, 3, 7])
def test_equal_subjects_are_refused(copies: int) -> None:
    one = hearts().subset([0])
    with pytest.raises(ValueError, match="equal") as caught:
        AppearanceModel.fit(Cohort(np.repeat(one.images, copies, axis=0), np.repeat(one.landmarks, copies, axis=0)))
    one_line(caught.value)


@pytest.mark.parametrize("transform", ["similarity", "none"])
def test_equal_shapes_are_refused(transform: Any) -> None:
    landmarks = np.repeat(hearts().landmarks[:1], 5, axis=0)
    with pytest.raises(ValueError, match="equal") as caught:
        AppearanceModel.fit(Cohort(hearts().images[:5], landmarks), shape=ShapeOptions(transform=transform))
    one_line(caught.value)


def test_equal_images_with_different_landmarks_are_a_cohort() -> None:
    images = np.repeat(hearts().images[:1], 4, axis=0)
    model = AppearanceModel.fit(Cohort(images, hearts().landmarks[:4]))
    assert np.isfinite(PairSynthesizer(model).draw(0).moving).all()


def test_a_single_subject_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^cohort holds 1 subject; ") as caught:
        AppearanceModel.fit(plane().subset([0]))
    one_line(caught.value)


def test_a_mean_shape_beyond_the_grid_is_refused() -> None:
    # Two thin crosses at right angles, one of them large: their aligned mean does not fit.
    flat = np.array([[5.0, 0.0], [5.0, 19.0], [4.0, 9.0], [6.0, 9.0]])
    images = philox(0).normal(size=(2, 11, 20))
    turned = np.array([[0.0, 9.0], [10.0, 9.0], [5.0, 10.0], [5.0, 8.0]])
    with pytest.raises(ValueError, match="mean shape leaves the grid") as caught:
        AppearanceModel.fit(Cohort(images, [flat, turned]), shape=ShapeOptions(transform="rigid"))
    one_line(caught.value)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ShapeOptions, {"coverage": 0}),
        (ShapeOptions, {"coverage": 1.5}),
        (ShapeOptions, {"coverage": "all"}),
        (ShapeOptions, {"levels": 0}),
        (ShapeOptions, {"levels": 1.0}),
        (ShapeOptions, {"levels": 13}),
        (ShapeOptions, {"method": "magic"}),
        (ShapeOptions, {"taper": "soft"}),
        (ShapeOptions, {"rescale": True}),
        (ShapeOptions, {"distances": "manhattan"}),
        (ShapeOptions, {"distances": ["objects"]}),
        (ShapeOptions, {"transform": "affine"}),
        (TextureOptions, {"coverage": float("nan")}),
        (TextureOptions, {"levels": 0}),
        (TextureOptions, {"levels": 13}),
        (TextureOptions, {"engine": "magic"}),
        (TextureOptions, {"engine": None}),
        (TextureOptions, {"sharpness": -1}),
        (TextureOptions, {"sharpness": float("nan")}),
        (TextureOptions, {"sharpness": float("inf")}),
        (TextureOptions, {"taper": "cosine"}),
        (TextureOptions, {"rescale": "half"}),
        (TextureOptions, {"max_modes": 0}),
        (TextureOptions, {"max_modes": 2.5}),
        (SplineOptions, {"tolerance": -0.1}),
        (SplineOptions, {"max_levels": 0}),
        (SplineOptions, {"max_levels": 2.5}),
    ],
)
def test_bad_options_are_refused_in_one_line(kind: Any, options: dict[str, Any]) -> None:
    kind()
    with pytest.raises((ValueError, TypeError)) as caught:
        kind(**options)
    assert one_line(caught.value).startswith(next(iter(options)))


@pytest.mark.parametrize("threads", [0, 1.5])
def test_bad_threads_are_refused(threads: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^threads is "):
        AppearanceModel.fit(plane(), threads=threads)


@pytest.mark.parametrize(("cohort", "model"), EXAMPLES)
def test_file_and_model_are_thesame_models(
    tmp_path: Path, cohort: Callable[[], Cohort], model: Callable[[], AppearanceModel]
) -> None:
    path = tmp_path / "model.npz"
    model().save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]
    loaded = AppearanceModel.load(path)
    same_models(loaded, model())
    found, expected = (arrays_of(PairSynthesizer(m, seed=5).draw(3)) for m in (loaded, model()))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


def test_numpy_numbers_in_options_can_be_saved(tmp_path: Path) -> None:
    model = AppearanceModel.fit(
        plane(),
        shape=ShapeOptions(levels=np.int64(1), coverage=np.float32(0.5)),  # type: ignore[arg-type]
        spline=SplineOptions(tolerance=np.float32(0.5), max_levels=np.int64(5)),  # type: ignore[arg-type]
    )
    model.save(tmp_path / "model.npz")
    same_models(AppearanceModel.load(tmp_path / "model.npz"), model)


def test_texture_may_be_stored_in_any_order(tmp_path: Path) -> None:
    # What a model draws depends on its numbers, not on how they lie in memory.
    model = plane_model()
    texture = replace(model.texture, basis=np.ascontiguousarray(model.texture.basis))
    other = replace(model, texture=texture)
    assert np.array_equal(PairSynthesizer(other).draw(0).fixed, PairSynthesizer(model).draw(0).fixed)
    other.save(tmp_path / "model.npz")
    same_models(AppearanceModel.load(tmp_path / "model.npz"), model)
