"""Folds, and methods compared on them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import Cohort, evaluation
from modelaug.evaluation import (
    cross_validate,
    no_registration,
    score_pairs,
    score_registration,
    scored_labels,
    split_folds,
)
from tests.examples import one_line, plane

Image = npt.NDArray[np.float32]


@given(st.data())
def test_folds_partition_the_subjects_evenly(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 40))
    folds = data.draw(st.integers(2, n))
    groups = data.draw(st.none() | st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    splits = split_folds(n, folds, 3, groups=groups)
    assert len(splits) == folds
    assert sorted(i for _, test in splits for i in test.tolist()) == list(range(n))
    for train, test in splits:
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(n))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
    sizes = [len(test) for _, test in splits]
    assert max(sizes) - min(sizes) <= 1
    for group in set(groups or ()):
        shares = [Counter(groups[i] for i in test)[group] for _, test in splits]  # type: ignore[index]
        assert max(shares) - min(shares) <= 1


def test_folds_are_a_function_of_the_seed() -> None:
    def folds(seed: int) -> list[list[int]]:
        return [test.tolist() for _, test in split_folds(20, 4, seed)]

    assert folds(0) == folds(0)
    assert folds(0) != folds(1)
    # Subjects are shuffled: over many seeds each meets each in a fold equally often, 4 of 19 times.
    together = np.zeros((20, 20))
    for seed in range(400):
        for test in folds(seed):
            together[np.ix_(test, test)] += 1 / 400
    off = together[~np.eye(20, dtype=bool)]
    assert np.abs(off - 4 / 19).max() < 0.09  # 4.4 standard deviations


def test_pairs_are_all_ordered_ones() -> None:
    pairs = evaluation.test_pairs(np.array([4, 7, 9]))
    assert pairs == [(4, 7), (4, 9), (7, 4), (7, 9), (9, 4), (9, 7)]
    assert all(type(i) is int for pair in pairs for i in pair)


class MeanShift:
    """Registers everything by one displacement, the same in all folds; remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, tuple[str, ...]]] = []
        self.shape = (0,)

    def fit(self, training: Cohort, fold: int) -> Callable[[Image, Image], Image]:
        self.seen.append((fold, training.names))

        def register(fixed: Image, moving: Image) -> Image:
            self.shape = fixed.shape
            assert fixed.shape == moving.shape
            return np.full((2, *fixed.shape[1:]), 1.5, np.float32)

        return register


def test_methods_see_training_subjects_only_and_are_scored_on_the_others() -> None:
    cohort, shift, calls = plane(), MeanShift(), []
    records = cross_validate(
        cohort,
        {"none": no_registration, "shift": shift},
        folds=3,
        seed=5,
        progress=lambda done, total: calls.append((done, total)),
        threads=1,
    )
    assert len(records) == 2 * 3 * 4 * 3
    assert calls == [(k + 1, 72) for k in range(72)]
    splits = split_folds(12, 3, 5)
    assert shift.seen == [(k, tuple(cohort.names[i] for i in train)) for k, (train, _) in enumerate(splits)]
    assert shift.shape == (2, *cohort.grid)
    expected = [
        (name, fold, cohort.names[i], cohort.names[j])
        for fold, (_, test) in enumerate(splits)
        for name in ("none", "shift")
        for i, j in evaluation.test_pairs(test)
    ]
    assert [(r["method"], r["fold"], r["fixed"], r["moving"]) for r in records] == expected
    assert cohort.labels is not None
    for record in records[::7]:
        i, j = (cohort.names.index(record[key]) for key in ("fixed", "moving"))
        field = None if record["method"] == "none" else np.full((2, *cohort.grid), 1.5)
        ids = scored_labels(cohort.labels[splits[record["fold"]][0]])
        scores = score_registration(cohort, i, j, field, label_ids=ids)
        assert scores == {key: value for key, value in record.items() if key in scores}
        assert set(record) - set(scores) == {*("method", "fold", "fixed", "moving", "seconds", "inverse_consistency")}
        # There and back by the same shift is twice the shift.
        expected = 0 if field is None else np.linalg.norm(2 * 1.5 * cohort.spacing)
        assert record["inverse_consistency"] == pytest.approx(expected, rel=1e-6)
        assert record["seconds"] >= 0


def test_structures_are_chosen_by_training_subjects() -> None:
    whole = plane()
    assert whole.labels is not None
    labels = whole.labels.copy()
    labels[:, :6, :6] = 9
    labels[4, :6, :6] = 0  # one subject of 12 lacks it: more than 90 % of all have it, but of 8 with this one less
    cohort = Cohort(whole.images, whole.landmarks, labels=labels, objects=whole.objects)
    records = cross_validate(cohort, {"none": no_registration}, folds=3, threads=1)
    assert all("jaccard/1" in record for record in records)
    splits = split_folds(12, 3, 0)
    assert [4 in test for _, test in splits].count(True) == 1
    assert all(("jaccard/9" in record) == (4 in splits[record["fold"]][1]) for record in records)


def test_one_way_and_leaving_the_image_have_no_consistency() -> None:
    cohort = plane()
    ((record, field),) = score_pairs(cohort, [(0, 1)], lambda fixed, moving: None, threads=1)
    assert "inverse_consistency" not in record
    assert not field.any()
    away = np.full((2, *cohort.grid), 1000.0)
    pairs = list(score_pairs(cohort, [(0, 1), (1, 0)], lambda fixed, moving: away, threads=1))
    assert all("inverse_consistency" not in record and "jaccard" in record for record, _ in pairs)


def test_distances_of_surfaces_are_measured_on_request() -> None:
    cohort = plane()
    records = cross_validate(cohort, {"none": no_registration}, folds=3, surfaces=True, threads=1)
    first = records[0]
    at = [cohort.names.index(first[name]) for name in ("fixed", "moving")]
    expected = score_registration(cohort, *at, np.zeros((2, *cohort.grid), np.float32), surfaces=True)
    for name in ("surface_distance", "hausdorff95"):
        assert all(name in record for record in records)
        assert first[name] == pytest.approx(expected[name])
        assert name not in cross_validate(cohort, {"none": no_registration}, folds=3, threads=1)[0]


def test_groups_are_spread() -> None:
    groups = ["ill"] * 4 + ["well"] * 8
    records = cross_validate(plane(), {"none": no_registration}, folds=4, groups=groups, threads=1)
    folds = {fold: {r["fixed"] for r in records if r["fold"] == fold} for fold in range(4)}
    assert all(sum(name in plane().names[:4] for name in names) == 1 for names in folds.values())


def test_bad_arguments_are_refused() -> None:
    for call in (
        lambda: split_folds(5, 6, 0),
        lambda: split_folds(5, 1, 0),
        lambda: split_folds(5, 2, 0, groups="abc"),
        lambda: split_folds(5, 2, -1),
        lambda: cross_validate(plane(), {"none": no_registration}, folds=7),
        lambda: cross_validate(plane(), {"bad": lambda training, fold: lambda x, y: np.zeros((2, 3, 3))}, folds=2),
    ):
        with pytest.raises(ValueError, match="pass") as caught:
            call()
        one_line(caught.value)
    for methods in ({}, [no_registration], {"x": 3}, {3: no_registration}, {"x": lambda training, fold: None}):
        with pytest.raises(TypeError, match=r"pass|return") as refused:
            cross_validate(plane(), methods, folds=2)  # type: ignore[arg-type]
        one_line(refused.value)


def test_importing_loads_neither_networks_nor_tests() -> None:
    code = "import sys, modelaug.evaluation; print(*({'torch', 'scipy.stats', 'scipy.sparse'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
