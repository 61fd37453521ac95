"""The command line: formats, parts and clusters of `modelaug sample`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from modelaug.cli import app
from modelaug.cli.sample import parse_part
from modelaug.io import read_manifest
from tests.examples import heart_model, one_line, volume_model


def sample(model: Path, out: Path, *options: str) -> list[str]:
    return ["sample", str(model), "-n", "7", "-o", str(out), "--shard-size", "2", "--threads", "1", *options]


def succeeds(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(arguments: list[str]) -> str:
    """Run a command that must end with one line and exit code 2, and return the line."""
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    heart_model().save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


@pytest.mark.parametrize(("format", "files"), [("npz", 4), ("tar", 4), ("chairs", 21)])
def test_formats(model: Path, tmp_path: Path, format: str, files: int) -> None:
    out = tmp_path / "p"
    assert "7 pairs of 64 x 64 are in" in succeeds(sample(model, out, "--format", format))
    assert len(contents(out)) == files + 1
    facts = json.loads(succeeds(["info", str(out), "--json"]))
    assert (facts["kind"], facts["file_format"], facts["written"], facts["shards"]) == ("pairs", format, 7, 4)
    assert facts["bytes"] == sum(len(data) for name, data in contents(out).items() if name != "manifest.json")
    assert len(facts["source"]["model_sha256"]) == 64
    other = "tar" if format == "npz" else "npz"
    assert f'file_format "{format}", not "{other}"' in fails(sample(model, out, "--format", other))


def test_parts(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    assert "4 pairs of 64 x 64, part 1/2 of 7, are in" in succeeds(sample(model, out, "--shard", "1/2"))
    facts = json.loads(succeeds(["info", str(out), "--json"]))
    assert (facts["part"], facts["pairs"], facts["written"]) == ("1/2", 7, 4)
    assert "1/2" in succeeds(["info", str(out)])
    assert "3 pairs of 64 x 64, part 2/2 of 7, are in" in succeeds(sample(model, tmp_path / "q", "--shard", "2/2"))
    shutil.copytree(tmp_path / "q", out, dirs_exist_ok=True)
    facts = json.loads(succeeds(["info", str(out), "--json"]))
    assert facts["written"] == 7
    assert "part" not in facts
    succeeds(sample(model, tmp_path / "whole"))
    assert read_manifest(out) == read_manifest(tmp_path / "whole")
    assert contents(tmp_path / "whole").items() - contents(out).items() == {
        ("manifest.json", (tmp_path / "whole" / "manifest.json").read_bytes())
    }


@pytest.mark.parametrize("text", ["0/3", "4/3", "a/b", "3", "1/2/3", "", "-1/2", "1/0", "1.0/2", "1 / 2", "1/²"])
def test_bad_parts(model: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="shard is") as caught:
        parse_part(text)
    one_line(caught.value)
    assert fails(sample(model, tmp_path / "p", f"--shard={text}")) == f"modelaug: {caught.value}"
    assert not (tmp_path / "p").exists()


def test_bad_formats(model: Path, tmp_path: Path) -> None:
    assert "format is 'zip'; pass one of" in fails(sample(model, tmp_path / "p", "--format", "zip"))
    volume_model().save(tmp_path / "volume.npz")
    assert "2D images" in fails(sample(tmp_path / "volume.npz", tmp_path / "p", "--format", "chairs"))
    assert not (tmp_path / "p").exists()


def test_missing_dask_is_named_in_one_line(model: Path, tmp_path: Path) -> None:
    arguments = sample(model, tmp_path / "p", "--scheduler", "tcp://127.0.0.1:9")
    code = (
        f"import sys; sys.modules['distributed'] = None; sys.argv = ['modelaug', *{arguments!r}];"
        "from modelaug.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'modelaug[distributed]'" in line


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra 'distributed'")
def test_scheduler(model: Path, tmp_path: Path) -> None:
    import distributed

    options = {"processes": True, "dashboard_address": ":0", "host": "127.0.0.1"}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster:
        out = tmp_path / "p"
        options = ["--scheduler", cluster.scheduler_address]
        assert "3 pairs of 64 x 64, part 2/2 of 7, are" in succeeds(sample(model, out, "--shard", "2/2", *options))
        assert "7 pairs of 64 x 64 are in" in succeeds(sample(model, out, *options))
        assert "results of seed 0, not 1" in fails(sample(model, out, "--seed", "1", *options))
    (out / "manifest-2-of-2.json").unlink()
    succeeds(sample(model, tmp_path / "whole"))
    assert contents(out) == contents(tmp_path / "whole")
