"""What a training run records: its log, the weights it keeps, and the checkpoints it resumes from."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import logging
import math
import platform
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tqdm import tqdm  # type: ignore[import-untyped]

from modelaug.io.files.archives import write_atomically
from modelaug.io.files.provenance import as_json
from modelaug.io.files.reading import refusing
from modelaug.io.files.writing import writing
from modelaug.learning.network import SeenImages, architecture_of
from modelaug.learning.run import Run
from modelaug.learning.storage import read_torch, save_network

__all__ = ["UNUSABLE", "Checkpoints", "Recorder"]

_LOG = logging.getLogger("modelaug.learning")
_COLUMNS: Final = ("step", "loss", "epe", "learning_rate", "seconds_per_step", "validation_epe")
_LICENCE: Final = "the weights derive from the training images, whose licence applies"
UNUSABLE: Final = ("is no checkpoint of a training run", "remove it to start anew")
"""What is wrong with a checkpoint, and the remedy."""

_NOTHING: Final[dict[str, Any]] = {"loss": 0.0, "epe": 0.0, "steps": 0, "seconds": 0.0}


class Recorder(pl.Callback):
    """Validates, logs, keeps the best weights and writes checkpoints, in this order after a step.

    All of its state goes into the checkpoint, so that a resumed run records what an uninterrupted one would.
    (Lightning's own validation loop, when resumed from a checkpoint of the same step, does not run; its CSV logger
    deletes the earlier lines.) Where several processes train together, the first does all this, and losses are means.

    Parameters
    ----------
    run
        What is recorded.
    progress
        Whether to show it.

    Attributes
    ----------
    resuming
        Whether a checkpoint has been read but not taken up yet.
    """

    def __init__(self, run: Run, *, progress: bool) -> None:
        self.run = run
        self.network, self.options, self.folder, self.processes = run.network, run.options, run.folder, run.processes
        self._writes = self.processes.rank == 0
        self._progress = progress and self._writes
        self._ending = False
        self.resuming = False
        self._bar: tqdm[Any] | None = None
        self._rows: list[dict[str, float]] = []
        self._sums = dict(_NOTHING)
        self._metrics: dict[str, float] = {}
        self._clock = {"seconds": 0.0, "steps": 0}
        self._since = time.perf_counter()
        self._device = "cpu"

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, as numbers and strings."""
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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._rows, self._metrics, self._clock = state_dict["rows"], state_dict["metrics"], state_dict["clock"]
        self._sums = state_dict["sums"]
        seen = state_dict.get("images")
        self.network.seen = None if seen is None else SeenImages(**seen)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what begins, and put the log in order."""
        self.resuming = False
        self._device = _device_name(pl_module.device)
        if self.processes.count > 1:
            # Lightning's own handler talks to the other processes, in the middle of whatever they are talking about.
            signal.signal(signal.SIGTERM, self._end_after_step)
        if not self._writes:
            return
        count = sum(p.numel() for p in self.network.parameters())
        _LOG.info(
            "training %.2f million parameters on %s, step %d of %d",
            count / 1e6,
            self._device,
            trainer.global_step,
            self.options.steps,
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS)
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.folder / "metrics.csv", lambda file: file.write(text.getvalue().encode()))
        if self._progress and sys.stderr.isatty():
            self._bar = tqdm(total=self.options.steps, initial=trainer.global_step, unit="step", dynamic_ncols=True)
        self._lap()

    def _end_after_step(self, signum: int, frame: object) -> None:
        self._ending = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do what is due after a step."""
        step, options = trainer.global_step, self.options
        for name in ("loss", "epe"):
            self._sums[name] = self._sums[name] + outputs[name].detach()
        self._sums["steps"] += 1
        if self._bar is not None:
            self._bar.update()
        validating = step % options.validate_every == 0 or step == options.steps
        # After SIGTERM Lightning stops a single process by itself once the step is done.
        ending = trainer.received_sigterm or self.processes.any(self._ending, pl_module.device)
        checkpointing = ending or step % options.checkpoint_every == 0
        recording = validating or step % options.log_every == 0
        if checkpointing or recording:
            for name in ("loss", "epe"):
                self._sums[name] = float(self.processes.mean(self._sums[name]))
            self._require_finite("loss", self._sums["loss"], step)
        if recording and self._writes:
            self._record(pl_module, step, validating=validating)
        elif recording:
            self._sums = dict(_NOTHING)
        if checkpointing:
            trainer.save_checkpoint(self.folder / "last.ckpt")
        if ending and self.processes.count > 1:
            raise SIGTERMException

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.teardown(trainer, pl_module, "fit")

    def _require_finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            rate = self.options.rate(step - 1)
            raise FloatingPointError(
                f"{name} is {value} at step {step}; pass a learning_rate below {rate:g}, or a gradient_clip"
            )

    def _record(self, module: Any, step: int, *, validating: bool) -> None:
        sums, self._sums = self._sums, dict(_NOTHING)
        count, seconds = sums["steps"], sums["seconds"] + self._lap()
        self._clock = {"seconds": self._clock["seconds"] + seconds, "steps": self._clock["steps"] + count}
        row = {
            "step": step,
            "loss": sums["loss"] / count,
            "epe": sums["epe"] / count,
            "learning_rate": self.options.rate(step - 1),
            "seconds_per_step": seconds / count,
        }
        if validating:
            row["validation_epe"] = self._validate(module, step)
        self._rows.append(row)
        log = self.folder / "metrics.csv"
        with writing(log), open(log, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, _COLUMNS).writerow(row)
        self._show(row)
        self._lap()  # validation does not count as training

    def _lap(self) -> float:
        """Return the seconds since the last call."""
        before, self._since = self._since, time.perf_counter()
        return self._since - before

    def _validate(self, module: Any, step: int) -> float:
        error: float
        error, zero = module.validate()
        self._require_finite("validation error", error, step)
        if self.options.keep == "last" or error < self._metrics.get("validation_epe", math.inf):
            self._metrics = {"step": step, "validation_epe": error, "validation_epe_of_zero_flow": zero}
            save_network(module.kept, self.folder, self.card(finished=False))
        return error

    def _show(self, row: dict[str, float]) -> None:
        values = f"loss {row['loss']:.4g}, EPE {row['epe']:.3f} px"
        if "validation_epe" in row:
            values += f", validation EPE {row['validation_epe']:.3f} px"
        if self._bar is not None:
            self._bar.set_postfix_str(values)
        elif self._progress:
            _LOG.info("step %d/%d: %s, %.3f s/step", row["step"], self.options.steps, values, row["seconds_per_step"])

    def card(self, *, finished: bool) -> dict[str, Any]:
        """Return what to note beside the kept weights."""
        return {
            **self.run.identity(),
            "licence": _LICENCE,
            "metrics": self._metrics,
            "seconds_per_step": self._clock["seconds"] / max(1, self._clock["steps"]),
            "device": self._device,
            "finished": finished,
            "versions": _versions(),
        }


