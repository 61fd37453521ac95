"""``modelaug show``: a picture of whatever there is, or one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from typer.testing import CliRunner

from modelaug import AppearanceModel, PairOptions, PairSynthesizer, io, plots
from modelaug.cli import app
from modelaug.io.shards.writing import write_shards
from tests.examples import FULL, ellipsoids, volume


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one of each thing; nothing in it is changed by a test."""
    folder = tmp_path_factory.mktemp("show")
    cohort = ellipsoids(6, (32, 28), (1.0, 1.0))
    model = AppearanceModel.fit(cohort, **FULL)
    cohort.save(folder / "cohort.npz")
    model.save(folder / "model.npz")
    source = PairSynthesizer(model, seed=1)
    write_shards(source, 3, folder / "pairs", shard_size=2, threads=1)
    pair = source.draw(0)
    io.write_field(folder / "flow.npz", pair.flow)
    io.write_field(folder / "flow.flo", pair.flow)
    np.save(folder / "fixed.npy", pair.fixed)
    np.save(folder / "moving.npy", pair.moving)
    (folder / "net").mkdir()
    (folder / "net" / "metrics.csv").write_text("step,loss,epe,validation_epe\n1,4.0,9.0,\n2,2.0,7.0,8.0\n")
    return folder


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return the list that the figures of this test's commands go to, which are written at little cost."""
    kept: list[Figure] = []
    write = plots.save_figure

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        write(figure, path, dpi=20)

    monkeypatch.setattr(plots, "save_figure", keep)
    return kept


