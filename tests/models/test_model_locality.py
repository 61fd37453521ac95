"""AppearanceModel: localized shapes and textures are those that `locality` makes, in the plane and in space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelaug
from modelaug import (
    AppearanceModel,
    Cohort,
    LandmarkObject,
    PairSynthesizer,
    ShapeOptions,
    TextureOptions,
    locality,
    phantoms,
    procrustes,
)
from modelaug.models.normalization import Normalized, normalize
from tests.examples import (
    arrays_of,
    basis_model,
    ellipsoids,
    fields_model,
    heart_model,
    hearts,
    plane,
    plane_model,
    same_models,
    volume,
    volume_model,
)


def _localized(cohort: Cohort, options: ShapeOptions) -> locality.LocalizedFit:
    """Return what the library makes of a cohort's shapes by itself."""
    alignment = procrustes(cohort.landmarks * cohort.spacing)
    shapes = alignment.shapes / cohort.spacing
    points = shapes.mean(axis=0) * cohort.spacing
    if options.distances == "objects":
        between = locality.multi_object_distances(points, cohort.objects)
    else:
        between = locality.euclidean_distances(points)
    distances = locality.expand_distances(between, points.shape[1])
    return locality.fit_localized(
        shapes.reshape(len(cohort), -1),
        distances,
        locality.thresholds(distances, options.levels),
        method=options.method,
        taper=options.taper,
        coverage=options.coverage,
        rescale=options.rescale,
    )


@pytest.mark.parametrize(
    ("cohort", "options"),
    [
        (plane, ShapeOptions()),
        (volume, ShapeOptions()),
        (hearts, ShapeOptions()),
        (plane, ShapeOptions(levels=2, taper="hard", rescale="tail")),
        (hearts, ShapeOptions(levels=3, taper="wendland", rescale="none", coverage=0.8)),
        (hearts, ShapeOptions(levels=3, method="mixture", coverage=1.0)),
    ],
)
def test_shapes_are_localized_by_distances_in_mm(cohort: Callable[[], Cohort], options: ShapeOptions) -> None:
    model, (expected, report) = AppearanceModel.fit(cohort(), shape=options), _localized(cohort(), options)
    assert np.array_equal(model.shape.mean, expected.mean)
    assert np.array_equal(model.shape.basis, expected.basis)
    assert np.array_equal(model.shape.variances, expected.variances)
    facts = model.provenance["locality"]["shape"]
    assert [level["modes"] for level in facts["levels"]] == [level.modes for level in report.levels]
    assert [level["put_back"] for level in facts["levels"]] == [level.put_back for level in report.levels]
    assert facts["trace_ratio"] == report.trace_ratio == pytest.approx(model.provenance["variance_kept"]["shape"])
    assert facts["global_modes"] == report.global_modes._asdict()
    assert facts["coordinates"] == report.coordinates._asdict()


def test_localized_shapes_have_more_modes_than_subjects_can_tell() -> None:
    levels = [AppearanceModel.fit(hearts(), shape=ShapeOptions(levels=k)).shape for k in (1, 2, 3, 4)]
    modes = [len(shape.variances) for shape in levels]
    assert modes == sorted(modes)
    assert modes[0] < len(hearts()) < modes[-1]
    assert np.array_equal(levels[-1].basis, heart_model().shape.basis)
    # All levels have the same total variance, which is what the default rescaling promises.
    np.testing.assert_allclose([shape.variances.sum() for shape in levels], levels[0].variances.sum(), rtol=1e-9)


def test_thresholds_are_halved_from_the_largest_distance() -> None:
    facts = heart_model().provenance["locality"]["shape"]
    largest = locality.euclidean_distances(heart_model().reference * heart_model().spacing).max()
    assert [level["threshold"] for level in facts["levels"]] == pytest.approx(largest / 2.0 ** np.arange(4))


