"""The training loop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from modelaug import _checks
from modelaug.io.files.reading import refusing
from modelaug.learning.augmentation import draw_maps, pull_by_maps, transform_pairs, vary_intensity
from modelaug.learning.checkpoints import UNUSABLE, read_checkpoint, write_checkpoint
from modelaug.learning.data import PairStream, draw_batch
from modelaug.learning.losses import average_cells, end_point_error, fold_penalty, multiscale_error, soft_dice
from modelaug.learning.network import RegistrationNetwork, SeenImages, network_input
from modelaug.learning.options import TrainOptions
from modelaug.learning.real import RealPairs, alignment_loss, memberships
from modelaug.learning.recorder import Recorder
from modelaug.learning.registration import estimate_flow
from modelaug.learning.run import Run
from modelaug.learning.sampling import warp_images
from modelaug.learning.storage import write_card
from modelaug.synthesis.pairs import HELD_OUT, PairSource

_INPUTS: Final = ("image1", "image2", "flow", "weight")
_LABELS: Final = ("labels1", "labels2")


@dataclass(frozen=True, eq=False)
class _Known:
    """A batch of pairs of the source as the network sees them.

    Attributes
    ----------
    images : tuple of Tensor, (b, c, *grid)
        Fixed and moving.
    flow : Tensor, (b, d, *grid)
    weight : Tensor, (b, *grid)
    members : tuple of Tensor, (b, k, *grid), or None
        One-hot maps of the structures, if their overlap counts.
    """

    images: tuple[Tensor, Tensor]
    flow: Tensor
    weight: Tensor
    members: tuple[Tensor, ...] | None


class _Training(nn.Module):
    """The state of the training: the network and its moving average, with the loss of a step."""

    def __init__(self, source: PairSource, run: Run, real: RealPairs | None, threads: int) -> None:
        super().__init__()
        self.source, self.real, self.threads = source, real, threads
        self.network, self.options, self.processes = run.network.train(), run.options, run.processes
        # A part of the module, so that checkpoints hold it too.
        self.average = None if run.options.ema is None else _moving_average(run.network, run.options.ema)
        self._held_out: list[dict[str, Tensor]] = []

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    @property
    def kept(self) -> RegistrationNetwork:
        """The network to validate and keep: with averaged weights if there are any."""
        if self.average is None:
            return self.network
        averaged = cast("RegistrationNetwork", self.average.module)
        averaged.seen = self.network.seen
        return averaged

    def batches(self, step: int) -> Generator[dict[str, Tensor], None, None]:
        """Yield the batches of the steps after `step`, on the device, with the arrays that the loss needs."""
        names = (*_INPUTS, *_LABELS) if self.options.loss.overlap > 0 else _INPUTS
        device = self.device
        stream = PairStream(
            self.source,
            self.options.batch_size,
            first=self._first_pair(step),
            stride=self.processes.count * self.options.batch_size,
            batches=self.options.steps - step,
            threads=self.threads,
            # On the CPU drawing and training alternate, each with all threads, so that no core is idle.
            queue=0 if device.type == "cpu" else 2,
            pin_memory=device.type == "cuda",
        )
        for k, batch in enumerate(stream):
            if k == 0:
                self._set_grid(tuple(batch["flow"].shape[2:]))
            if not set(names) <= set(batch):
                raise ValueError("overlap is positive but pairs of source have no labels; pass LossOptions(overlap=0)")
            yield {name: batch[name].to(device, non_blocking=device.type == "cuda") for name in names}

    def _first_pair(self, step: int) -> int:
        """Return the index of the first pair of a step in this process."""
        return (step * self.processes.count + self.processes.rank) * self.options.batch_size

    def _set_grid(self, grid: tuple[int, ...]) -> None:
        """Check the grid of the first batch, and note it in the network."""
        self.network.check_grid(grid)
        if self.real is not None and self.real.cohort.grid != grid:
            raise ValueError(
                f"real has images of {self.real.cohort.grid} and source pairs of {grid}; pass "
                f"modelaug.data.resampling.resize_cohort(real, {grid})"
            )
        spacing = getattr(self.source, "spacing", None)
        self.network.seen = SeenImages(grid, None if spacing is None else tuple(spacing))

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, Tensor]:
        """Return the loss of a step, and the error in voxels at the finest scale."""
        kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.options.precision)
        with contextlib.nullcontext() if kind is None else torch.autocast(self.device.type, kind, cache_enabled=False):
            return self._loss(batch, step)

    def _loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, Tensor]:
        pairs = self._known_pairs(batch, step)
        fixed, moving = pairs.images
        if self.real is not None:
            images, members = self._real_pairs(step)
            # One forward pass for all pairs.
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
        return loss, error

    def _known_pairs(self, batch: dict[str, Tensor], step: int) -> _Known:
        """Return the pairs of the source as the network sees them, augmented if the options say so."""
        image1, image2, flow, weight = (batch[name] for name in _INPUTS)
        members = None
        if self.options.loss.overlap > 0:
            labels = [batch[name] for name in _LABELS]
            ids = torch.unique(torch.cat([each.flatten() for each in labels]))
            members = tuple(memberships(each, ids[ids != 0]) for each in labels)
        change, augment = None, self.options.augment
        if augment is not None:
            first = self._first_pair(step)
            indices = range(first, first + len(flow))
            if augment.moves:
                maps = draw_maps(augment, indices, flow.shape[2:])
                if members is not None:
                    members = tuple(pull_by_maps(each, at) for each, at in zip(members, maps, strict=True))
                image1, image2, flow, weight = transform_pairs(image1, image2, flow, weight, *maps)
            change = partial(vary_intensity, options=augment, indices=indices)
        return _Known(network_input(image1, image2, self.network, change), flow, weight, members)

    def _real_pairs(self, step: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return images and one-hot maps of the step's pairs of real subjects, with the same augmentation."""
        assert self.real is not None
        count, augment, change = self.options.real.pairs, self.options.augment, None
        first = (step * self.processes.count + self.processes.rank) * count
        indices = range(first, first + count)
        if augment is not None:
            augment = replace(augment, seed=augment.seed + 1)  # independent of the source's pair of the same index
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

    def validate(self) -> tuple[float, float]:
        """Return the end-point error in voxels on the held-out pairs, and the error of a displacement of 0."""
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
        # The decay grows with the steps, so that short runs forget their initial weights.
        t = int(count)
        return before.lerp(now, 1 - min(decay, (1 + t) / (10 + t)))

    model = AveragedModel(network, avg_fn=average)
    return model.requires_grad_(False)


