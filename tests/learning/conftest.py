"""Learning: one thread, so that the tests are quick on a busy machine too, and runs that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TINY = 0.0625


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small network trained on translations for a few seconds."""
    from modelaug.learning import FlowNetS, TrainOptions, train
    from tests.learning.toys import Translations

    folder = tmp_path_factory.mktemp("trained")
    options = TrainOptions(steps=240, learning_rate=6e-3, validate_every=40, validation_pairs=16, log_every=20)
    train(Translations(), network=FlowNetS(width=TINY), options=options, out=folder, threads=1)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return the folder and the network of a run without interruption."""
    from tests.learning.runs import run
    from tests.learning.toys import Translations

    folder = tmp_path_factory.mktemp("whole")
    return folder, run(Translations(), folder)