def test_distances_along_contours_make_another_model() -> None:
    # Three closed contours of every fourth landmark, and an ellipse of which one half is a curve, the other a cloud.
    closed = [LandmarkObject(o.name, tuple(i // 4 for i in o.indices[::4]), o.kind) for o in hearts().objects]
    few = Cohort(hearts().images, hearts().landmarks[:, ::4], objects=closed, spacing=hearts().spacing)
    apart = LandmarkObject("a", tuple(range(8)), "open"), LandmarkObject("b", tuple(range(8, 16)), "points")
    several = Cohort(plane().images, plane().landmarks, objects=apart, spacing=plane().spacing)
    for cohort in (few, several):
        options = ShapeOptions(distances="objects")
        along, straight = AppearanceModel.fit(cohort, shape=options), AppearanceModel.fit(cohort)
        assert np.array_equal(along.shape.basis, _localized(cohort, options).model.basis)
        classical = AppearanceModel.fit(cohort, shape=ShapeOptions(levels=1))
        assert len(along.shape.variances) > len(classical.shape.variances)
        assert not np.array_equal(along.shape.variances, straight.shape.variances)
        assert np.isfinite(PairSynthesizer(along).draw(0).flow).all()


def test_a_classical_model_has_no_report_on_locality() -> None:
    assert plane_model().provenance["locality"] == {"shape": None, "texture": None}
    assert volume_model().provenance["locality"]["texture"] is None


def _normalized(cohort: Cohort, model: AppearanceModel) -> Normalized:
    return normalize(cohort, model.reference, model.spline, threads=1)


@pytest.mark.parametrize(("cohort", "model"), [(plane, fields_model), (volume, volume_model), (hearts, heart_model)])
def test_the_models_coefficients_give_the_normalized_subjects_back(
    cohort: Callable[[], Cohort], model: Callable[[], AppearanceModel]
) -> None:
    # Principal components that cover all the variance, whatever the levels of the fields.
    textures = _normalized(cohort(), model()).textures.reshape(len(cohort()), -1)
    found = model().texture.reconstruct(model().texture_coefficients)
    assert np.abs(found - textures).max() < 1e-4 * np.ptp(textures)
    coefficients = model().texture_coefficients
    np.testing.assert_allclose(coefficients.mean(axis=0), 0, atol=1e-3 * np.abs(coefficients).max())
    np.testing.assert_allclose(coefficients.var(axis=0, ddof=1), model().texture.variances, rtol=1e-3)


def test_eigenimages_are_those_of_the_normalized_images() -> None:
    model = basis_model()
    diagonal = np.linalg.norm((np.array(model.grid) - 1) * model.spacing)
    expected, report = locality.localized_eigenimages(
        _normalized(plane(), model).textures,
        model.grid,
        diagonal / np.array([1, 2]),
        taper="wendland",
        coverage=1.0,
        max_modes=50,
        spacing=model.spacing,
    )
    assert np.array_equal(model.texture.basis, expected.basis)
    assert np.array_equal(model.texture.variances, expected.variances)
    assert len(plane()) < len(model.texture.variances) <= 50
    facts = model.provenance["locality"]["texture"]
    assert [level["modes"] for level in facts["levels"]] == [level.modes for level in report.levels]
    assert facts["variance_ratio"] == report.variance_ratio
    assert model.provenance["variance_kept"]["texture"] == pytest.approx(report.variance_ratio, rel=1e-5)


def test_few_pixels_have_no_more_eigenimages_than_values() -> None:
    # The default limit of 1000 eigenimages is more than 12 x 12 pixels have.
    tiny = ellipsoids(4, (12, 12), (1.0, 1.0))
    model = AppearanceModel.fit(tiny, texture=TextureOptions(engine="basis", levels=2, coverage=0.95))
    assert 4 <= len(model.texture.variances) <= 144


@pytest.mark.parametrize("engine", ["basis", "fields", "patchwork"])
def test_two_subjects_are_enough_for_every_engine(tmp_path: Path, engine: Any) -> None:
    texture = TextureOptions(engine=engine, levels=2, max_modes=40)
    for cohort in (plane().subset([3, 8]), volume().subset([0, 1])):
        model = AppearanceModel.fit(cohort, texture=texture)
        assert len(model.shape.variances) > 1
        model.save(tmp_path / "model.npz")
        again = AppearanceModel.load(tmp_path / "model.npz")
        same_models(again, model)
        pair, copy = (arrays_of(PairSynthesizer(m, seed=1).draw(2)) for m in (model, again))
        for name, array in pair.items():
            assert np.isfinite(array).all(), name
            assert np.array_equal(array, copy[name]), name


@pytest.mark.parametrize("n", [2, 5])
def test_volumes_of_several_objects(tmp_path: Path, n: int) -> None:
    cohort = phantoms.blobs3d(n, shape=(32, 32, 32), seed=2)
    model = AppearanceModel.fit(cohort)
    assert len(model.shape.variances) > n
    assert len(model.provenance["locality"]["shape"]["levels"]) == 4
    model.save(tmp_path / "model.npz")
    again = AppearanceModel.load(tmp_path / "model.npz")
    same_models(again, model)
    for index in (1, 2):
        pair = PairSynthesizer(model).draw(index)
        assert pair.flow.shape == (3, 32, 32, 32)
        assert modelaug.jacobian_determinant(pair.flow).min() > 0
        landed = modelaug.warp_points(pair.landmarks_fixed, pair.flow)
        # Surfaces are less than a voxel apart, between which the flow is interpolated: single landmarks miss by more.
        assert np.linalg.norm(landed - pair.landmarks_moving, axis=1).mean() < 0.25
        copy = arrays_of(PairSynthesizer(again).draw(index))
        for name, array in arrays_of(pair).items():
            assert np.array_equal(copy[name], array), name
