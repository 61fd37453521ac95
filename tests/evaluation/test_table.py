"""Records in files, and tables of them."""

from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import ModelFileError
from modelaug.evaluation import (
    compare_methods,
    cross_validate,
    make_table,
    no_registration,
    read_records,
    summarize,
    table_markdown,
    write_records,
)
from tests.examples import one_line, philox, plane

Records = list[dict[str, Any]]


def example(methods: tuple[str, ...] = ("a", "b", "c"), fold_size: int = 4, folds: int = 2) -> Records:
    rng = philox(0)
    return [
        {
            "method": name,
            "fold": fold,
            "fixed": f"{fold}{i}",
            "moving": f"{fold}{j}",
            "seconds": 0.5 + k,
            "jaccard": rng.random() + 0.2 * k,
            "jaccard/1": rng.random(),
            "contour_distance": rng.random(),
        }
        for k, name in enumerate(methods)
        for fold in range(folds)
        for i, j in permutations(range(fold_size), 2)
    ]


def test_a_table_is_made_of_summaries_and_tests() -> None:
    records = example()
    shuffled = [records[k] for k in philox(1).permutation(len(records))]
    table = make_table(shuffled, metric="jaccard", cohort="toys")
    assert {key: table[key] for key in ("cohort", "metric", "unit", "higher_is_better")} == {
        "cohort": "toys",
        "metric": "jaccard",
        "unit": "",
        "higher_is_better": True,
    }
    for k, name in enumerate("abc"):
        rows = [r for r in records if r["method"] == name]
        row = table["methods"][name]
        expected = summarize([r["jaccard"] for r in rows])
        assert {key: row[key] for key in ("mean", "std", "n")} == pytest.approx(
            {key: expected[key] for key in ("mean", "std", "n")}
        )
        assert set(row["metrics"]) == {"jaccard/1", "contour_distance"}
        assert row["metrics"]["contour_distance"]["mean"] == pytest.approx(
            np.mean([r["contour_distance"] for r in rows])
        )
        assert row["seconds_per_pair"] == 0.5 + k
    assert {frozenset(name.split(" vs ")) for name in table["tests"]} == {
        frozenset(pair) for pair in ("ab", "ac", "bc")
    }
    # Values of a pair are matched by the pair, not by their place.
    name, test = next(iter(table["tests"].items()))
    first, second = ([r for r in records if r["method"] == method] for method in name.split(" vs "))
    expected = compare_methods(
        [r["jaccard"] for r in first],
        [r["jaccard"] for r in second],
        [(r["fixed"], r["moving"]) for r in first],
        higher_is_better=True,
    )
    assert test["mean_difference"] == pytest.approx(expected["mean_difference"])
    assert test["dyadic"] == pytest.approx(expected["dyadic"])
    assert test["better"] == expected["better"]
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_lower_may_be_better() -> None:
    table = make_table(example(("a", "b")), metric="contour_distance", cohort="toys")
    test = table["tests"]["a vs b"]
    assert table["unit"] == "mm"
    assert test["better"] == ("a" if test["mean_difference"] < 0 else "b")


def test_each_method_against_a_reference() -> None:
    table = make_table(example(), metric="jaccard", cohort="toys", reference_method="b")
    assert list(table["tests"]) == ["a vs b", "c vs b"]
    other = make_table(example(), metric="jaccard", cohort="toys")
    assert other["tests"]["b vs c"]["mean_difference"] == pytest.approx(-table["tests"]["c vs b"]["mean_difference"])


def test_pairs_without_the_metric_are_left_out() -> None:
    records = example(("a", "b"))
    records[0]["jaccard"] = None
    records[1]["jaccard"] = math.nan
    del records[2]["jaccard"]
    table = make_table(records, metric="jaccard", cohort="toys")
    assert table["methods"]["a"]["n"] == 21
    assert table["methods"]["b"]["n"] == 24
    assert table["tests"]["a vs b"]["pairs"] == 21
    few = make_table(example(("a", "b"), fold_size=2, folds=1), metric="jaccard", cohort="toys")
    assert few["tests"] == {"a vs b": None}
    assert "comparison" not in table_markdown(few)