class Checkpoints(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, and read without unpickling, if they are of the same run."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        data = io.BytesIO()
        torch.save(checkpoint, data)  # not into the file: what a full disk makes of that, torch does not tell
        write_atomically(path, lambda file: file.write(data.getbuffer()))

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint, or raise ModelFileError or ValueError."""
        with refusing(path, *UNUSABLE):
            checkpoint: dict[str, Any] = read_torch(path)
            noted = checkpoint["callbacks"][self._recorder.state_key]
            _check_noted(noted)
            if any(len(checkpoint[name]) != 1 for name in ("optimizer_states", "lr_schedulers")):
                raise ValueError("it lacks the state of the optimizer")  # which Lightning would start anew
            broken = next((name for name, each in checkpoint["state_dict"].items() if not each.isfinite().all()), None)
            if broken is not None:
                raise ValueError(f"it holds values that are not finite in {broken}")
        self._recorder.run.check_same(noted)
        self._recorder.resuming = True
        return checkpoint


def _check_noted(noted: dict[str, Any]) -> None:
    """Raise nearly anything unless a recorder's state is such that a run can go on from it."""
    as_json("noted", {name: noted.get(name) for name in ("architecture", "options", "processes", "source", "real")})
    figures = [noted["metrics"], *noted["rows"]]
    figures += [{name: noted["sums"][name] for name in _NOTHING}]
    figures += [{name: noted["clock"][name] for name in ("seconds", "steps")}]
    if not all(isinstance(value, (int, float)) for each in figures for value in each.values()):
        raise TypeError("its figures are no numbers")
    alien = {name for row in noted["rows"] for name in row} - set(_COLUMNS)
    if alien:
        raise ValueError(f"its log has columns {sorted(alien)}")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("modelaug", "numpy", "lightning"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {**versions, "torch": str(torch.__version__)}  # with the build, which the installed package may not name
