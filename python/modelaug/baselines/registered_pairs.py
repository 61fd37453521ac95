"""Real pairs of training subjects with the displacement of a classical registration: the paper's other rival."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug._arrays import Field
from modelaug._random import Stream, generator
from modelaug.baselines.cohort_source import CohortSource
from modelaug.data.cohort import Cohort
from modelaug.io.files.archives import write_npy
from modelaug.io.files.arrays import read_npy
from modelaug.io.files.provenance import array_digest
from modelaug.io.files.reading import ModelFileError
from modelaug.registration.variational import VariationalOptions, register_variational
from modelaug.synthesis.pairs import Pair, PairInfo
from modelaug.synthesis.weights import SubjectWeights

_WEIGHT_WIDTH: Final = 4.0  # mean distances of neighbouring landmarks, as for pairs of the model


class RegisteredPairs(CohortSource):
    """All ordered pairs of a cohort's subjects, registered: affinely by their landmarks, then by their intensities.

    An epoch has each of the n (n - 1) pairs once, in an order of its own; pair i is a pure function of (cohort, seed,
    options, i). Unlike those of a model, validation pairs are training pairs.

    Parameters
    ----------
    cohort
        Training subjects.
    seed
        Of the order; non-negative integer.
    options
        Of the registration; defaults if None.
    cache
        Folder for the displacements, one file per pair, named by a hash of images, landmarks and options; folds of a
        cross-validation may share it. Without it they are kept in memory.
    threads
        Pairs to register at the same time in `register`; None means as many as there are cores.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, there are fewer than 2 subjects, or not enough landmarks for an affine map.
    """

    def __init__(
        self,
        cohort: Cohort,
        *,
        seed: int = 0,
        options: VariationalOptions | None = None,
        cache: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(cohort, seed)
        if len(cohort) < 2:
            raise ValueError(f"cohort has {len(cohort)} subject; pass at least 2")
        self.options = _checks.options(options, VariationalOptions)
        self.threads = _checks.thread_count(threads)
        self._cache = None if cache is None else Path(cache)
        self._fields: dict[tuple[int, int], Field] = {}
        self._weights = SubjectWeights(cohort, _WEIGHT_WIDTH, "spacing")
        self._digests = [
            array_digest(image, points) for image, points in zip(cohort.images, cohort.landmarks, strict=True)
        ]
        affine_displacement(cohort.landmarks[0], cohort.landmarks[1], cohort.grid)
        # At a time the training's epoch, the next one and the validation's are in use.
        self._order = functools.lru_cache(maxsize=4)(self._permutation)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered pairs (fixed, moving) of subjects."""
        n = len(self.cohort)
        return [(i, j) for i in range(n) for j in range(n) if i != j]

    def register(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Register all pairs now, rather than each at its first draw.

        Parameters
        ----------
        progress
            Called with the number of registered pairs and the number of all pairs.
        """
        pairs = self.pairs
        with ThreadPoolExecutor(self.threads) as pool:
            for done, _ in enumerate(pool.map(self.displacement, pairs), start=1):
                if progress is not None:
                    progress(done, len(pairs))

    def displacement(self, pair: tuple[int, int]) -> Field:
        """Return the displacement (d, *grid) of a pair (fixed, moving), registered at the first call."""
        if self._cache is None:
            if pair not in self._fields:  # two threads that both register a pair find the same
                self._fields[pair] = self._register(pair)
            return self._fields[pair]
        path = self._cache / f"{self._name(pair)}.npy"
        if not path.exists():
            field = self._register(pair)
            write_npy(path, field)
            return field
        found = read_npy(path, "remove it")
        if found.shape != (len(self.cohort.grid), *self.cohort.grid) or found.dtype != np.float32:
            raise ModelFileError(f"{path} holds {found.dtype} {found.shape}, no such displacement; remove it")
        return found

    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Put pair `index` into arrays; ``info`` holds the subjects, ``fixed`` and ``moving``."""
        cohort, pairs = self.cohort, self.pairs
        epoch, place = divmod(_checks.integer("index", index, minimum=0, maximum=2**64 - 1), len(pairs))
        fixed, moving = pairs[self._order(epoch)[place]]
        out.fixed[:], out.moving[:] = cohort.images[fixed], cohort.images[moving]
        out.flow[:] = self.displacement((fixed, moving))
        np.multiply(self._weights.of(fixed), _core.find_inside(out.flow, 1)[0], out=out.weight)
        out.landmarks_fixed[:], out.landmarks_moving[:] = cohort.landmarks[fixed], cohort.landmarks[moving]
        if cohort.labels is not None and out.labels_fixed is not None and out.labels_moving is not None:
            out.labels_fixed[:], out.labels_moving[:] = cohort.labels[fixed], cohort.labels[moving]
        return {"fixed": fixed, "moving": moving}

    def _permutation(self, epoch: int) -> list[int]:
        rng = generator(self.seed, epoch, stream=Stream.SUBJECT_ORDER)
        order: list[int] = rng.permutation(len(self.pairs)).tolist()
        return order

    def _register(self, pair: tuple[int, int]) -> Field:
        cohort, (fixed, moving) = self.cohort, pair
        start = affine_displacement(cohort.landmarks[fixed], cohort.landmarks[moving], cohort.grid)
        images = cohort.images[fixed], cohort.images[moving]
        return register_variational(*images, options=self.options, initial=start, threads=1)

    def _name(self, pair: tuple[int, int]) -> str:
        parts = (json.dumps(asdict(self.options), sort_keys=True), *(self._digests[i] for i in pair))
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:32]


def affine_displacement(fixed: npt.ArrayLike, moving: npt.ArrayLike, grid: tuple[int, ...]) -> Field:
    """Return the displacement (d, *grid) of the least-squares affine map from fixed to moving landmarks.

    Parameters
    ----------
    fixed, moving : array_like, (m, d)
        Corresponding landmarks in voxels.
    grid
        Shape of the fixed image's grid.

    Raises
    ------
    ValueError
        If the fixed landmarks lie on a line, or in space in a plane, so that they determine no affine map.
    """
    sites, values = (np.asarray(points, np.float64) for points in (fixed, moving))
    d = sites.shape[1]
    centre = sites.mean(axis=0)
    design = np.hstack([sites - centre, np.ones((len(sites), 1))])
    if np.linalg.matrix_rank(design, tol=1e-6 * max(1.0, float(np.abs(design).max()))) <= d:
        raise ValueError(f"landmarks of the fixed image do not span {d} dimensions; affine alignment needs {d + 1}")
    coefficients = np.linalg.lstsq(design, values - sites, rcond=None)[0]
    x = np.moveaxis(np.indices(grid), 0, -1) - centre
    return np.ascontiguousarray(np.moveaxis(x @ coefficients[:d] + coefficients[d], -1, 0), np.float32)
