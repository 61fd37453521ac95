"""Cross-validation: registration methods scored on subjects that they have not learned from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Field, Indices
from modelaug._random import Stream, generator
from modelaug.data.cohort import Cohort
from modelaug.evaluation.deformation import inverse_consistency
from modelaug.evaluation.overlap import scored_labels
from modelaug.evaluation.records import Record
from modelaug.evaluation.scoring import score_registration
from modelaug.transforms.fields import check_field

Progress = Callable[[int, int], None]

Register = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.ArrayLike | None]
"""Takes a fixed and a moving image (c, *grid) and returns the displacement (d, *grid), or None for none."""


Fit = Callable[[Cohort, int], Register]
"""Takes the training subjects of a fold and the fold's number, and returns a function that registers two images."""


class Method(Protocol):
    """An object that learns to register."""

    def fit(self, training: Cohort, fold: int, /) -> Register:
        """Learn from training subjects; arguments and result as in `Fit`."""
        ...


def no_registration(training: Cohort, fold: int, /) -> Register:
    """Return a registration that does nothing, to score pairs before registration."""
    return lambda fixed, moving: None


def split_folds(
    n: int, folds: int, seed: int, *, groups: Sequence[Hashable] | None = None
) -> list[tuple[Indices, Indices]]:
    """Split n subjects into folds of test subjects, at random and evenly.

    Parameters
    ----------
    n
        Number of subjects.
    folds
        Number of folds, whose sizes differ by 1 at most.
    seed
        The result is a function of the arguments.
    groups : sequence of n labels, optional
        Such as diagnoses. Each group is spread evenly over the folds: its numbers of subjects differ by 1 at most.

    Returns
    -------
    list of (ndarray, ndarray)
        Indices of training and of test subjects for each fold, ascending. Every subject is in one test set.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 folds, or fewer subjects than folds, or not one group per subject.
    """
    count = _checks.integer("n", n, minimum=2)
    parts = _checks.integer("folds", folds, minimum=2, maximum=count)
    labels = [0] * count if groups is None else list(groups)
    if len(labels) != count:
        raise ValueError(f"groups holds {len(labels)} labels for {count} subjects; pass one per subject")
    order = generator(seed, 0, stream=Stream.FOLDS).permutation(count)
    # Subjects are dealt to the folds group after group, so that each group and the whole are spread evenly.
    number = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    dealt = sorted(order.tolist(), key=lambda i: number[labels[i]])
    fold = np.empty(count, np.int64)
    fold[dealt] = np.arange(count) % parts
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(parts)]


def test_pairs(test_indices: Sequence[int] | Indices) -> list[tuple[int, int]]:
    """Return all n (n - 1) ordered pairs (fixed, moving) of n test subjects.

    Examples
    --------
    >>> from modelaug.evaluation import test_pairs
    >>> test_pairs([2, 5, 7])
    [(2, 5), (2, 7), (5, 2), (5, 7), (7, 2), (7, 5)]
    """
    return list(permutations([int(i) for i in test_indices], 2))


def score_pairs(
    cohort: Cohort,
    pairs: Sequence[tuple[int, int]],
    register: Register,
    *,
    label_ids: npt.ArrayLike | None = None,
    surfaces: bool = False,
    threads: int | None = None,
) -> Iterator[tuple[Record, Field]]:
    """Register pairs of subjects and score the displacements.

    Parameters
    ----------
    cohort
        The subjects.
    pairs
        Indices of the fixed and the moving subject, every pair once.
    register
        See `cross_validate`.
    label_ids, surfaces, threads
        As in `score_registration`.

    Yields
    ------
    record : dict
        ``fixed`` and ``moving`` (names of subjects), ``seconds`` (wall time of `register` alone), the scores of
        `score_registration`, and ``inverse_consistency`` in mm if `pairs` has the reversed pair, too.
    displacement : ndarray, (d, *grid), float32
        Zero if `register` returned None.
    """
    found: dict[tuple[int, int], tuple[Field, float]] = {}
    for i, j in pairs:
        start = time.perf_counter()
        displacement = register(cohort.images[i], cohort.images[j])
        seconds = time.perf_counter() - start
        zero = np.zeros((len(cohort.grid), *cohort.grid), np.float32)
        found[i, j] = zero if displacement is None else check_field("displacement", displacement), seconds
    for (i, j), (field, seconds) in found.items():
        scores = score_registration(cohort, i, j, field, label_ids=label_ids, surfaces=surfaces, threads=threads)
        if (j, i) in found:
            with contextlib.suppress(ValueError):  # undefined if the field points out of the image everywhere
                scores["inverse_consistency"] = inverse_consistency(field, found[j, i][0], cohort.spacing)
        yield {"fixed": cohort.names[i], "moving": cohort.names[j], "seconds": seconds, **scores}, field


def cross_validate(
    cohort: Cohort,
    methods: Mapping[str, Fit | Method],
    *,
    folds: int = 5,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
    surfaces: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Record]:
    """Register all ordered pairs of test subjects in each fold by each method, and score them.

    Parameters
    ----------
    cohort
        The subjects.
    methods
        By name, functions ``fit(training, fold)``, or objects with such a method, which learn from the cohort of the
        training subjects and return a function ``register(fixed, moving)``: two images (c, *grid) in, the displacement
        (d, *grid) in voxels out, or None for none. `no_registration` is one.
    folds, seed, groups
        See `split_folds`.
    surfaces
        As in `score_registration`.
    progress
        Called with the number of registered pairs and the number of all pairs.
    threads
        Threads for scoring; None means all cores. Methods choose their own.

    Returns
    -------
    list of dict
        One per method, fold and pair: ``method``, ``fold``, and the record of `score_pairs`. Overlap is scored on the
        labels that `scored_labels` finds in the fold's training subjects.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, a fold has fewer than 2 test subjects, or a displacement does not fit.
    """
    _checks.instance("cohort", cohort, Cohort, large=True)
    fits = _fits(methods)
    _checks.integer("folds", folds, minimum=2)
    if len(cohort) < 2 * folds:
        raise ValueError(f"folds is {folds} for {len(cohort)} subjects; pass at most {len(cohort) // 2}, 2 in each")
    count = _checks.thread_count(threads)
    splits = split_folds(len(cohort), folds, seed, groups=groups)
    total = len(fits) * sum(len(test) * (len(test) - 1) for _, test in splits)
    records: list[Record] = []
    for fold, (train, test) in enumerate(splits):
        training = cohort.subset(train)
        ids = None if training.labels is None else scored_labels(training.labels)
        for name, fit in fits.items():
            register = fit(training, fold)
            if not callable(register):
                raise TypeError(f"method {name!r} returned {register!r}; return a function of a fixed and moving image")
            scored = score_pairs(cohort, test_pairs(test), register, label_ids=ids, surfaces=surfaces, threads=count)
            for record, _ in scored:
                records.append({"method": name, "fold": fold, **record})
                if progress is not None:
                    progress(len(records), total)
    return records


def _fits(methods: Mapping[str, Any]) -> dict[str, Fit]:
    if not isinstance(methods, Mapping) or not methods:
        raise TypeError(f"methods is {methods!r}; pass a mapping from names to functions fit(training, fold)")
    fits = {name: getattr(method, "fit", method) for name, method in methods.items()}
    for name, fit in fits.items():
        if not isinstance(name, str) or not callable(fit):
            raise TypeError(f"methods[{name!r}] is {methods[name]!r}; pass a function or an object with a method fit")
    return fits
