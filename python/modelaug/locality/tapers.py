"""Tapers: weights of correlations that fall with distance.

The Gaussian is positive definite for Euclidean distances in any dimension, the Wendland function (H. Wendland, Advances
in Computational Mathematics 4, 1995) in up to three; its weights are zero beyond the threshold. The hard cut of the
locality-based shape model is not positive definite. For distances other than Euclidean ones none is in general.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from modelaug import _checks

Taper = Literal["hard", "wendland", "gaussian"]
TAPERS: tuple[Taper, ...] = get_args(Taper)

# Root of (1 - r)^4 (4 r + 1) = 1/2.
_WENDLAND_HALF = 0.3138101704556974


def taper_weights(distances: npt.ArrayLike, threshold: float, taper: Taper) -> npt.NDArray[np.float64]:
    """Return the weights of correlations at distances r for the threshold t.

    - ``"hard"``: 1 for r <= t, else 0;
    - ``"wendland"``: (1 - r/t)^4 (4 r/t + 1) for r <= t, else 0;
    - ``"gaussian"``: exp(-r^2 / (2 t^2)).

    Parameters
    ----------
    distances : array_like
        Any shape, not negative, in the unit of `threshold`.
    threshold
        Greater than 0.
    taper
        ``"hard"``, ``"wendland"`` or ``"gaussian"``.

    Returns
    -------
    ndarray, float64
        Weights between 0 and 1 of the shape of `distances`; 1 at distance 0.
    """
    _checks.choice("taper", taper, TAPERS)
    t = _checks.number("threshold", threshold, above=0.0)
    r = np.asarray(distances, dtype=np.float64)
    if taper == "hard":
        return np.asarray(r <= t, dtype=np.float64)
    with np.errstate(over="ignore"):  # at infinitely many thresholds the weight is 0
        if taper == "gaussian":
            return np.asarray(np.exp(-0.5 * (r / t) ** 2))
        left = np.maximum(1 - r / t, 0)
    return np.asarray(left**4 * (5 - 4 * left))


def effective_range(taper: Taper) -> float:
    """Return the distance, as a multiple of the threshold, at which a taper falls to one half.

    Tapers of one threshold differ much in their range; thresholds divided by this number halve correlations at the same
    distance.
    """
    _checks.choice("taper", taper, TAPERS)
    return {"hard": 1.0, "wendland": _WENDLAND_HALF, "gaussian": float(np.sqrt(2 * np.log(2)))}[taper]


def check_thresholds(thresholds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return checked thresholds (levels,): positive and strictly falling.

    Raises
    ------
    TypeError, ValueError
        If there is none, one is not a positive number, or one is not smaller than the one before.
    """
    taus = _checks.finite("thresholds", thresholds, ndim=1, dtype=np.float64)
    if taus.min() <= 0:
        raise ValueError(f"thresholds is {taus.tolist()}; pass positive distances")
    rising = np.flatnonzero(np.diff(taus) >= 0)
    if len(rising):
        i = int(rising[0])
        raise ValueError(f"thresholds[{i + 1}] is {taus[i + 1]:g} after {taus[i]:g}; pass strictly falling thresholds")
    return taus
