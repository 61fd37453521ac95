"""The report of a comparison: what it says, and that it is one whole file of sound HTML."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from jinja2 import Template

from modelaug import Cohort, ModelFileError
from modelaug.comparison.report import write_report
from modelaug.evaluation import make_table
from modelaug.evaluation.examples import Example
from tests.examples import one_line, philox, plane, volume

HOSTILE = '<script>alert("x")</script> & $\\frac{'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page, and refuses elements that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.items: list[str] = []
        self.strong: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        content = path.read_text(encoding="utf-8")
        assert content.startswith("<!DOCTYPE html>")
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)
        if self.open and self.open[-1] == "li":
            self.items.append(data)
        if self.open and self.open[-1] == "strong":
            self.strong.append(data)

    @property
    def pictures(self) -> list[bytes]:
        sources = [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2], validate=True) for source in sources]


def scored(methods: dict[str, float], *, metric: str = "jaccard") -> list[dict[str, Any]]:
    """Return scores of 3 folds of 4 subjects each, whose means differ by method; demons have no landmark errors."""
    rng, records = philox(4), []
    for fold in range(3):
        for i, j in permutations(range(4 * fold, 4 * fold + 4), 2):
            pair = {"fold": fold, "fixed": plane().names[i], "moving": plane().names[j]}
            hard = rng.normal(0, 0.03)
            for name, level in methods.items():
                scores = {metric: level + hard + rng.normal(0, 0.01), "seconds": 0.25}
                errors = {} if name == "demons" else {"landmark_error": 7 * level, "jaccard/1": None}
                records.append({"method": name, **pair, **scores, **errors})
    return records


def example(method: str, fixed: int = 0, moving: int = 1, fold: int = 0) -> Example:
    return Example(fold, method, fixed, moving, philox(1).normal(size=(2, *plane().grid)).astype(np.float32))


def trained(folder: Path) -> Path:
    path = folder / "metrics.csv"
    path.write_text("step,loss,epe,validation_epe\n1,4,3,\n2,2,2,2.5\n3,1,1,\n4,0.5,1,1.5\n")
    return path


METHODS = {"none": 0.4, "demons": 0.5, "FlowNet-SAM": 0.6, "FlowNet-SAM, shared": 0.601}


def written(tmp_path: Path, methods: dict[str, float] = METHODS, **parts: Any) -> Page:
    records = scored(methods)
    table = make_table(records, metric="jaccard", cohort=parts.pop("name", "ellipses"))
    path = tmp_path / "report.html"
    write_report(path, **{"cohort": plane(), "table": table, "records": records, **parts})
    return Page(path)


def test_all_parts(tmp_path: Path) -> None:
    examples = [example(name, *pair) for name in METHODS for pair in ((0, 1, 0), (4, 6, 1))]
    found = written(tmp_path, examples=examples, curves={"FlowNet-SAM": {0: trained(tmp_path)}})
    assert found.headings[0] == "ellipses: 4 registration methods compared"
    assert found.headings[1:] == [
        "Results",
        "Scores of all pairs",
        "Differences to FlowNet-SAM, shared",
        "Tests",
        "Examples",
        "001 registered to 000 (fold 0)",
        "006 registered to 004 (fold 1)",
        "Trainings",
    ]
    assert len(found.pictures) == 6
    assert all(picture.startswith(b"\x89PNG") for picture in found.pictures)
    for fact in ("subjects12", "44 × 26 pixels of 1 × 2 mm", "folds3", "test pairs36"):
        assert fact in found.text
    # Nothing is fetched from anywhere.
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert [value for _, name, value in found.attributes if name == "href"] == []


def test_numbers_of_the_table_and_the_best_in_bold(tmp_path: Path) -> None:
    found = written(tmp_path)
    table = make_table(scored(METHODS), metric="jaccard", cohort="")
    assert found.rows[0] == ["method", "pairs", "Jaccard index", "landmark error (mm)", "time per pair"]
    for line, (name, row) in zip(found.rows[1:5], table["methods"].items(), strict=True):
        other = row["metrics"].get("landmark_error")
        error = "–" if name == "demons" else f"{other['mean']:.2f} ± {other['std']:.2f}"
        assert line == [name, "36", f"{row['mean']:.3f} ± {row['std']:.3f}", error, "250 ms"]
    assert found.strong == [found.rows[1][3], found.rows[4][2]]


def test_tests_in_words_and_numbers(tmp_path: Path) -> None:
    found = written(tmp_path)
    records = scored(METHODS)
    tests = make_table(records, metric="jaccard", cohort="")["tests"]
    assert len(found.items) == 3
    clear, unclear = tests["none vs FlowNet-SAM, shared"], tests["FlowNet-SAM vs FlowNet-SAM, shared"]
    assert clear["dyadic"]["p"] < 1e-4 < 0.05 < unclear["dyadic"]["p"]
    low, high = sorted(-end for end in clear["confidence_interval"])
    assert found.items[0] == (
        f"FlowNet-SAM, shared is better than none by {-clear['mean_difference']:.3f} "
        f"(95 % CI {low:.3f} to {high:.3f}); p < 0.0001, clustered by subject."
    )
    assert "are not told apart" in found.items[2]
    assert f"p = {unclear['dyadic']['p']:.2g}" in found.items[2]
    lines = {line[0]: line[1:] for line in found.rows if " vs " in line[0]}
    assert lines.keys() == tests.keys()
    difference = f"{unclear['mean_difference']:+.3f}".replace("-", "−")
    assert lines["FlowNet-SAM vs FlowNet-SAM, shared"][0] == difference
    assert lines["FlowNet-SAM vs FlowNet-SAM, shared"][3] == f"{unclear['dyadic']['p']:.2g}"
    assert "Tested on 36 pairs, 12 subjects, 3 folds." in found.text


def test_where_lower_is_better_the_gain_is_positive(tmp_path: Path) -> None:
    records = scored({"far": 3.0, "near": 2.0}, metric="contour_distance")
    table = make_table(records, metric="contour_distance", cohort="ellipses")
    write_report(tmp_path / "a.html", cohort=plane(), table=table, records=records)
    (sentence,) = Page(tmp_path / "a.html").items
    assert sentence.startswith("near is better than far by 1.0")
    assert "\N{NO-BREAK SPACE}mm (95 % CI 0.9" in sentence
    assert "−" not in sentence


def test_equal_methods_and_tests_that_cannot_be_done(tmp_path: Path) -> None:
    records = [record for record in scored({"a": 0.5}) if record["fold"] == 0]
    records += [{**record, "method": "b"} for record in records]
    table = make_table(records, metric="jaccard", cohort="ellipses")
    write_report(tmp_path / "a.html", cohort=plane(), table=table, records=records)
    found = Page(tmp_path / "a.html")
    assert found.items == ["a and b have the same mean."]
    assert found.strong == []
    table["tests"] = {"a vs b": {**table["tests"]["a vs b"], "better": "b", "mean_difference": -0.1, "dyadic": None}}
    write_report(tmp_path / "a.html", cohort=plane(), table=table, records=records)
    found = Page(tmp_path / "a.html")
    assert "too few pairs to say" in found.items[0]
    assert "–" in found.rows[-1]
    table["tests"] = {"a vs b": None}
    write_report(tmp_path / "a.html", cohort=plane(), table=table, records=records)
    assert "Tests" not in Page(tmp_path / "a.html").headings


def test_what_is_absent_is_left_out(tmp_path: Path) -> None:
    found = written(tmp_path, {"alone": 0.5})
    assert found.headings == ["ellipses: 1 registration method compared", "Results", "Scores of all pairs"]
    assert len(found.pictures) == 1
    assert written(tmp_path, {"alone": 0.5}, records=[]).pictures == []
    bare = Cohort(plane().images, plane().landmarks, spacing=plane().spacing)
    assert len(written(tmp_path, cohort=bare, examples=[example("none")], curves={"none": {}}).pictures) == 3
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n1,2\n2,1\n")
    assert len(written(tmp_path, curves={"x": {0: path}}).pictures) == 3


def test_hostile_names_are_text(tmp_path: Path) -> None:
    cohort = Cohort(plane().images, plane().landmarks, labels=plane().labels, names=[HOSTILE, *plane().names[1:]])
    found = written(
        tmp_path,
        {HOSTILE: 0.5, "_b": 0.4},
        name=HOSTILE,
        cohort=cohort,
        examples=[example(HOSTILE)],
        curves={HOSTILE: {0: trained(tmp_path)}},
    )
    assert "script" not in found.tags
    assert len(found.pictures) == 5
    assert found.headings[0].startswith(HOSTILE)
    assert HOSTILE in [line[0] for line in found.rows]
    assert f"001 registered to {HOSTILE} (fold 0)" in found.headings
    alternatives = [value for tag, name, value in found.attributes if (tag, name) == ("img", "alt")]
    assert any(HOSTILE in text for text in alternatives)


def test_same_input_same_bytes_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, examples=[example("none")])
    path = tmp_path / "report.html"
    before = path.read_bytes()
    written(tmp_path, examples=[example("none")])
    assert path.read_bytes() == before
    monkeypatch.setattr(Template, "render", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(tmp_path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_examples_stand_in_the_tables_order_with_their_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelaug import plots

    shown: list[tuple[list[str], list[str]]] = []

    def spy(cohort: Cohort, examples: list[Example], *, notes: list[str]) -> Any:
        shown.append(([each.method for each in examples], notes))
        return plots.plot_color_wheel("").figure

    monkeypatch.setattr(plots, "plot_examples", spy)
    written(tmp_path, examples=[example("FlowNet-SAM"), example("none"), example("none", 2, 3, 1)])
    records = {(r["method"], r["fixed"], r["moving"]): r["jaccard"] for r in scored(METHODS)}
    notes = [f"Jaccard index\n{records[name, '000', '001']:.3f}" for name in ("none", "FlowNet-SAM")]
    # Subjects 2 and 3 are no pair of fold 1, so that there is nothing to say about them.
    assert shown == [(["none", "FlowNet-SAM"], notes), (["none"], [""])]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"examples": [example("other")]}, "'other'"),
        ({"examples": [example("none", 0, 12)]}, "moving of an example is 12"),
        ({"examples": [replace(example("none"), displacement=np.zeros((2, 5, 5), np.float32))]}, "shape"),
        ({"records": scored({"other": 0.1})}, "'other'"),
        ({"table": {"cohort": "x", "metric": "jaccard", "methods": {}}}, "no methods"),
        ({"cohort": volume(), "examples": [example("none")]}, "in the plane"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        written(tmp_path, **parts)
    one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_trainings_and_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        written(tmp_path, curves={"none": {0: tmp_path / "metrics.csv"}})
    with pytest.raises(ValueError, match="displacement"):
        Example(0, "none", 0, 1, np.full((2, 4, 4), np.nan, np.float32))
