"""The training loop on Lightning: what it computes."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from modelaug.io.files.reading import refusing
from modelaug.learning.augmentation import draw_maps, pull_by_maps, transform_pairs, vary_intensity
from modelaug.learning.data import PairStream, draw_batch
from modelaug.learning.losses import average_cells, end_point_error, fold_penalty, multiscale_error, soft_dice
from modelaug.learning.network import RegistrationNetwork, SeenImages, network_input
from modelaug.learning.options import HELD_OUT
from modelaug.learning.real import RealPairs, alignment_loss, memberships
from modelaug.learning.recorder import UNUSABLE, Checkpoints, Recorder
from modelaug.learning.registration import estimate_flow
from modelaug.learning.sampling import warp_images
from modelaug.synthesis import PairSource

__all__ = ["fit"]

_INPUTS: Final = ("image1", "image2", "flow", "weight")
_LABELS: Final = ("labels1", "labels2")


@dataclass(frozen=True, eq=False)
class _Known:
    """Pairs of the source as they go through the network.

    Attributes
    ----------
    images : tuple of Tensor, (b, c, *grid)
        Fixed and moving.
    flow : Tensor, (b, d, *grid)
    weight : Tensor, (b, *grid)
    members : tuple of Tensor, (b, k, *grid), or None
        Memberships of the structures, if their overlap counts.
    """

    images: tuple[Tensor, Tensor]
    flow: Tensor
    weight: Tensor
    members: tuple[Tensor, ...] | None


class _Training(pl.LightningModule):
    """One step: images in, loss out; Adam with the published schedule; pairs drawn as they are needed."""

    def __init__(self, source: PairSource, recorder: Recorder, real: RealPairs | None, threads: int) -> None:
        super().__init__()
        self.source, self.real = source, real
        self.network = network = recorder.network.train()
        self.options = options = recorder.options
        self.processes = recorder.processes
        self.threads = threads
        # A part of the module, so that checkpoints hold it too.
        self.average = None if options.ema is None else _moving_average(network, options.ema)
        self._held_out: list[dict[str, Tensor]] = []
        self._looked = False

    @property
    def kept(self) -> RegistrationNetwork:
        """The network to be validated and kept: with the averaged weights, where they are averaged."""
        if self.average is None:
            return self.network
        averaged = cast("RegistrationNetwork", self.average.module)
        averaged.seen = self.network.seen
        return averaged

    def train_dataloader(self) -> PairStream:
        """Return the pairs of the steps that are left."""
        device = self.trainer.strategy.root_device.type
        return PairStream(
            self.source,
            self.options.batch_size,
            first=self._first_pair(),
            stride=self.processes.count * self.options.batch_size,
            batches=self.options.steps - self.trainer.global_step,
            threads=self.threads,
            # On the CPU drawing and training take turns, each with all threads: if they shared the cores, those of the
            # one would stand idle while it waits for the other.
            queue=0 if device == "cpu" else 2,
            pin_memory=device == "cuda",
        )

    def _first_pair(self) -> int:
        """Return the index of the first pair of the step to come."""
        batch = self.trainer.global_step * self.processes.count + self.processes.rank
        return int(batch) * self.options.batch_size

    def on_before_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Leave behind what the step does not need."""
        if not self._looked:
            self._look(tuple(batch["flow"].shape[2:]))
        names = (*_INPUTS, *_LABELS) if self.options.loss.overlap > 0 else _INPUTS
        if not set(names) <= set(batch):
            raise ValueError("overlap is positive but pairs of source have no labels; pass LossOptions(overlap=0)")
        return {name: batch[name] for name in names}

    def _look(self, grid: tuple[int, ...]) -> None:
        """Note at the first batch what the network is trained on, or refuse it."""
        self.network.check_grid(grid)
        if self.real is not None and self.real.cohort.grid != grid:
            raise ValueError(
                f"real has images of {self.real.cohort.grid} and source pairs of {grid}; pass "
                f"modelaug.data.resampling.resize_cohort(real, {grid})"
            )
        spacing = getattr(self.source, "spacing", None)
        self.network.seen = SeenImages(grid, None if spacing is None else tuple(spacing))
        self._looked = True

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss, and the error in voxels at the finest scale."""
        pairs = self._known_pairs(batch)
        fixed, moving = pairs.images
        if self.real is not None:
            images, members = self._real_pairs()
            # One pass for all pairs.
            fixed, moving = (torch.cat(each) for each in zip(pairs.images, images, strict=True))
        outputs = self.network.displacements(fixed, moving)
        count, grid = len(pairs.flow), pairs.flow.shape[2:]
        loss = self._loss_of_known(pairs, tuple(each[:count] for each in outputs))
        if self.real is not None:
            own = self.network.full_resolution(outputs[0][count:].float(), grid)
            loss = loss + alignment_loss(images, members, own, self.options.real)
        with torch.no_grad():
            side = self.network.scales[0]
            share = average_cells(pairs.weight[:, None], side)[:, 0]
            error = end_point_error(outputs[0][:count].float(), average_cells(pairs.flow, side), share)
        return {"loss": loss, "epe": error}

    def _known_pairs(self, batch: dict[str, Tensor]) -> _Known:
        """Return the pairs of the source as the network sees them, moved and recoloured if they are to be."""
        image1, image2, flow, weight = (batch[name] for name in _INPUTS)
        members = None
        if self.options.loss.overlap > 0:
            labels = [batch[name] for name in _LABELS]
            ids = torch.unique(torch.cat([each.flatten() for each in labels]))
            members = tuple(memberships(each, ids[ids != 0]) for each in labels)
        change, augment = None, self.options.augment
        if augment is not None:
            first = self._first_pair()
            indices = range(first, first + len(flow))
            if augment.moves:
                maps = draw_maps(augment, indices, flow.shape[2:])
                if members is not None:
                    members = tuple(pull_by_maps(each, at) for each, at in zip(members, maps, strict=True))
                image1, image2, flow, weight = transform_pairs(image1, image2, flow, weight, *maps)
            change = partial(vary_intensity, options=augment, indices=indices)
        return _Known(network_input(image1, image2, self.network, change), flow, weight, members)

    def _real_pairs(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return images and memberships of the step's pairs of real subjects, varied as the others are."""
        assert self.real is not None
        count, augment, change = self.options.real.pairs, self.options.augment, None
        first = (self.trainer.global_step * self.processes.count + self.processes.rank) * count
        indices = range(first, first + count)
        if augment is not None:
            augment = replace(augment, seed=augment.seed + 1)  # else pair i would move as pair i of the source does
            change = partial(vary_intensity, options=augment, indices=indices)
        images, members = self.real.batch(
            indices, augment=augment, residual=self.options.real.residual, device=self.device
        )
        return network_input(*images, self.network, change), members

    def _loss_of_known(self, pairs: _Known, outputs: tuple[Tensor, ...]) -> Tensor:
        options = self.options.loss
        assert options.scale_weights is not None
        loss = multiscale_error(
            outputs,
            pairs.flow,
            pairs.weight,
            scales=self.network.scales,
            scale_weights=options.scale_weights,
            normalize=bool(options.normalize),
            average=self.processes.mean,
        )
        loss = loss / self.network.unit
        if options.overlap > 0 or options.folds > 0:
            displacement = self.network.full_resolution(outputs[0].float(), pairs.flow.shape[2:])
            if options.folds > 0:
                loss = loss + options.folds * fold_penalty(displacement)
            if pairs.members is not None:
                loss = loss + options.overlap * soft_dice(pairs.members[0], warp_images(pairs.members[1], displacement))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient: Lightning's own clipping refuses fused optimizers under mixed precision."""
        if self.options.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.gradient_clip)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take the step, and the weights after it into the average."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Adam without decay of biases, and the rate's schedule."""
        biases = [p for name, p in self.network.named_parameters() if name.endswith("bias")]
        weights = [p for name, p in self.network.named_parameters() if not name.endswith("bias")]
        rate, decay = self.options.learning_rate, self.options.weight_decay
        assert rate is not None  # `train` has put in the network's
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": decay}, {"params": biases}]
        # A fused optimizer would unscale the gradients of half precision itself, after they are clipped.
        optimizer = torch.optim.Adam(groups, lr=rate, fused=self.options.precision != "16-mixed")
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
            estimate = estimate_flow(self.kept, batch["image1"], batch["image2"])
            share = float(weight.sum())
            error += share * float(end_point_error(estimate, flow, weight))
            zero += share * float(end_point_error(torch.zeros_like(flow), flow, weight))
            mass += share
        if mass == 0:
            raise ValueError("source gives weight 0 everywhere; make pairs whose flow can be trusted somewhere")
        return error / mass, zero / mass


