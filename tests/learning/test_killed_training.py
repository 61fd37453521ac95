"""A training run that is killed at a random moment and goes on ends with the bits of one that never was."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from modelaug.learning import AffineRanges, AugmentOptions, read_card
from tests.learning.runs import SHORT, check_same, run
from tests.learning.toys import Translations

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a POSIX")

ROOT = Path(__file__).resolve().parents[2]
GRID = (40, 28)
OPTIONS = dataclasses.replace(
    SHORT,
    steps=24,
    checkpoint_every=2,
    validate_every=5,
    schedule="cosine",
    warmup=5,
    ema=0.9,
    augment=AugmentOptions(common=AffineRanges(translation=0.1, rotation=20, zoom=0.2), flips=(0.5, 0.5), seed=4),
)


def go_on(out: str) -> None:
    """Train slowly, so that there is time to kill it."""

    class Slow(Translations):
        def draw(self, index: int) -> object:
            time.sleep(0.02)
            return super().draw(index)

    import torch

    torch.set_num_threads(1)
    run(Slow(GRID), Path(out), OPTIONS)


def test_killed_and_continued(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    script = "import sys; from tests.learning.test_killed_training import go_on; go_on(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", script, parts], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (parts / "last.ckpt").exists():
            time.sleep(0.002)
        time.sleep(float(np.random.default_rng().uniform(0, 0.3)))  # somewhere within a step, or a file
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not read_card(parts)["finished"] if (parts / "net.json").exists() else True
    whole = tmp_path / "whole", run(Translations(GRID), tmp_path / "whole", OPTIONS)
    check_same(parts, run(Translations(GRID), parts, OPTIONS), whole)
