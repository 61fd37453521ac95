"""The command line: what it writes and prints, and how it fails."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.testing import CliRunner, Result

from modelaug import (
    AcquisitionOptions,
    AppearanceModel,
    PairOptions,
    PairSynthesizer,
    ResidualOptions,
    ShapeOptions,
    TextureOptions,
    warp,
)
from modelaug.cli import _console, app
from modelaug.cli.fit import parse_indices
from modelaug.io import read_field, read_image, write_field, write_image
from tests.examples import basis_model, heart_model, hearts, plane_model, volume

COMMANDS = ("demo", "fit", "sample", "pretrain", "train", "register", "compare", "info")
TINY = ["--steps", "2", "--batch-size", "2", "--width", "0.0625", "--threads", "1"]


def modelaug(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeeds(*arguments: str | Path) -> str:
    """Run a command and return what it prints."""
    result = modelaug(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*arguments: str | Path) -> str:
    """Run a command that must end with one line and exit code 2, and return the line."""
    result = modelaug(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("modelaug: ")
    return line


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cohort, a model and two images; nothing in it is changed by a test."""
    folder = tmp_path_factory.mktemp("cli")
    hearts().save(folder / "cohort.npz")
    heart_model().save(folder / "model.npz")
    for i, name in enumerate(("fixed", "moving")):
        np.save(folder / f"{name}.npy", hearts().images[i, 0])
    return folder


@pytest.fixture(scope="module")
def net(home: Path) -> Path:
    """Return the folder of a network that was trained by the command line."""
    pytest.importorskip("safetensors")
    text = succeeds("train", home / "model.npz", "-o", home / "net", *TINY)
    assert "end-point error on held-out pairs" in text
    return home / "net"


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(self, command: str) -> None:
        text = succeeds(command, "--help")
        if command != "info":
            assert "--threads" in text
        assert ("--seed" in text) == (command in ("demo", "sample", "pretrain", "train", "compare"))

    @pytest.mark.parametrize("command", [each.callback.__name__ for each in app.registered_commands if each.callback])
    def test_no_word_is_cut_at_80_columns(self, command: str) -> None:
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text

    def test_as_a_module_and_with_few_imports(self) -> None:
        environment = {**os.environ, "PYTHONWARNINGS": "error", "COLUMNS": "100"}
        command = [sys.executable, "-X", "importtime", "-m", "modelaug", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)
        loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
        assert "modelaug" in loaded
        assert not {"torch", "matplotlib", "SimpleITK"} & loaded

    def test_version(self) -> None:
        assert succeeds("--version").strip() == importlib.import_module("modelaug").__version__

    @pytest.mark.parametrize(
        ("absent", "arguments", "message"),
        [
            ("typer", ["--help"], "pip install 'modelaug[cli]'"),
            ("torch", ["train", "model.npz", "-o", "net"], "pip install 'modelaug[train]'"),
            ("nibabel", ["info", "field.nii"], "pip install 'modelaug[io]'"),
        ],
    )
    def test_missing_extra_is_named_in_one_line(
        self, home: Path, tmp_path: Path, absent: str, arguments: list[str], message: str
    ) -> None:
        shutil.copy(home / "model.npz", tmp_path / "model.npz")
        write_field(tmp_path / "field.nii", np.zeros((2, 4, 4)))
        code = (
            f"import sys; sys.modules[{absent!r}] = None; sys.argv = ['modelaug', *{arguments!r}];"
            "from modelaug.__main__ import main; main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert message in line


class TestFit:
    def test_model_of_some_subjects(self, home: Path, tmp_path: Path) -> None:
        result = modelaug(
            "fit",
            home / "cohort.npz",
            "-o",
            tmp_path / "m.npz",
            "--subjects",
            "0:4,6",
            "--coverage",
            "0.5",
            "--threads",
            "1",
        )
        assert result.exit_code == 0
        model = AppearanceModel.load(tmp_path / "m.npz")
        assert model.provenance["subjects"] == [hearts().names[i] for i in (0, 1, 2, 3, 6)]
        assert model.options["shape"]["coverage"] == 0.5
        assert "64 x 64" in result.stdout
        assert f"{len(model.shape.variances)}, " in result.stdout
        assert result.stderr.splitlines() == ["normalizing images: 5/5"]

    def test_locality_and_textures(self, home: Path, tmp_path: Path) -> None:
        succeeds(
            *("fit", home / "cohort.npz", "-o", tmp_path / "m.npz", "--subjects", ":5", "--threads", "1"),
            *("--levels", "2", "--taper", "wendland", "--engine", "fields", "--texture-levels", "3"),
            *("--texture-coverage", "0.9"),
        )
        model = AppearanceModel.load(tmp_path / "m.npz")
        assert model.options["shape"] == asdict(ShapeOptions(levels=2, taper="wendland"))
        assert model.options["texture"] == asdict(TextureOptions(engine="fields", levels=3, coverage=0.9))
        assert [level["skipped"] for level in model.provenance["locality"]["shape"]["levels"]] == [False, False]

    def test_defaults_are_those_of_the_library(self, home: Path, tmp_path: Path) -> None:
        succeeds("fit", home / "cohort.npz", "-o", tmp_path / "m.npz", "--threads", "1")
        assert AppearanceModel.load(tmp_path / "m.npz").options == heart_model().options
        assert heart_model().options["shape"] == asdict(ShapeOptions())
        assert heart_model().options["texture"] == asdict(TextureOptions())

    @pytest.mark.parametrize(
        ("text", "indices"),
        [("3", [3]), ("0:3", [0, 1, 2]), (":2,4,3", [0, 1, 4, 3]), ("3:", [3, 4]), (" 1 , 2 ", [1, 2])],
    )
    def test_lists_of_subjects(self, text: str, indices: list[int]) -> None:
        assert parse_indices(text, 5) == indices

    @pytest.mark.parametrize("text", ["", "a", "1:2:3", "5", "-1", "0:6", "2:2", "1.5"])
    def test_bad_lists_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="subjects is"):
            parse_indices(text, 5)

    def test_bad_arguments(self, home: Path, tmp_path: Path) -> None:
        out = tmp_path / "m.npz"
        assert "subjects" in fails("fit", home / "cohort.npz", "-o", out, "--subjects", "90:")
        assert "coverage" in fails("fit", home / "cohort.npz", "-o", out, "--coverage", "2")
        assert "transform" in fails("fit", home / "cohort.npz", "-o", out, "--transform", "affine")
        for option, value, name in (
            ("--levels", "0", "levels is 0"),
            ("--levels", "13", "levels is 13"),
            ("--taper", "soft", "taper is 'soft'"),
            ("--engine", "magic", "engine is 'magic'"),
            ("--texture-levels", "0", "levels is 0"),
            ("--texture-coverage", "0", "coverage is 0"),
        ):
            assert name in fails("fit", home / "cohort.npz", "-o", out, option, value)
        assert "ends in .npz" in fails("fit", home / "cohort.npz", "-o", tmp_path / "m.txt")
        assert not list(tmp_path.iterdir())


