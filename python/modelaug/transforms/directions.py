"""Directions spread evenly over the sphere."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt


@functools.cache
def sphere_directions(count: int) -> npt.NDArray[np.float64]:
    """Return unit vectors (count, 3) spread evenly over the sphere: a spherical Fibonacci lattice, read-only.

    They follow a spiral from pole to pole, turning by the golden angle from each to the next.
    """
    steps = np.arange(count) + 0.5
    height, turn = 1 - 2 * steps / count, steps * math.pi * (3 - math.sqrt(5))
    ring = np.sqrt(1 - height**2)
    directions = np.stack([height, ring * np.cos(turn), ring * np.sin(turn)], axis=1)
    directions.flags.writeable = False
    return directions
