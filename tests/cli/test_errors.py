"""What every command does with a wrong argument or file, shell completion, and that the package prints nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from modelaug.cli import app
from tests.cli.test_cli import COMMANDS, fails, modelaug
from tests.examples import heart_model, hearts

TRAINING = ("torch", "safetensors", "tqdm")

# What each command takes a file as, FILE standing for it and OUT for where results go.
READERS = {
    "fit": ["fit", "FILE", "-o", "OUT.npz"],
    "sample": ["sample", "FILE", "-n", "1", "-o", "OUT"],
    "train": ["train", "FILE", "-o", "OUT", "--steps", "1"],
    "register fixed": ["register", "FILE", "moving.npy", "--network", "net", "-o", "OUT.npz"],
    "register moving": ["register", "fixed.npy", "FILE", "--network", "net", "-o", "OUT.npz"],
    "register network": ["register", "fixed.npy", "moving.npy", "--network", "FILE", "-o", "OUT.npz"],
    "compare": ["compare", "FILE", "-o", "OUT"],
    "info": ["info", "FILE"],
}
# A value that an option cannot have, and by which name it is refused.
WRONG = {
    "demo --steps 0": ("steps", ["demo", "-o", "OUT"]),
    "demo --seed -1": ("seed", ["demo", "-o", "OUT"]),
    "fit --levels many": ("levels", READERS["fit"]),
    "fit --threads 1025": ("threads is 1025", READERS["fit"]),
    "fit --taper soft": ("taper", READERS["fit"]),
    "sample --count 0": ("count", ["sample", "FILE", "-o", "OUT"]),
    "sample --format zip": ("format", READERS["sample"]),
    "sample --shard 3/2": ("shard", READERS["sample"]),
    "pretrain --size 4": ("size", ["pretrain", "-o", "OUT"]),
    "pretrain --width 0": ("width", ["pretrain", "-o", "OUT"]),
    "train --schedule never": ("schedule", READERS["train"]),
    "train --precision 8": ("precision", READERS["train"]),
    "register --threads 0": ("threads", READERS["register fixed"]),
    "register --out flow.txt": ("flow.txt", READERS["register fixed"][:-2]),
    "compare --folds 1": ("folds", READERS["compare"]),
    "compare --preset large": ("preset", READERS["compare"]),
    "compare --methods magic": ("magic", READERS["compare"]),
    "info --threads 1": ("threads", READERS["info"]),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder but for two images, which commands run in."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("fixed", "moving")):
        np.save(f"{name}.npy", hearts().images[i, 0])
    return tmp_path


def _arguments(template: list[str], file: str) -> list[str]:
    if template[0] in ("train", "register", "pretrain", "compare"):
        for package in TRAINING:
            pytest.importorskip(package)
    return [file if each == "FILE" else each for each in template]


def _nothing_written(folder: Path) -> None:
    assert not [path for path in folder.glob("OUT*") if not path.is_dir() or list(path.iterdir())]


@pytest.mark.parametrize("reader", READERS)
class TestFiles:
    def test_missing(self, here: Path, reader: str) -> None:
        line = fails(*_arguments(READERS[reader], "absent.npz"))
        assert "absent.npz" in line
        _nothing_written(here)

    def test_truncated(self, here: Path, reader: str) -> None:
        (hearts() if reader in ("fit", "compare") else heart_model()).save(here / "whole.npz")
        (here / "half.npz").write_bytes((here / "whole.npz").read_bytes()[:-300])
        assert "half.npz" in fails(*_arguments(READERS[reader], "half.npz"))
        _nothing_written(here)

    def test_of_another_kind(self, here: Path, reader: str) -> None:
        np.savez(here / "alien.npz", numbers=np.arange(3.0), words=np.array(["a", "b"]))
        assert "alien.npz" in fails(*_arguments(READERS[reader], "alien.npz"))
        (here / "text.npz").write_text("no archive at all\n")
        assert "text.npz" in fails(*_arguments(READERS[reader], "text.npz"))
        _nothing_written(here)

    def test_a_folder(self, here: Path, reader: str) -> None:
        (here / "folder.npz").mkdir()
        assert "folder.npz" in fails(*_arguments(READERS[reader], "folder.npz"))
        _nothing_written(here)


class TestArguments:
    @pytest.mark.parametrize("wrong", WRONG)
    def test_a_wrong_value(self, here: Path, wrong: str) -> None:
        name, template = WRONG[wrong]
        cohort = wrong.startswith(("fit", "compare"))
        (hearts() if cohort else heart_model()).save(here / "good.npz")
        assert name in fails(*_arguments(template, "good.npz"), *wrong.split()[1:])
        _nothing_written(here)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_an_unknown_option_or_a_missing_argument(self, here: Path, command: str) -> None:
        line = fails(command, "--no-such-option")
        assert "--no-such-option" in line
        assert line.endswith(f"see modelaug {command} --help")
        if command != "demo":
            assert "Missing" in fails(command)

    def test_an_unknown_command(self) -> None:
        assert "'fitt'" in fails("fitt")
        assert "--no-such-option" in fails("--no-such-option", "fit")

    def test_no_command_shows_the_help(self) -> None:
        result = modelaug()
        assert all(name in result.output for name in COMMANDS)

    def test_every_command_is_tried_here(self) -> None:
        assert {each.callback.__name__ for each in app.registered_commands if each.callback} >= set(COMMANDS)
        assert {reader.split()[0] for reader in (*READERS, *WRONG)} == set(COMMANDS)

    @pytest.mark.parametrize("reader", ["fit", "sample", "info", "compare"])
    def test_a_traceback_only_if_wanted(self, here: Path, reader: str) -> None:
        arguments = _arguments(READERS[reader], "absent.npz")
        result = modelaug("--debug", *arguments)
        assert result.exit_code == 1
        assert result.exc_info is not None
        assert result.exc_info[2] is not None
        assert type(result.exception).__name__ == "ModelFileError"


class TestCompletion:
    @staticmethod
    def complete(words: str) -> list[str]:
        """Return what a shell offers for the last of some words."""
        position = str(len(words.split(" ")) - 1)
        variables = {"_MODELAUG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        done = subprocess.run(
            [sys.executable, "-m", "modelaug"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **variables},
        )
        return done.stdout.split()

    def test_of_commands(self) -> None:
        assert self.complete("modelaug fi") == ["fit"]
        assert set(COMMANDS) <= set(self.complete("modelaug "))

    def test_of_options(self) -> None:
        assert self.complete("modelaug fit --texture-l") == ["--texture-levels"]

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_its_script(self, shell: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "modelaug"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "_MODELAUG_COMPLETE": f"source_{shell}"},
        )
        assert f"_MODELAUG_COMPLETE=complete_{shell}" in done.stdout

    def test_its_options_are_in_the_help(self) -> None:
        text = modelaug("--help").stdout
        assert "--install-completion" in text
        assert "--show-completion" in text


def test_warnings_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from modelaug.cli._console import messages_on_stderr

    with messages_on_stderr(), warnings.catch_warnings():
        warnings.simplefilter("always")
        shown = warnings.showwarning
        warnings.warn("a.dcm does not say how large its pixels are;\n1 mm is assumed", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert warnings.showwarning is not shown
    assert capsys.readouterr().err == "modelaug: a.dcm does not say how large its pixels are; 1 mm is assumed\n"


def test_what_cannot_be_printed_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from modelaug.cli._console import print_table

    print_table({"source": "half \ud800"}, title="a")
    assert r"half \ud800" in capsys.readouterr().out


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    pytest.importorskip("panel")
    heart_model().save(tmp_path / "m.npz")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = (sys.executable, "-m", "modelaug", "explore", tmp_path / "m.npz", "--no-browser", "--port", port)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"modelaug: --port {port} cannot be used (Address already in use); pass another one" in done.stderr