class TestFiles:
    """A missing, truncated, alien or hostile file ends every command with one line."""

    def test_missing(self, home: Path, tmp_path: Path) -> None:
        for arguments in (
            ["fit", "no.npz", "-o", tmp_path / "m.npz"],
            ["sample", "no.npz", "-n", "1", "-o", tmp_path / "p"],
            ["info", "no.npz"],
        ):
            assert "no.npz does not exist" in fails(*arguments)
        assert not list(tmp_path.iterdir())

    def test_truncated(self, home: Path, tmp_path: Path) -> None:
        for name, command in (("cohort", ["fit"]), ("model", ["sample", "-n", "1"]), ("model", ["info"])):
            path = tmp_path / f"{name}.npz"
            path.write_bytes((home / f"{name}.npz").read_bytes()[:-100])
            out = [] if command == ["info"] else ["-o", tmp_path / "out.npz"]
            assert "cannot be read" in fails(command[0], path, *command[1:], *out)

    def test_hostile(self, tmp_path: Path) -> None:
        path = tmp_path / "evil.npz"
        np.savez(path, images=np.array([print], dtype=object), landmarks=np.zeros((2, 3, 2)))
        assert "evil.npz" in fails("fit", path, "-o", tmp_path / "m.npz")

    def test_alien(self, home: Path, tmp_path: Path) -> None:
        assert "header" in fails("sample", home / "cohort.npz", "-n", "1", "-o", tmp_path / "p")
        assert "images" in fails("fit", home / "model.npz", "-o", tmp_path / "m.npz")
        np.savez(tmp_path / "other.npz", a=np.zeros(3))
        assert "nothing known" in fails("info", tmp_path / "other.npz")
        assert "nor a network (net.json)" in fails("info", tmp_path)

    def test_debug_shows_where(self, tmp_path: Path) -> None:
        result = modelaug("--debug", "info", tmp_path / "no.npz")
        assert result.exit_code == 1
        assert type(result.exception).__name__ == "ModelFileError"


