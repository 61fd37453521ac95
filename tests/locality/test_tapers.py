"""Tapers: values, ranges, definiteness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelaug.locality import effective_range, euclidean_distances, taper_weights
from modelaug.locality.tapers import check_thresholds
from tests.examples import one_line, philox
from tests.reference import locality as reference

TAPERS = ("hard", "wendland", "gaussian")


@pytest.mark.parametrize("taper", TAPERS)
def test_weights_follow_their_formula(taper: Any) -> None:
    r = np.concatenate([[0.0, 2.5, 5.0, 7.5], philox(0).uniform(0, 20, size=50)])
    expected = [reference.taper(value, 2.5, taper) for value in r]
    np.testing.assert_allclose(taper_weights(r, 2.5, taper), expected, atol=1e-14)
    assert taper_weights(r.reshape(6, 9), 2.5, taper).shape == (6, 9)
    assert taper_weights(0.0, 2.5, taper) == 1.0


def test_the_cut_keeps_the_threshold_itself() -> None:
    # With the first threshold equal to the largest distance, the first level keeps everything.
    assert taper_weights([1.0, np.nextafter(1.0, 2.0)], 1.0, "hard").tolist() == [1.0, 0.0]


@pytest.mark.parametrize("taper", TAPERS)
def test_weights_fall_from_one_to_zero(taper: Any) -> None:
    weights = taper_weights(np.linspace(0, 60, 500), 1.5, taper)
    assert weights[0] == 1.0
    assert weights[-1] == 0.0
    assert (np.diff(weights) <= 0).all()


@pytest.mark.parametrize("taper", TAPERS)
def test_any_scale_of_distances_and_thresholds_works(taper: Any) -> None:
    r = np.linspace(0, 3, 20)
    for unit in (1e-150, 1e150):
        np.testing.assert_allclose(taper_weights(r * unit, unit, taper), taper_weights(r, 1.0, taper), atol=1e-12)
    assert taper_weights([0.0, 1e200], 1e-200, taper).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("taper", TAPERS)
def test_one_half_is_left_at_the_effective_range(taper: Any) -> None:
    reach = effective_range(taper) * 7.0
    before, after = taper_weights([reach * (1 - 1e-12), reach * (1 + 1e-12)], 7.0, taper)
    assert before >= 0.5 - 1e-10
    assert after <= 0.5 + 1e-10


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.3, 1.0, 4.0])
def test_smooth_tapers_of_euclidean_distances_are_positive_semidefinite(d: int, threshold: float) -> None:
    distances = euclidean_distances(philox(d).uniform(size=(60, d)) * 2)
    for taper in ("gaussian", "wendland"):
        assert np.linalg.eigvalsh(taper_weights(distances, threshold, taper)).min() > -1e-12  # type: ignore[arg-type]


def test_the_hard_cut_is_indefinite() -> None:
    distances = euclidean_distances([[0.0], [1.0], [2.0]])
    assert np.linalg.eigvalsh(taper_weights(distances, 1.0, "hard")).min() < -0.4


@pytest.mark.parametrize(
    ("kind", "threshold", "taper"),
    [
        (ValueError, 0.0, "hard"),
        (ValueError, -1.0, "gaussian"),
        (ValueError, np.inf, "wendland"),
        (TypeError, "wide", "hard"),
        (ValueError, 1.0, "soft"),
    ],
)
def test_bad_tapers_are_refused_in_one_line(kind: type[Exception], threshold: Any, taper: Any) -> None:
    with pytest.raises(kind) as caught:
        taper_weights([0.0, 1.0], threshold, taper)
    assert one_line(caught.value).startswith(("threshold is", "taper is"))


def test_an_unknown_taper_has_no_range() -> None:
    with pytest.raises(ValueError, match=r"^taper is 'soft'"):
        effective_range("soft")  # type: ignore[arg-type]


def test_falling_thresholds_are_floats() -> None:
    assert check_thresholds([8, 4, 1]).tolist() == [8.0, 4.0, 1.0]
    assert check_thresholds([3]).dtype == np.float64


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (ValueError, [], "empty"),
        (ValueError, [1.0, 0.0], "positive"),
        (ValueError, [1.0, -1.0], "positive"),
        (ValueError, [4.0, 2.0, 2.0], r"thresholds\[2\] is 2 after 2"),
        (ValueError, [1.0, 2.0], r"thresholds\[1\] is 2 after 1"),
        (ValueError, [np.nan], "finite"),
        (ValueError, 3.0, "axes"),
        (TypeError, ["far", "near"], "dtype"),
    ],
)
def test_bad_thresholds_are_refused_in_one_line(kind: type[Exception], value: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        check_thresholds(value)
    assert one_line(caught.value).startswith("thresholds")