def show(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it writes to standard output and standard error."""
    result = CliRunner().invoke(app, ["show", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def drawn(*arguments: str | Path) -> str:
    code, text, errors = show(*arguments)
    assert code == 0, errors
    return text


def refused(*arguments: str | Path) -> str:
    code, text, errors = show(*arguments)
    assert code == 2, text
    (line,) = errors.splitlines()
    assert line.startswith("modelaug: ")
    return line


def words(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.texts} | {t.get_text() for ax in figure.axes for t in ax.texts}


@pytest.mark.parametrize(
    ("arguments", "told", "shown"),
    [
        (["cohort.npz"], "cohort of 6 subjects", "005"),
        (["model.npz", "--modes", "2"], "modes of the model", "+2 sd"),
        (["model.npz", "--pairs", "2"], "2 pairs drawn", "moving, warped by flow"),
        (["pairs"], "the first 3 of 3 pairs", "weight"),
        (["pairs", "-n", "1"], "the first 1 of 3 pairs", "weight"),
        (["flow.npz"], "pass --fixed and --moving", "Jacobian determinant"),
        (["flow.flo"], "pass --fixed and --moving", "warped grid"),
        (["flow.npz", "--fixed", "fixed.npy", "--moving", "moving.npy"], "before and after", "checkerboard after"),
    ],
)
def test_the_thing_decides_what_is_drawn(
    home: Path, tmp_path: Path, figures: list[Figure], arguments: list[str], told: str, shown: str
) -> None:
    picture = tmp_path / "new" / "picture.png"
    text = drawn(*(home / each if (home / each).exists() else each for each in arguments), "-o", picture)
    assert text.startswith(f"{picture}: ")
    assert told in text
    assert shown in words(figures[0])
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_pairs_are_those_of_seed_and_options(home: Path, tmp_path: Path, figures: list[Figure]) -> None:
    drawn(home / "model.npz", "-n", "1", "--seed", "4", "--set", "pose=none", "-o", tmp_path / "a.svg")
    options = PairOptions(pose="none")
    pair = PairSynthesizer(AppearanceModel.load(home / "model.npz"), seed=4, options=options).draw(0)
    np.testing.assert_array_equal(figures[0].axes[2].images[0].get_array(), plots.flow_to_rgb(pair.flow))


def test_curves_of_a_training_with_and_without_its_end(home: Path, tmp_path: Path, figures: list[Figure]) -> None:
    drawn(home / "net", "-o", tmp_path / "a.pdf")
    np.testing.assert_array_equal(figures[0].axes[0].lines[0].get_xydata(), [[1, 4], [2, 2]])
    assert len(figures[0].axes[1].lines) == 2


def test_the_baseline_of_a_training_comes_from_its_card(tmp_path: Path, figures: list[Figure]) -> None:
    learning = pytest.importorskip("modelaug.learning")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "metrics.csv").write_text("step,loss\n1,4.0\n2,2.0\n")
    card = {"metrics": {"validation_epe_of_zero_flow": 7.5}}
    learning.save_network(learning.FlowNetS(width=0.0625), tmp_path / "net", card)
    drawn(tmp_path / "net", "-o", tmp_path / "a.png")
    assert figures[0].axes[1].lines[-1].get_ydata()[0] == 7.5


def test_learning_curve_of_a_cohort(home: Path, tmp_path: Path, figures: list[Figure]) -> None:
    assert "learning curve of 6" in drawn(home / "cohort.npz", "--learning-curve", "-o", tmp_path / "a.png")
    assert figures[0].axes[0].get_xlabel() == "training subjects"


def test_without_a_name_pictures_are_named_after_the_things_and_none_is_lost(
    home: Path, tmp_path: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = drawn(home / "flow.flo", home / "net")
    assert [line.split(":")[0] for line in text.splitlines()] == ["flow.png", "net.png"]
    assert sorted(os.listdir()) == ["flow.png", "net.png"]
    before = (tmp_path / "net.png").read_bytes()
    assert "net.png exists; pass -o net.png" in refused(home / "net")
    assert (tmp_path / "net.png").read_bytes() == before
    drawn(home / "net", "-o", "net.png")
    assert "would be the picture of two things" in refused(home / "flow.flo", home / "flow.npz", "-o", "x")
    monkeypatch.chdir(home / "net")
    drawn(".", "-o", tmp_path / "b.png")


def test_several_things_go_into_a_folder(home: Path, tmp_path: Path, figures: list[Figure]) -> None:
    for _ in range(2):  # what was drawn before is drawn anew
        drawn(home / "net", home / "flow.npz", "-o", tmp_path / "all")
    assert sorted(each.name for each in (tmp_path / "all").iterdir()) == ["flow.png", "net.png"]
    assert "pass a folder" in refused(home / "net", home / "flow.npz", "-o", tmp_path / "all.png")


def test_bad_things_are_refused_in_one_line(home: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "a.png"]
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes((home / "model.npz").read_bytes()[:-90])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    volume().save(tmp_path / "volume.npz")
    io.write_field(tmp_path / "space.npz", np.zeros((3, 4, 5, 6), np.float32))
    np.save(tmp_path / "small.npy", np.zeros((5, 6), np.float32))
    for arguments, message in (
        ([tmp_path / "no.npz"], "no.npz does not exist"),
        ([tmp_path / "other.npz"], "nothing known"),
        ([tmp_path / "broken.npz"], "cannot be read"),
        ([tmp_path / "notes.txt"], "cannot be read"),
        ([tmp_path / "empty"], "neither pairs (manifest.json) nor a training"),
        ([tmp_path / "volume.npz"], "pictures need images in the plane"),
        ([tmp_path / "space.npz"], "pictures need fields in the plane"),
        ([home / "flow.npz", "--fixed", home / "fixed.npy"], "--fixed is given without --moving"),
        ([home / "flow.npz", "--moving", home / "fixed.npy"], "--moving is given without --fixed"),
        (
            [home / "flow.npz", "--fixed", home / "fixed.npy", "--moving", tmp_path / "small.npy"],
            "small.npy has shape (5, 6)",
        ),
        ([home / "model.npz", "-n", "1", "--set", "flow=none"], "flow is 'none'"),
    ):
        assert message in refused(*arguments, *out)
    assert "ends in .png" in refused(home / "net", "-o", tmp_path / "a.txt")
    assert not (tmp_path / "a.png").exists()


def test_help_says_where_pictures_go() -> None:
    text = " ".join(drawn("--help").replace("│", " ").split())
    assert "NAME.png" in text