def _optimizer(network: RegistrationNetwork, options: TrainOptions) -> torch.optim.Adam:
    """Return Adam without decay of biases."""
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in network.named_parameters() if not name.endswith("bias")]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": options.weight_decay}, {"params": biases}]
    # A fused optimizer would unscale the gradients of half precision itself, after the clipping.
    return torch.optim.Adam(groups, fused=options.precision != "16-mixed")


def fit(source: PairSource, run: Run, *, real: RealPairs | None, threads: int, progress: bool) -> None:
    """Train to the last step, from the checkpoint in the run's folder if there is one, and complete the network's card.

    Raises
    ------
    SystemExit
        After SIGTERM, once the checkpoint is written.
    """
    network, device, before = run.network, run.processes.device(), torch.get_num_threads()
    recorder = Recorder(run, device, progress=progress)
    try:
        if device.type == "cpu":
            torch.set_num_threads(threads)
            network.to(memory_format=network.memory_format)  # type: ignore[call-overload]
        training = _Training(source, run, real, threads).to(device)
        _take_steps(training, run, recorder)
        network.load_state_dict(training.kept.state_dict())
    finally:
        recorder.close()
        torch.set_num_threads(before)
        network.to("cpu")
    if run.processes.rank == 0:
        write_card(network, run.folder, recorder.card(finished=True))
    network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def _take_steps(training: _Training, run: Run, recorder: Recorder) -> None:
    options, processes, checkpoint = run.options, run.processes, run.folder / "last.ckpt"
    optimizer = _optimizer(training.network, options)
    scaler = torch.amp.GradScaler(training.device.type, enabled=options.precision == "16-mixed")
    states: dict[str, Any] = {"weights": training, "optimizer": optimizer, "scaler": scaler, "record": recorder}
    first = _resume(checkpoint, run, states) if checkpoint.exists() else 0
    recorder.begin(first)
    step_of = training if processes.count == 1 else _distributed(training)
    with _sigterm_noted() as noted, contextlib.closing(training.batches(first)) as batches:
        for step, batch in enumerate(batches, start=first + 1):
            for group in optimizer.param_groups:
                group["lr"] = options.rate(step - 1)
            loss, error = step_of(batch, step - 1)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if options.gradient_clip is not None:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(training.network.parameters(), options.gradient_clip)
            scaler.step(optimizer)
            scaler.update()
            if training.average is not None:
                training.average.update_parameters(training.network)
            recorder.add(loss, error)
            validating = step % options.validate_every == 0 or step == options.steps
            recording = validating or step % options.log_every == 0
            ending = processes.any(bool(noted), training.device)
            saving = ending or step % options.checkpoint_every == 0
            if recording or saving:
                recorder.settle(step)
            if recording:
                recorder.record(step, training.kept, training.validate if validating else None)
            if saving and processes.rank == 0:
                write_checkpoint(
                    checkpoint, {"step": step, **{name: each.state_dict() for name, each in states.items()}}
                )
            if ending:
                processes.wait()  # for the checkpoint
                raise SystemExit(128 + signal.SIGTERM)


def _resume(path: Path, run: Run, states: Mapping[str, Any]) -> int:
    """Load the states of a checkpoint, and return its number of steps."""
    checkpoint = read_checkpoint(path)
    run.check_same(checkpoint["record"])
    with refusing(path, *UNUSABLE):  # torch raises nearly anything for states that do not fit
        for name, each in states.items():
            each.load_state_dict(checkpoint[name])
        return _checks.integer("step", checkpoint["step"], minimum=0, maximum=run.options.steps)


def _distributed(training: _Training) -> DistributedDataParallel:
    return DistributedDataParallel(training, [training.device] if training.device.type == "cuda" else None)


@contextlib.contextmanager
def _sigterm_noted() -> Iterator[list[int]]:
    """Collect SIGTERM in a list instead of ending; only in the main thread, as others cannot handle signals."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.getsignal(signal.SIGTERM)

    def note(signum: int, frame: FrameType | None) -> None:
        noted.append(signum)
        if callable(before):
            before(signum, frame)

    signal.signal(signal.SIGTERM, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
