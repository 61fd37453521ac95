"""Painted label maps: agreement, contrasts that tell nothing, regions in the background, and the weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import modelaug
from modelaug import AcquisitionOptions, Cohort
from modelaug.baselines import LabelShapes, LabelShapesOptions
from tests.baselines.sources import small_volume
from tests.examples import dice, hearts, plane

CLEAN: dict[str, Any] = {"variation": 0.0, "blur": 0.0, "acquisition": None}


def interior(mask: np.ndarray) -> np.ndarray:
    """Return where a mask holds three voxels around, at least somewhere."""
    inside = ndimage.binary_erosion(mask, iterations=3)
    assert inside.any()
    return inside


@pytest.mark.parametrize(("cohort", "count"), [(plane, 8), (hearts, 8), (small_volume, 3)])
def test_agreement_of_images_and_labels(cohort: Any, count: int) -> None:
    options = LabelShapesOptions(contrast="shared", points=(3, 5), **CLEAN)
    source = LabelShapes(cohort(), options=options)
    before, after = [], []
    for index in range(count):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        seen = pair.weight > 0.99
        after.append(np.abs(modelaug.warp(pair.moving, pair.flow) - pair.fixed)[:, seen].mean())
        before.append(np.abs(pair.moving - pair.fixed)[:, seen].mean())
        labels = modelaug.warp(pair.labels_moving, pair.flow, order=0)
        for label in np.unique(pair.labels_fixed[seen])[1:]:
            assert dice((labels == label) & seen, (pair.labels_fixed == label) & seen) > 0.7
        assert modelaug.jacobian_determinant(pair.flow).min() > 0
    assert np.mean(after) < 0.35 * np.mean(before)


def test_contrasts_are_independent_or_shared() -> None:
    values: dict[str, list[list[float]]] = {"independent": [], "shared": []}
    for contrast, drawn in values.items():
        source = LabelShapes(plane(), options=LabelShapesOptions(contrast=contrast, **CLEAN))  # type: ignore[arg-type]
        for index in range(30):
            pair = source.draw(index)
            assert pair.labels_fixed is not None
            assert pair.labels_moving is not None
            drawn.append(
                [
                    float(np.median(image[0][interior(labels == 1)]))
                    for image, labels in ((pair.fixed, pair.labels_fixed), (pair.moving, pair.labels_moving))
                ]
            )
    assert np.abs(np.diff(values["shared"])).max() < 0.02
    apart = np.array(values["independent"])
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.5
    assert apart.std() == pytest.approx(1 / np.sqrt(12), rel=0.3)  # uniform between 0 and 1


def test_a_label_is_of_one_intensity_up_to_its_variation() -> None:
    def spread(options: LabelShapesOptions) -> float:
        pair = LabelShapes(plane(), options=options).draw(2)
        assert pair.labels_fixed is not None
        return float(pair.fixed[0][interior(pair.labels_fixed == 1)].std())

    assert spread(LabelShapesOptions(**CLEAN)) < 1e-3
    assert spread(LabelShapesOptions(**CLEAN | {"variation": 0.5})) > 0.02
    noisy = AcquisitionOptions(noise=0.1)
    assert spread(LabelShapesOptions(**CLEAN | {"acquisition": noisy})) == pytest.approx(0.1, rel=0.5)


def test_blur_takes_away_from_the_noise() -> None:
    options = {"variation": 0.5, "acquisition": None, "regions": 0}
    sharp, blurred = (LabelShapes(hearts(), options=LabelShapesOptions(blur=b, **options)) for b in (0.0, 4.0))  # type: ignore[arg-type]
    rough = [
        np.mean([np.abs(np.diff(source.draw(i).fixed, axis=-1)).mean() for i in range(6)])
        for source in (sharp, blurred)
    ]
    assert rough[1] < 0.6 * rough[0]


def test_the_background_is_divided_into_regions() -> None:
    def tones(regions: int) -> int:
        pair = LabelShapes(hearts(), options=LabelShapesOptions(regions=regions, **CLEAN)).draw(0)
        assert pair.labels_fixed is not None
        inside = pair.fixed[0][interior(pair.labels_fixed == 0)]
        counts, _ = np.histogram(inside, bins=200, range=(0, 1))
        return int((counts > 0.02 * inside.size).sum())

    assert tones(0) == 1
    assert tones(1) == 1
    assert 3 <= tones(8) <= 16


def test_labels_without_background_have_no_regions() -> None:
    labels = np.asarray(hearts().labels) + 5
    cohort = Cohort(hearts().images, hearts().landmarks, labels=labels)
    pair = LabelShapes(cohort, options=LabelShapesOptions(**CLEAN)).draw(0)
    assert pair.labels_fixed is not None
    assert set(np.unique(pair.labels_fixed)) == {5, 6, 7, 8}
    assert pair.fixed[0][interior(pair.labels_fixed == 5)].std() < 1e-3


def test_the_weight_is_1_wherever_the_flow_is_known() -> None:
    everywhere = LabelShapes(hearts()).draw(0)
    assert set(np.unique(everywhere.weight[everywhere.weight > 0.999])) == {1.0}
    assert everywhere.weight.mean() > 0.6
    near = LabelShapes(hearts(), options=LabelShapesOptions(weight_width=2.0)).draw(0)
    np.testing.assert_array_equal(near.flow, everywhere.flow)
    assert near.weight.mean() < 0.5 * everywhere.weight.mean()


def test_landmarks_move_along() -> None:
    pair = LabelShapes(hearts()).draw(1)
    landed = modelaug.warp_points(pair.landmarks_fixed, pair.flow)
    np.testing.assert_allclose(landed, pair.landmarks_moving, atol=0.2)


def test_all_is_within_the_scale() -> None:
    pair = LabelShapes(plane()).draw(0)
    for image in (pair.fixed, pair.moving):
        assert image.shape[0] == 2
        assert image.min() >= 0
        assert image.max() <= 1
    assert not np.allclose(pair.fixed[0], pair.fixed[1], atol=0.05)
