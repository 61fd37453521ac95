"""The recorder of a training run: log, progress and kept weights."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from modelaug._core import build_config
from modelaug.io.files.archives import write_atomically
from modelaug.io.files.writing import writing
from modelaug.learning.checkpoints import COLUMNS, SUMS
from modelaug.learning.network import RegistrationNetwork, SeenImages, architecture_of
from modelaug.learning.run import Run
from modelaug.learning.storage import save_network

_LOG = logging.getLogger("modelaug.learning")
_LICENCE: Final = "the weights derive from the training images, whose licence applies"
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(SUMS, 0.0)


class Recorder:
    """Writes the log, shows progress and keeps the best weights.

    Its state is part of the checkpoint, so that a resumed run has the records of an uninterrupted one. In distributed
    training the first process records the mean losses of all.

    Parameters
    ----------
    run
        The run.
    device
        Of the training.
    progress
        Whether to show progress.
    """

    def __init__(self, run: Run, device: torch.device, *, progress: bool) -> None:
        self.run = run
        self.network, self.options, self.folder, self.processes = run.network, run.options, run.folder, run.processes
        self._writes = self.processes.rank == 0
        self._progress = progress and self._writes
        self._bar = tqdm(disable=True)
        self._rows: list[dict[str, float]] = []
        self._sums = dict(_NOTHING)
        self._metrics: dict[str, float] = {}
        self._clock = {"seconds": 0.0, "steps": 0}
        self._since = time.perf_counter()
        self._device = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resumed run, as numbers and strings."""
        self._sums["seconds"] += self._lap()
        return {
            "architecture": architecture_of(self.network),
            **self.run.identity(),
            "images": None if self.network.seen is None else dataclasses.asdict(self.network.seen),
            "rows": self._rows,
            "sums": {name: float(value) for name, value in self._sums.items()},
            "metrics": self._metrics,
            "clock": self._clock,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._rows, self._metrics, self._clock = state["rows"], state["metrics"], state["clock"]
        self._sums = state["sums"]
        seen = state.get("images")
        self.network.seen = None if seen is None else SeenImages(**seen)

    def begin(self, step: int) -> None:
        """Log the beginning after `step` steps, write the log's previous lines, and start the progress bar."""
        if not self._writes:
            return
        count, steps = sum(p.numel() for p in self.network.parameters()), self.options.steps
        _LOG.info("training %.2f million parameters on %s, step %d of %d", count / 1e6, self._device, step, steps)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.folder / "metrics.csv", text.getvalue().encode())
        hidden = None if self._progress else True  # None: unless on a terminal
        self._bar = tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True, disable=hidden)
        self._lap()

    def close(self) -> None:
        """Close the progress bar."""
        self._bar.close()

    def add(self, loss: Tensor, error: Tensor) -> None:
        """Add the loss and error of a step."""
        for name, value in (("loss", loss), ("epe", error)):
            self._sums[name] = self._sums[name] + value.detach()
        self._sums["steps"] += 1
        self._bar.update()

    def settle(self, step: int) -> None:
        """Average over all processes, which all must call this; raise FloatingPointError if the loss diverged."""
        for name in ("loss", "epe"):
            self._sums[name] = float(self.processes.mean(self._sums[name]))
        self._require_finite("loss", self._sums["loss"], step)

    def record(self, step: int, kept: RegistrationNetwork, validate: Callable[[], tuple[float, float]] | None) -> None:
        """Add a line to the log with means over the steps since the last line.

        Parameters
        ----------
        step
            Number of steps.
        kept
            The network to save if the validation improves.
        validate
            Function that returns the end-point errors of the network and of a displacement of 0 on the held-out pairs;
            None for a line without validation.
        """
        sums, self._sums = self._sums, dict(_NOTHING)
        if not self._writes:
            return
        count, seconds = sums["steps"], sums["seconds"] + self._lap()
        self._clock = {"seconds": self._clock["seconds"] + seconds, "steps": self._clock["steps"] + count}
        row = {
            "step": step,
            "loss": sums["loss"] / count,
            "epe": sums["epe"] / count,
            "learning_rate": self.options.rate(step - 1),
            "seconds_per_step": seconds / count,
        }
        if validate is not None:
            error, zero = validate()
            row["validation_epe"] = error
            self._require_finite("validation error", error, step)
            if self.options.keep == "last" or error < self._metrics.get("validation_epe", math.inf):
                self._metrics = {"step": step, "validation_epe": error, "validation_epe_of_zero_flow": zero}
                save_network(kept, self.folder, self.card(finished=False))
        self._rows.append(row)
        log = self.folder / "metrics.csv"
        with writing(log), open(log, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        self._show(row)
        self._lap()  # validation does not count as training

    def _require_finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            rate = self.options.rate(step - 1)
            raise FloatingPointError(
                f"{name} is {value} at step {step}; pass a learning_rate below {rate:g}, or a gradient_clip"
            )

    def _lap(self) -> float:
        """Return the seconds since the last call."""
        before, self._since = self._since, time.perf_counter()
        return self._since - before

    def _show(self, row: dict[str, float]) -> None:
        values = f"loss {row['loss']:.4g}, EPE {row['epe']:.3f} px"
        if "validation_epe" in row:
            values += f", validation EPE {row['validation_epe']:.3f} px"
        if not self._bar.disable:
            self._bar.set_postfix_str(values)
        elif self._progress:
            _LOG.info("step %d/%d: %s, %.3f s/step", row["step"], self.options.steps, values, row["seconds_per_step"])

    def card(self, *, finished: bool) -> dict[str, Any]:
        """Return the metadata of the kept weights."""
        return {
            **self.run.identity(),
            "licence": _LICENCE,
            "metrics": self._metrics,
            "seconds_per_step": self._clock["seconds"] / max(1, self._clock["steps"]),
            "device": self._device,
            "finished": finished,
            "versions": {
                "python": platform.python_version(),
                "modelaug": str(build_config()["version"]),
                "numpy": np.__version__,
                "torch": str(torch.__version__),
            },
        }
