"""Two processes on the CPU, as torchrun starts them, train what one process with twice the batch does.

Three processes import torch before anything happens, so they are started once, for the library and the command.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from modelaug.learning import AugmentOptions, FlowNetS, LossOptions, TrainOptions, load_network, read_card
from tests.examples import heart_model
from tests.learning.runs import WIDTH, Untouchable, rows, run
from tests.learning.toys import Interrupted, Translations

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="one GPU does not serve two processes"),
]

ROOT = Path(__file__).resolve().parents[2]
GRID = (40, 28)
OPTIONS = TrainOptions(
    steps=4,
    batch_size=1,
    learning_rate=1e-3,
    loss=LossOptions(scale_weights=(4, 2, 1, 1, 1), normalize=True),
    validation_pairs=1,
    validate_every=2,
    checkpoint_every=2,
    log_every=1,
    ema=0.5,
    augment=AugmentOptions(seed=1),
    keep="last",
)


COMMAND_LINE = all(importlib.util.find_spec(name) for name in ("typer", "rich"))


def work(out: str) -> None:
    """Train, as a process among others; keep what this one ends with. Train again, with an end between; by command."""
    torch.set_num_threads(1)
    run(Translations(GRID), Path(out) / "before", dataclasses.replace(OPTIONS, steps=1))  # a program may train again
    network = run(Translations(GRID), Path(out) / "net", OPTIONS)
    run(Untouchable(), Path(out) / "net", OPTIONS)
    torch.save(network.state_dict(), Path(out) / f"rank{os.environ['RANK']}.pt")
    # Pair 5 is the second process's of the third step; the first one, which writes, is not asked to end.
    try:
        run(Interrupted(5, lambda: os.kill(os.getpid(), signal.SIGTERM), GRID), Path(out) / "ended", OPTIONS)
    except SystemExit as end:
        noted = torch.load(Path(out) / "ended" / "last.ckpt", weights_only=True)["step"], end.code
        ended = run(Translations(GRID), Path(out) / "ended", OPTIONS)
        torch.save({"ended": noted, **ended.state_dict()}, Path(out) / f"ended{os.environ['RANK']}.pt")
    if COMMAND_LINE:
        from modelaug.__main__ import main

        tiny = ["--steps", "2", "--batch-size", "1", "--width", "0.0625", "--threads", "1"]
        sys.argv = ["modelaug", "train", f"{out}/model.npz", "-o", f"{out}/command", *tiny]
        main()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder that two processes leave, and what they print."""
    folder = tmp_path_factory.mktemp("processes")
    heart_model().save(folder / "model.npz")
    program = folder / "program.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from tests.learning.test_processes import work\nwork({str(folder)!r})\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.skipif(not COMMAND_LINE, reason="needs the command line")
def test_two_processes_of_the_command(launched: tuple[Path, str]) -> None:
    folder, printed = launched
    assert len(printed.splitlines()) == 1
    assert read_card(folder / "command")["processes"] == 2
    assert read_card(folder / "command")["finished"] is True


def test_one_that_is_asked_to_end_ends_all_and_they_go_on_exactly(launched: tuple[Path, str]) -> None:
    folder, _ = launched
    for rank in range(2):
        whole, parts = (torch.load(folder / f"{name}{rank}.pt", weights_only=True) for name in ("rank", "ended"))
        assert parts.pop("ended") == (3, 128 + signal.SIGTERM)
        assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_two_processes_are_one_with_twice_the_batch(launched: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = launched
    one = run(Translations(GRID), tmp_path / "one", dataclasses.replace(OPTIONS, batch_size=2))
    kept = load_network(folder / "net").state_dict()
    others = [torch.load(folder / f"rank{r}.pt", weights_only=True) for r in range(2)]
    begun = FlowNetS(width=WIDTH).state_dict()
    for name, expected in one.state_dict().items():
        torch.testing.assert_close(kept[name], expected, rtol=0, atol=2e-5)
        assert all(torch.equal(other[name], kept[name]) for other in others), name
        assert (expected - begun[name]).abs().max() > 5e-4 or not expected.any(), name  # far more than the tolerance
    found, wanted = rows(folder / "net"), rows(tmp_path / "one")
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for name in ("loss", "learning_rate"):
        assert [float(r[name]) for r in found] == pytest.approx([float(r[name]) for r in wanted], rel=1e-4)
    assert sorted(p.name for p in (folder / "net").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    assert read_card(folder / "net")["processes"] == 2
    with pytest.raises(ValueError, match="holds a run with processes 2, not 1; pass another folder"):
        run(Untouchable(), folder / "net", OPTIONS)
    (folder / "net" / "net.json").unlink()  # so that only the checkpoint tells
    with pytest.raises(ValueError, match="holds a run with processes 2, not 1; pass another folder"):
        run(Untouchable(), folder / "net", OPTIONS)
