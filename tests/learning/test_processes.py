"""Two processes on the CPU, as torchrun starts them, train what one process with twice the batch does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from modelaug.learning import AugmentOptions, FlowNetS, LossOptions, TrainOptions, load_network, read_card
from tests.learning.runs import WIDTH, Untouchable, rows, run
from tests.learning.toys import Translations

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


def work(out: str) -> None:
    """Train, as a process among others; keep what this one ends with."""
    torch.set_num_threads(1)
    run(Translations(GRID), Path(out) / "before", dataclasses.replace(OPTIONS, steps=1))  # a program may train again
    network = run(Translations(GRID), Path(out) / "net", OPTIONS)
    run(Untouchable(), Path(out) / "net", OPTIONS)
    torch.save(network.state_dict(), Path(out) / f"rank{os.environ['RANK']}.pt")


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from tests.learning.test_processes import work\nwork({str(tmp_path)!r})\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    one = run(Translations(GRID), tmp_path / "one", dataclasses.replace(OPTIONS, batch_size=2))
    kept = load_network(tmp_path / "net").state_dict()
    others = [torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in range(2)]
    begun = FlowNetS(width=WIDTH).state_dict()
    for name, expected in one.state_dict().items():
        torch.testing.assert_close(kept[name], expected, rtol=0, atol=2e-5)
        assert all(torch.equal(other[name], kept[name]) for other in others), name
        assert (expected - begun[name]).abs().max() > 5e-4 or not expected.any(), name  # far more than the tolerance
    found, wanted = rows(tmp_path / "net"), rows(tmp_path / "one")
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for name in ("loss", "learning_rate"):
        assert [float(r[name]) for r in found] == pytest.approx([float(r[name]) for r in wanted], rel=1e-4)
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    assert read_card(tmp_path / "net")["processes"] == 2
    with pytest.raises(ValueError, match="holds a run with processes 2, not 1; pass another folder"):
        run(Untouchable(), tmp_path / "net", OPTIONS)
    (tmp_path / "net" / "net.json").unlink()  # so that only the checkpoint tells
    with pytest.raises(ValueError, match="holds a run with processes 2, not 1; pass another folder"):
        run(Untouchable(), tmp_path / "net", OPTIONS)