def test_markdown() -> None:
    records = example(("a", "b|c"))
    table = make_table(records, metric="jaccard", cohort="toys")
    text = table_markdown(table)
    lines = text.splitlines()
    assert lines[0] == "toys: 24 pairs, higher jaccard is better"
    assert lines[2] == "| method | jaccard | contour_distance (mm) | s per pair |"
    row = table["methods"]["a"]
    assert lines[4].startswith(f"| a | {row['mean']:.3g} ± {row['std']:.3g} |")
    assert lines[4].endswith("| 0.5 |")
    assert lines[5].startswith("| b\\|c |")
    assert "jaccard/1" not in text
    test = table["tests"]["a vs b|c"]
    (line,) = [line for line in lines if line.startswith("| a vs b")]
    assert f"| {test['dyadic']['p']:.2g} |" in line
    for block in text.split("\n\n")[1:3]:
        assert len({each.replace("\\|", "").count("|") for each in block.splitlines()}) == 1


def test_markdown_of_the_tests_with_one_method() -> None:
    table = make_table(example(("a", "b", "c")), metric="jaccard", cohort="toys")

    def tests(**options: str) -> list[str]:
        return [line.split(" | ")[0][2:] for line in table_markdown(table, **options).splitlines() if " vs " in line]

    assert tests() == ["a vs b", "a vs c", "b vs c"]
    assert tests(reference="b") == ["a vs b", "b vs c"]
    assert tests(reference="unknown") == tests()


def test_from_cross_validation_through_a_file(tmp_path: Path) -> None:
    shift = np.ones((2, *plane().grid), np.float32)
    methods = {"before": no_registration, "shift": lambda training, fold: lambda fixed, moving: shift}
    records = cross_validate(plane(), methods, folds=3, threads=1)
    path = tmp_path / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records
    table = make_table(path, metric="contour_distance", cohort="plane")
    assert table == make_table(records, metric="contour_distance", cohort="plane")
    assert table["methods"]["before"]["n"] == 36
    assert table["tests"]["before vs shift"]["folds"] == 3
    assert "| before |" in table_markdown(table)


def test_files_of_records(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [{"fold": np.int64(3), "jaccard": np.float32(0.5), "x": np.nan, "y": math.inf, "z": "ä"}])
    assert read_records(path) == [{"fold": 3, "jaccard": 0.5, "x": None, "y": None, "z": "ä"}]
    assert [p.name for p in tmp_path.iterdir()] == ["records.jsonl"]
    with pytest.raises(TypeError, match=r"records\[1\] cannot be written as JSON") as refused:
        write_records(path, [{"x": 1}, {"x": np.zeros(3)}])
    one_line(refused.value)
    assert len(read_records(path)) == 1
    path.write_text('{"a": 1}\n\n{"a": 2}')
    assert read_records(path) == [{"a": 1}, {"a": 2}]
    for content, message in ((b'{"a": 1}\n{"a', "line 2, is no JSON"), (b"[1]", "no JSON object"), (b"\xff", "read")):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message) as caught:
            read_records(path)
        one_line(caught.value)
    with pytest.raises(ModelFileError, match="does not exist"):
        read_records(tmp_path / "none")


def test_bad_arguments_are_refused() -> None:
    records = example(("a", "b"))
    for call, message in (
        (lambda: make_table([], metric="jaccard", cohort="x"), "records is empty"),
        (lambda: make_table(records, metric="dice", cohort="x"), "metric is 'dice'"),
        (lambda: make_table(records, metric="landmark_error", cohort="x"), "no record has"),
        (lambda: make_table(records, metric="jaccard", cohort="x", reference_method="z"), "reference_method is 'z'"),
        (lambda: make_table([*records, records[3]], metric="jaccard", cohort="x"), "is the second of method 'a'"),
        (lambda: make_table(records[:-1], metric="jaccard", cohort="x"), "records of 'b' lack the pair"),
        (lambda: make_table(records[1:], metric="jaccard", cohort="x"), "records of 'a' lack the pair"),
        (lambda: make_table([{"method": "a"}], metric="jaccard", cohort="x"), "lacks 'fold'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        one_line(caught.value)