def _moving_average(network: RegistrationNetwork, decay: float) -> AveragedModel:
    def average(before: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
        # The first steps count less and less, so that short runs do not keep the weights they began with.
        t = int(count)
        return before.lerp(now, 1 - min(decay, (1 + t) / (10 + t)))

    model = AveragedModel(network, avg_fn=average)
    return model.requires_grad_(False)


def fit(source: PairSource, recorder: Recorder, *, real: RealPairs | None, threads: int) -> None:
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
                recorder.network.to(memory_format=recorder.network.memory_format)  # type: ignore[call-overload]
            module = _Training(source, recorder, real, threads)
            with _taking_up(checkpoint, recorder):
                trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None)
            recorder.network.load_state_dict(module.kept.state_dict())
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


@contextlib.contextmanager
def _taking_up(checkpoint: Path, recorder: Recorder) -> Iterator[None]:
    """Refuse a checkpoint whose parts do not fit, over which torch and Lightning raise nearly anything."""
    try:
        yield
    except Exception:
        if not recorder.resuming:
            raise
        with refusing(checkpoint, *UNUSABLE):
            raise


def _trainer(recorder: Recorder) -> pl.Trainer:
    return pl.Trainer(
        accelerator="auto",
        devices=recorder.processes.local,
        num_nodes=recorder.processes.machines,
        strategy="ddp" if recorder.processes.count > 1 else "auto",
        precision="32-true" if recorder.options.precision == "32" else recorder.options.precision,
        max_steps=recorder.options.steps,
        max_epochs=-1,
        callbacks=[recorder],
        plugins=[Checkpoints(recorder)],
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