class TestSample:
    def test_pairs_and_continuation(self, home: Path, tmp_path: Path) -> None:
        arguments = [
            "sample",
            home / "model.npz",
            "-o",
            tmp_path / "p",
            "--shard-size",
            "2",
            "--seed",
            "5",
            "--threads",
            "1",
        ]
        assert "3 pairs of 64 x 64" in succeeds(*arguments, "-n", "3")
        with np.load(tmp_path / "p" / "pairs-000001.npz") as shard:
            np.testing.assert_array_equal(shard["flow"][0], PairSynthesizer(heart_model(), seed=5).draw(2).flow)
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / "p").glob("*0.npz")}
        succeeds(*arguments, "-n", "4")
        assert {path: path.stat().st_mtime_ns for path in times} == times
        assert "seed 5, not 6" in fails(*arguments, "-n", "4", "--seed", "6")
        assert "options" in fails(*arguments, "-n", "4", "--set", "pose=none")

    def test_options_of_the_pairs(self, home: Path, tmp_path: Path) -> None:
        settings = {"flow": "direct", "pose_limit": "1.5", "residual.amplitude": "1", "residual.spacing": "12"}
        settings |= {"acquisition.noise": "0.02", "texture": "mixed", "shared_probability": "0.3"}
        flags = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        succeeds("sample", home / "model.npz", "-n", "2", "-o", tmp_path / "p", "--threads", "1", *flags)
        options = PairOptions(
            flow="direct",
            pose_limit=1.5,
            residual=ResidualOptions(1, 12),
            acquisition=AcquisitionOptions(noise=0.02),
            texture="mixed",
            shared_probability=0.3,
        )
        with np.load(tmp_path / "p" / "pairs-000000.npz") as shard:
            expected = PairSynthesizer(heart_model(), options=options).draw(1)
            np.testing.assert_array_equal(shard["fixed"][1], expected.fixed)
            np.testing.assert_array_equal(shard["flow"][1], expected.flow)
        manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
        assert manifest["source"]["options"] == asdict(options)

    def test_figure(self, home: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        figure = tmp_path / "pairs.png"
        succeeds("sample", home / "model.npz", "-n", "2", "-o", tmp_path / "p", "--figure", figure, "--threads", "1")
        assert figure.read_bytes()[:4] == b"\x89PNG"

    def test_bad_arguments(self, home: Path, tmp_path: Path) -> None:
        sample = ("sample", home / "model.npz", "-n", "1", "-o", tmp_path / "p")
        for setting, message in {
            "texture=none": "texture is 'none'",
            "texture": "names no option",
            "tone=1": "one of flow, texture",
            "residual=1": "names no option",
            "residual.size=1": "one of amplitude, spacing",
            "residual.amplitude=1": "residual needs amplitude and spacing",
            "acquisition.noise=much": "noise is 'much'",
        }.items():
            assert message in fails(*sample, "--set", setting)
        assert modelaug("sample", home / "model.npz", "-n", "0", "-o", tmp_path / "p").exit_code == 2
        assert not list(tmp_path.iterdir())


class TestTrain:
    def test_files(self, net: Path) -> None:
        assert {"net.safetensors", "net.json", "metrics.csv", "source.json"} <= {path.name for path in net.iterdir()}

    def test_finished_run_is_kept_and_another_refused(self, home: Path, net: Path, tmp_path: Path) -> None:
        before = (net / "net.safetensors").stat().st_mtime_ns
        succeeds("train", home / "model.npz", "-o", net, *TINY)
        assert (net / "net.safetensors").stat().st_mtime_ns == before
        assert "steps" in fails("train", home / "model.npz", "-o", net, *TINY, "--steps", "3")
        shutil.copytree(net, tmp_path / "net")
        succeeds("fit", home / "cohort.npz", "-o", tmp_path / "other.npz", "--coverage", "0.5")
        arguments = ["train", tmp_path / "other.npz", "-o", tmp_path / "net", *TINY]
        assert "model_sha256" in fails(*arguments)
        succeeds(*arguments, "--restart")
        assert (tmp_path / "net" / "net.safetensors").stat().st_mtime_ns > before


class TestRegister:
    def test_flow_in_every_format_is_that_of_the_library(self, home: Path, net: Path, tmp_path: Path) -> None:
        from modelaug import learning

        images = [np.load(home / f"{name}.npy") for name in ("fixed", "moving")]
        expected = learning.register(learning.load_network(net), *images)
        endings = [".npz", ".flo"] + ([".nii.gz"] if importlib.util.find_spec("SimpleITK") else [])
        for ending in endings:
            out = tmp_path / f"u{ending}"
            text = succeeds(
                "register", "--network", net, home / "fixed.npy", home / "moving.npy", "-o", out, "--threads", "1"
            )
            assert "px on average" in text
            np.testing.assert_allclose(read_field(out)[0], expected, atol=1e-4)

    def test_geometry_warped_image_and_figure(self, home: Path, net: Path, tmp_path: Path) -> None:
        pytest.importorskip("SimpleITK")
        pytest.importorskip("matplotlib")
        geometry = importlib.import_module("modelaug.io").Geometry([2.0, 3.0], [5.0, 6.0])
        for i, name in enumerate(("fixed", "moving")):
            write_image(tmp_path / f"{name}.nii.gz", hearts().images[i, 0], geometry=geometry)
        succeeds(
            "register",
            *("--network", net, tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", "-o", tmp_path / "u.nii.gz"),
            *("--warped", tmp_path / "w.nii.gz", "--figure", tmp_path / "f.png", "--threads", "1"),
        )
        field, placed = read_field(tmp_path / "u.nii.gz")
        assert placed is not None
        np.testing.assert_allclose(placed.spacing, geometry.spacing)
        np.testing.assert_allclose(placed.origin, geometry.origin)
        warped, placed = read_image(tmp_path / "w.nii.gz")
        assert placed is not None
        np.testing.assert_allclose(placed.origin, geometry.origin)
        np.testing.assert_allclose(warped, warp(hearts().images[1, 0], field), atol=0.1)
        assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"

    def test_pictures_keep_their_intensities(self, home: Path, net: Path, tmp_path: Path) -> None:
        pytest.importorskip("PIL")
        grey = (0.5 * hearts().images[:2, 0]).astype(np.uint8)
        for image, name in zip(grey, ("fixed", "moving"), strict=True):
            write_image(tmp_path / f"{name}.png", image)
        succeeds(
            "register",
            *("--network", net, tmp_path / "fixed.png", tmp_path / "moving.png"),
            *("-o", tmp_path / "u.npz", "--warped", tmp_path / "w.png"),
        )
        assert read_image(tmp_path / "w.png")[0].max() <= grey[1].max()

    def test_bad_images(self, home: Path, net: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "small.npy", np.eye(32, dtype=np.float32))
        np.save(tmp_path / "flat.npy", np.zeros((64, 64), np.float32))
        np.save(tmp_path / "volume.npy", volume().images[0])
        common = ["register", "--network", net, "-o", tmp_path / "u.npz", home / "fixed.npy"]
        assert "shape" in fails(*common, tmp_path / "small.npy")
        assert "constant" in fails(*common, tmp_path / "flat.npy")
        assert "axes" in fails(*common, tmp_path / "volume.npy")
        assert "does not exist" in fails(*common, tmp_path / "no.npy")
        assert "no known format" in fails(*common, tmp_path / "no.txt")
        assert "net.json" in fails(*common[:2], tmp_path, *common[3:], home / "moving.npy")
        assert "ends in" in fails(*common[:4], tmp_path / "u.txt", *common[5:], home / "moving.npy")
        assert not (tmp_path / "u.npz").exists()


class TestInfo:
    def facts(self, path: Path) -> dict[str, Any]:
        return json.loads(succeeds("info", path, "--json"))

    def test_cohort_and_model(self, home: Path) -> None:
        cohort = self.facts(home / "cohort.npz")
        assert (cohort["kind"], cohort["subjects"], cohort["grid"]) == ("cohort", 10, [64, 64])
        assert cohort["labels"] == [0, 1, 2, 3]
        model = self.facts(home / "model.npz")
        assert (model["kind"], model["landmarks"]) == ("appearance model", 104)
        assert model["shape_modes"] == len(heart_model().shape.variances)
        assert "lv epicardium: 40 closed" in succeeds("info", home / "model.npz")

    def test_locality_of_a_model(self, home: Path, tmp_path: Path) -> None:
        reports = self.facts(home / "model.npz")["locality"]
        assert reports == heart_model().provenance["locality"]
        shown = succeeds("info", home / "model.npz")
        assert "locality of the shape" in shown
        assert "locality of the texture" not in shown
        before, table = shown.split("locality of the shape")
        assert "threshold" not in before
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if "│" in line]
        for i, level in enumerate(reports["shape"]["levels"]):
            expected = [level["threshold"], level["modes"], level["trace_ratio"], level["put_back"]]
            assert lines[i][0] == str(i + 1)
            assert [float(cell) for cell in lines[i][1:5]] == pytest.approx(expected, rel=1e-4)
            assert lines[i][5] == ("yes" if level["skipped"] else "no")
        assert lines[4] == ["variance ratio of the model", f"{reports['shape']['trace_ratio']:.6g}"]
        ratios = [f"{name}: {value:.6g}" for name, value in reports["shape"]["global_modes"].items()]
        assert lines[-3:] == [["variance ratio of the global modes", ratios[0]], ["", ratios[1]], ["", ratios[2]]]

    def test_eigenimages_and_principal_components(self, tmp_path: Path) -> None:
        basis_model().save(tmp_path / "basis.npz")
        shown = succeeds("info", tmp_path / "basis.npz").split("locality of the texture")[1]
        levels = basis_model().provenance["locality"]["texture"]["levels"]
        assert all(f"{level['threshold']:.6g}" in shown for level in levels)
        assert "variance ratio of the model" in shown
        plane_model().save(tmp_path / "plane.npz")
        assert "locality" not in succeeds("info", tmp_path / "plane.npz")

    @pytest.mark.parametrize(
        "report", [5, [], {}, {"levels": []}, {"levels": 5}, {"levels": [5]}, {"levels": {"a": 1}}]
    )
    def test_hostile_report_on_locality(self, tmp_path: Path, report: Any) -> None:
        hostile = replace(plane_model(), provenance=plane_model().provenance | {"locality": {"shape": report}})
        hostile.save(tmp_path / "m.npz")
        assert "no readable report on locality" in fails("info", tmp_path / "m.npz")

    def test_network_pairs_and_fields(self, home: Path, net: Path, tmp_path: Path) -> None:
        network = self.facts(net)
        assert (network["kind"], network["finished"]) == ("network", True)
        assert self.facts(net / "net.safetensors")["parameters"] == network["parameters"]
        succeeds("sample", home / "model.npz", "-n", "3", "-o", tmp_path / "p", "--threads", "1")
        pairs = self.facts(tmp_path / "p")
        assert (pairs["kind"], pairs["pairs"], pairs["written"], pairs["shards"]) == ("pairs", 3, 3, 1)
        succeeds("register", "--network", net, home / "fixed.npy", home / "moving.npy", "-o", tmp_path / "u.flo")
        field = self.facts(tmp_path / "u.flo")
        assert (field["kind"], field["grid"], field["spacing_mm"]) == ("displacement field", [64, 64], None)


class TestDemo:
    def test_quick(self, tmp_path: Path) -> None:
        pytest.importorskip("safetensors")
        pytest.importorskip("matplotlib")
        result = modelaug("demo", "--quick", "--steps", "1", "-o", tmp_path / "demo", "--threads", "1")
        assert result.exit_code == 0, result.output
        assert "landmark error (voxels)" in result.stdout
        assert "pairs of held-out volumes" in result.stdout
        assert "true landmarks" in result.stdout
        assert "generated 7 hearts" in result.stderr
        assert (tmp_path / "demo" / "summary.json").exists()
        assert "pass another folder" in fails("demo", "--quick", "-o", tmp_path / "demo", "--seed", "3")


class TestProgress:
    def test_plain_lines_come_each_tenth_but_not_too_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written = io.StringIO()
        monkeypatch.setattr(_console, "err", Console(file=written, soft_wrap=True))
        now = [0.0]
        monkeypatch.setattr(_console.time, "monotonic", lambda: now[0])
        with _console.progress("drawing") as report:
            for done in range(1, 101):
                now[0] += 0.3
                report(done, 100)
        assert written.getvalue().splitlines() == [f"drawing: {done}/100" for done in range(10, 101, 10)]
        written.truncate(0)
        written.seek(0)
        with _console.progress("slow") as report:
            for done in range(1, 4):
                now[0] += 6
                report(done, 1000)
        assert written.getvalue().splitlines() == ["slow: 1/1000", "slow: 2/1000", "slow: 3/1000"]

    def test_bar_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written = io.StringIO()
        monkeypatch.setattr(_console, "err", Console(file=written, force_terminal=True, width=100))
        with _console.progress("drawing") as report:
            report(4, 4)
        assert "drawing" in written.getvalue()
        assert "4/4" in written.getvalue()
        assert "\x1b[" in written.getvalue()
