"""``modelaug pretrain``: what it writes, that it goes on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")

from typer.testing import CliRunner

from modelaug.cli import app

TINY = ["--size", "32", "--steps", "2", "--batch-size", "2", "--width", "0.0625", "--threads", "1"]


def pretrain(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it writes to standard output and standard error."""
    result = CliRunner().invoke(app, ["pretrain", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain") / "net"
    code, text, errors = pretrain("-o", folder, *TINY)
    assert code == 0, errors
    assert "end-point error on held-out pairs" in text
    assert "without displacement" in text
    return folder


def test_the_folder_holds_a_network_and_where_it_comes_from(net: Path) -> None:
    from modelaug import learning

    assert learning.load_network(net).architecture["width"] == 0.0625
    source = json.loads((net / "source.json").read_text())["source"]
    assert source["shapes"] == [32, 32]
    assert source["seed"] == 0
    assert source["options"]["foreground"]["power"] == 2.0
    assert {"metrics.csv", "net.json", "net.safetensors"} <= {path.name for path in net.iterdir()}


def test_a_finished_run_is_left_as_it_is(net: Path) -> None:
    before = (net / "net.safetensors").stat().st_mtime_ns
    assert pretrain("-o", net, *TINY)[0] == 0
    assert (net / "net.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(("option", "value", "named"), [("--seed", "1", "seed"), ("--size", "48", "shapes")])
def test_a_folder_of_another_run_is_refused(net: Path, option: str, value: str, named: str) -> None:
    code, text, errors = pretrain("-o", net, *TINY, option, value)
    assert code == 2
    assert text == ""
    (line,) = errors.splitlines()
    assert f"results of {named}" in line


def test_restart_begins_anew(net: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    assert pretrain("-o", folder, *TINY)[0] == 0
    assert (folder / "net.safetensors").read_bytes() == (net / "net.safetensors").read_bytes()
    assert pretrain("-o", folder, *TINY, "--seed", "5", "--restart")[0] == 0
    assert (folder / "net.safetensors").read_bytes() != (net / "net.safetensors").read_bytes()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    for option, value in (("--size", "8"), ("--steps", "0"), ("--learning-rate", "-1"), ("--width", "0")):
        code, _, errors = pretrain("-o", tmp_path / "net", *TINY, option, value)
        assert code == 2
        assert errors
    assert not (tmp_path / "net" / "net.safetensors").exists()


def test_help_says_whose_the_weights_are() -> None:
    code, text, _ = pretrain("--help")
    assert code == 0
    assert "Weights of a PyramidNetwork made in this way come with modelaug" in " ".join(text.replace("│", " ").split())


def test_in_space(tmp_path: Path) -> None:
    from modelaug import learning

    arguments = ["--ndim", "3", "--size", "16", "--steps", "1", "--width", "0.1", "--threads", "1"]
    code, _, errors = pretrain("-o", tmp_path, *arguments)
    assert code == 0, errors
    network = learning.load_network(tmp_path)
    assert (network.ndim, network.seen) == (3, learning.SeenImages((16, 16, 16)))
    assert learning.read_card(tmp_path)["options"]["batch_size"] == 2
    code, _, errors = pretrain("-o", tmp_path / "plane", *arguments, "--network", "FlowNetS")
    assert code == 2
    assert "FlowNetS is for the plane; use PyramidNetwork" in errors
