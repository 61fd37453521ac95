"""The training loop on Lightning: what it computes, records and keeps."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import math
import platform
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from modelaug.io.archives import ModelFileError, write_atomically
from modelaug.learning.data import PairStream, draw_batch
from modelaug.learning.flownet import FlowNetS, from_flownet
from modelaug.learning.losses import FINEST, average_cells, end_point_error, multiscale_epe
from modelaug.learning.options import HELD_OUT, TrainOptions
from modelaug.learning.registration import estimate_flow, network_input
from modelaug.learning.storage import save_network
from modelaug.synthesis import PairSource

__all__ = ["Recorder", "fit"]

_LOG = logging.getLogger("modelaug.learning")
_COLUMNS: Final = ("step", "loss", "epe", "learning_rate", "seconds_per_step", "validation_epe")
_NOTHING: Final[dict[str, Any]] = {"loss": 0.0, "epe": 0.0, "steps": 0, "seconds": 0.0}
_INPUTS: Final = ("image1", "image2", "flow", "weight")


class _Training(pl.LightningModule):
    """One step: images in, loss out; Adam with the published schedule; pairs drawn as they are needed."""

    def __init__(self, source: PairSource, network: FlowNetS, options: TrainOptions, threads: int) -> None:
        super().__init__()
        self.source = source
        self.network = network
        self.options = options
        self.threads = threads
        self._held_out: list[dict[str, Tensor]] = []

    def train_dataloader(self) -> PairStream:
        """Return the pairs of the steps that are left."""
        size, step = self.options.batch_size, self.trainer.global_step
        device = self.trainer.strategy.root_device.type
        return PairStream(
            self.source,
            size,
            first=step * size,
            batches=self.options.steps - step,
            threads=self.threads,
            # On the CPU drawing and training take turns, each with all threads: if they shared the cores, those of the
            # one would stand idle while it waits for the other.
            queue=0 if device == "cpu" else 2,
            pin_memory=device == "cuda",
        )

    def on_before_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Leave behind what the step does not need."""
        return {name: batch[name] for name in _INPUTS}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss, and the error in pixels at the finest scale."""
        flow, weight = batch["flow"], batch["weight"]
        outputs = self.network(network_input(batch["image1"], batch["image2"], self.network.image_channels))
        loss = multiscale_epe(
            outputs, flow, weight, scale_weights=self.options.scale_weights, normalize=self.options.normalize
        )
        with torch.no_grad():
            share = average_cells(weight[:, None], FINEST)[:, 0]
            error = end_point_error(from_flownet(outputs[0].float()), average_cells(flow, FINEST), share)
        return {"loss": loss, "epe": error}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient: Lightning's own clipping refuses fused optimizers under mixed precision."""
        if self.options.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.options.gradient_clip)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Adam without decay of biases, and the rate's schedule."""
        biases = [p for name, p in self.named_parameters() if name.endswith("bias")]
        weights = [p for name, p in self.named_parameters() if not name.endswith("bias")]
        rate, decay = self.options.learning_rate, self.options.weight_decay
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": decay}, {"params": biases}]
        optimizer = torch.optim.Adam(groups, lr=rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.options.rate(step) / rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def validate(self) -> tuple[float, float]:
        """Return the end-point error in pixels on the held-out pairs, and that of no displacement at all."""
        n, size = self.options.validation_pairs, self.options.batch_size
        if not self._held_out:
            indices = range(HELD_OUT - n, HELD_OUT)
            for k in range(0, n, size):
                batch = draw_batch(self.source, indices[k : k + size], threads=self.threads)
                self._held_out.append({name: batch[name] for name in _INPUTS})
        error = zero = mass = 0.0
        for batch in self._held_out:
            flow, weight = batch["flow"].to(self.device), batch["weight"].to(self.device)
            estimate = estimate_flow(self.network, batch["image1"], batch["image2"])
            share = float(weight.sum())
            error += share * float(end_point_error(estimate, flow, weight))
            zero += share * float(end_point_error(torch.zeros_like(flow), flow, weight))
            mass += share
        if mass == 0:
            raise ValueError("source gives weight 0 everywhere; make pairs whose flow can be trusted somewhere")
        return error / mass, zero / mass


class Recorder(pl.Callback):
    """Validates, logs, keeps the best weights and writes checkpoints, in this order after a step.

    All of its state goes into the checkpoint, so that a resumed run records what an uninterrupted one would.
    (Lightning's own validation loop, when resumed from a checkpoint of the same step, does not run; its CSV logger
    deletes the earlier lines.)
    """

    def __init__(self, network: FlowNetS, options: TrainOptions, folder: Path, *, progress: bool) -> None:
        self.network = network
        self.options = options
        self.folder = folder
        self._progress = progress
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
            "architecture": self.network.architecture,
            "options": self.options.as_json(),
            "rows": self._rows,
            "sums": {name: float(value) for name, value in self._sums.items()},
            "metrics": self._metrics,
            "clock": self._clock,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._rows, self._metrics, self._clock = state_dict["rows"], state_dict["metrics"], state_dict["clock"]
        self._sums = state_dict["sums"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what begins, and put the log in order."""
        self._device = _device_name(pl_module.device)
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

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do what is due after a step."""
        step, options = trainer.global_step, self.options
        for name in ("loss", "epe"):
            self._sums[name] = self._sums[name] + outputs[name].detach()
        self._sums["steps"] += 1
        if self._bar is not None:
            self._bar.update()
        validating = step % options.validate_every == 0 or step == options.steps
        # After SIGTERM Lightning stops by itself once the step is done.
        checkpointing = trainer.received_sigterm or step % options.checkpoint_every == 0
        recording = validating or step % options.log_every == 0
        if checkpointing or recording:
            self._require_finite("loss", float(self._sums["loss"]), step)
        if recording:
            self._record(pl_module, step, validating=validating)
        if checkpointing:
            trainer.save_checkpoint(self.folder / "last.ckpt")

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

    def _record(self, module: _Training, step: int, *, validating: bool) -> None:
        sums, self._sums = self._sums, dict(_NOTHING)
        count, seconds = sums["steps"], sums["seconds"] + self._lap()
        self._clock = {"seconds": self._clock["seconds"] + seconds, "steps": self._clock["steps"] + count}
        row = {
            "step": step,
            "loss": float(sums["loss"]) / count,
            "epe": float(sums["epe"]) / count,
            "learning_rate": self.options.rate(step - 1),
            "seconds_per_step": seconds / count,
        }
        if validating:
            row["validation_epe"] = self._validate(module, step)
        self._rows.append(row)
        with open(self.folder / "metrics.csv", "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, _COLUMNS).writerow(row)
        self._show(row)
        self._lap()  # validation does not count as training

    def _lap(self) -> float:
        """Return the seconds since the last call."""
        before, self._since = self._since, time.perf_counter()
        return self._since - before

    def _validate(self, module: _Training, step: int) -> float:
        error, zero = module.validate()
        self._require_finite("validation error", error, step)
        if self.options.keep == "last" or error < self._metrics.get("validation_epe", math.inf):
            self._metrics = {"step": step, "validation_epe": error, "validation_epe_of_zero_flow": zero}
            save_network(self.network, self.folder, self.card(finished=False))
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
            "options": self.options.as_json(),
            "metrics": self._metrics,
            "seconds_per_step": self._clock["seconds"] / max(1, self._clock["steps"]),
            "device": self._device,
            "finished": finished,
            "versions": _versions(),
        }


class _Checkpoint(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, and read without unpickling, if they are of the same run."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_atomically(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            noted = checkpoint["callbacks"][self._recorder.state_key]
        except Exception as error:  # torch.load raises whatever a broken file leads it to
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelFileError(
                f"{path} is no checkpoint of a training run ({reason}); remove it to start anew"
            ) from error
        recorder = self._recorder
        recorder.options.check_same_run(noted, recorder.network.architecture, recorder.folder)
        return checkpoint


def fit(source: PairSource, recorder: Recorder, *, threads: int) -> None:
    """Run the loop to its end, from the checkpoint in the recorder's folder if there is one.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    SystemExit
        If the process is asked to end, after the checkpoint is written.
    """
    checkpoint = recorder.folder / "last.ckpt"
    interrupt, before = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    try:
        with _quiet():
            trainer = _trainer(recorder)
            if trainer.strategy.root_device.type == "cpu":
                torch.set_num_threads(threads)
                recorder.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            module = _Training(source, recorder.network.train(), recorder.options, threads)
            trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None)
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as error:
        # Lightning turns an interrupt into an exit and ignores all that follow.
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, interrupt)
        raise KeyboardInterrupt from None
    finally:
        torch.set_num_threads(before)


def _trainer(recorder: Recorder) -> pl.Trainer:
    return pl.Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if recorder.options.precision == "bf16-mixed" else "32-true",
        max_steps=recorder.options.steps,
        max_epochs=-1,
        callbacks=[recorder],
        plugins=[_Checkpoint(recorder)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=recorder.folder,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's tips and notices from the user, but not its errors."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("modelaug", "numpy", "torch", "lightning"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
