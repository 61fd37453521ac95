"""Refinement: better than its start or the start itself, in the plane and in space, within a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelaug import compose, jacobian_determinant, phantoms, warp
from modelaug.data.resampling import resize_cohort
from modelaug.registration import VariationalOptions, refine, refinement, register_variational

HEARTS = phantoms.heart(2, shape=(64, 64), seed=4).images[:, 0]
BLOBS = resize_cohort(phantoms.blobs3d(2, seed=4), (24, 20, 22)).images[:, 0]


def difference(fixed: Any, moving: Any, u: Any) -> float:
    return float(np.square(warp(moving, u) - fixed).mean())


@pytest.mark.parametrize("images", [HEARTS, BLOBS], ids=["plane", "space"])
def test_images_become_more_alike_without_new_folds(images: Any) -> None:
    fixed, moving = images
    d = fixed.ndim
    zero = np.zeros((d, *fixed.shape), np.float32)
    rough = register_variational(fixed, moving, options=VariationalOptions(alpha=4, levels=2, iterations=10))
    for start in (zero, rough):
        found = refine(fixed, moving, start)
        assert difference(fixed, moving, found) < difference(fixed, moving, start)
        assert (jacobian_determinant(found) > 0).all()


def test_it_goes_on_from_its_start() -> None:
    """A start that is far away, which two levels would not find, is kept."""
    fixed = HEARTS[0]
    shift = np.zeros((2, 64, 64), np.float32)
    shift[0], shift[1] = 9, -7
    moving = warp(fixed, -shift)
    found = refine(fixed, moving, shift)
    inner = (slice(None), slice(20, 44), slice(20, 44))
    assert np.abs(found - shift)[inner].mean() < 0.25
    alone = refine(fixed, moving, np.zeros_like(shift))
    assert np.abs(alone - shift)[inner].mean() > 1


def test_what_is_right_stays_as_it_is() -> None:
    fixed = HEARTS[0]
    zero = np.zeros((2, 64, 64), np.float32)
    np.testing.assert_array_equal(refine(fixed, 3 * fixed + 2, zero), zero)


def test_what_is_added_comes_on_top_of_a_far_start() -> None:
    """Truth: a large turn with scale, and a few pixels that the start lacks; without the start, none of it is found."""
    moving = HEARTS[1]
    x = np.indices(moving.shape) - 31.5
    matrix = 1.15 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    start = (np.einsum("ij,j...->i...", matrix, x) - x).astype(np.float32)
    bump = np.exp(-(x**2).sum(axis=0) / 200)
    truth = compose(start, np.stack([2 * bump, -1.5 * bump]))
    found = refine(warp(moving, truth), moving, start)
    inside = np.s_[:, 16:-16, 16:-16]
    before, after = (np.linalg.norm((u - truth)[inside], axis=0).mean() for u in (start, found))
    assert after < 0.6 * before
    # The rest alone is not taken for all.
    assert np.linalg.norm(found - start, axis=0).max() < 5


@pytest.mark.parametrize("better", [True, False])
def test_what_makes_images_less_alike_is_not_taken(better: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = HEARTS[1]
    x = np.indices(moving.shape) - 31.5
    turn = np.stack([0.08 * x[0] - 0.1 * x[1], 0.1 * x[0] + 0.08 * x[1]]).astype(np.float32)
    fixed, start = warp(moving, turn), 0.5 * turn
    found = turn if better else 1.7 * turn
    monkeypatch.setattr(refinement, "register_variational", lambda *images, **options: found)
    np.testing.assert_array_equal(refine(fixed, moving, start), found if better else start)


def test_forces_outside_the_mask_are_none() -> None:
    fixed, moving = HEARTS
    zero = np.zeros((2, 64, 64), np.float32)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :20] = 1
    found = refine(fixed, moving, zero, mask=mask)
    assert np.abs(found[:, :, :20]).mean() > 3 * np.abs(found[:, :, 44:]).mean()


def test_options_and_threads() -> None:
    fixed, moving = HEARTS
    zero = np.zeros((2, 64, 64), np.float32)
    options = VariationalOptions(alpha=0.5, levels=2, match="range")
    expected = register_variational(fixed, moving, options=options, initial=zero)
    np.testing.assert_array_equal(refine(fixed, moving, zero, options=options), expected)
    np.testing.assert_array_equal(refine(fixed, moving, zero, threads=1), refine(fixed, moving, zero, threads=2))
    once = refine(fixed, moving, zero, options=options)
    twice = refine(fixed, moving, once, options=options)
    assert difference(fixed, moving, twice) <= difference(fixed, moving, once)
    assert compose(once, zero).shape == twice.shape


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fixed": np.ones((64, 64))}, ValueError, r"fixed is constant \(1\); pass an image with contrast"),
        ({"moving": np.full((64, 64), np.nan)}, ValueError, "moving"),
        ({"moving": HEARTS[1][:50]}, ValueError, r"moving has shape \(50, 64\) and fixed \(64, 64\)"),
        ({"displacement": np.zeros((2, 60, 64))}, ValueError, r"initial has shape \(2, 60, 64\); pass a displacement"),
        ({"displacement": np.zeros((3, 64, 64))}, ValueError, "displacement has shape"),
        ({"mask": np.full((64, 64), 2.0)}, ValueError, "mask"),
        ({"mask": np.ones((60, 64))}, ValueError, "mask"),
        ({"mask": np.zeros((64, 64))}, ValueError, "mask is 0 everywhere; pass weights"),
        ({"options": 3}, TypeError, "options"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"fixed": HEARTS[0], "moving": HEARTS[1], "displacement": np.zeros((2, 64, 64)), **arguments}
    with pytest.raises(error, match=message):
        refine(given.pop("fixed"), given.pop("moving"), given.pop("displacement"), **given)
