"""Options of training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from modelaug import _checks
from modelaug._checked import Checked, Count, Limits, NonNegative, Positive, Share
from modelaug.learning.augmentation import AugmentOptions
from modelaug.synthesis.pairs import HELD_OUT
from modelaug.synthesis.residual import ResidualOptions

if TYPE_CHECKING:
    from modelaug.learning.network import RegistrationNetwork


@dataclass(frozen=True)
class LossOptions(Checked):
    """The loss of pairs of known flow: the end-point error at several scales, and optional terms.

    Parameters
    ----------
    scale_weights, normalize
        As in `multiscale_error`; None means the network's own.
    overlap
        Weight of the Dice overlap of the pairs' labels, see `soft_dice`.
    folds
        Weight of `fold_penalty` of the displacement at full resolution.
    """

    scale_weights: tuple[NonNegative, ...] | None = None
    normalize: bool | None = None
    overlap: NonNegative = 0.0
    folds: NonNegative = 0.0

    def _check(self) -> None:
        if self.scale_weights is not None and sum(self.scale_weights) == 0:
            weights = ", ".join(f"{each:g}" for each in self.scale_weights)
            raise ValueError(f"scale_weights is ({weights}); pass numbers, not all 0")


@dataclass(frozen=True)
class RealOptions(Checked):
    """The loss of real pairs, of a cohort's subjects, whose flow is unknown.

    Parameters
    ----------
    pairs
        In each step, in addition to the source's.
    similarity
        ``"correlation"``, `local_correlation`, or ``"squares"``, `mean_squares`, of the fixed and the warped moving
        image with scaled intensities.
    radius
        Of the windows of the local correlation, in voxels.
    similarity_weight, overlap, smoothness
        Weights of the similarity, of the overlap of the cohort's labels, see `soft_dice`, and of `diffusion`. The
        unit is that of the end-point error in voxels.
    residual
        Random deformation of each image and its labels; None leaves it out.
    """

    pairs: Count = 4
    similarity: Literal["correlation", "squares"] = "correlation"
    radius: Count = 3
    similarity_weight: NonNegative = 1.0
    overlap: NonNegative = 1.0
    smoothness: NonNegative = 1.0
    residual: ResidualOptions | None = None


@dataclass(frozen=True)
class TrainOptions(Checked):
    """Options of the training; the defaults are those published for FlowNet-S, scaled to the number of steps.

    Parameters
    ----------
    steps
        Optimizer steps in all.
    batch_size
        Pairs per step, in each process if several train together.
    learning_rate
        Initial learning rate of Adam. 1e-4 is the published rate of FlowNet-S; None means the network's own, for a few
        thousand steps.
    schedule
        ``"halvings"`` of the rate, as published, or ``"cosine"``: along half a cosine from `learning_rate` down to 0
        (Loshchilov and Hutter, SGDR, ICLR 2017).
    halvings
        Fractions of `steps` at which the rate is halved, if that is the schedule.
    warmup
        Steps at the beginning over which the rate rises linearly to `learning_rate`; a cosine begins after them.
    ema
        Decay per step of an exponential moving average of the weights, e.g. 0.999; the averaged weights are validated
        and kept. Step t, counted from 0, decays by ``(1 + t) / (10 + t)`` while that is less, so that short runs forget
        their initial weights, too. None means no average.
    weight_decay
        L2 penalty on weights; biases have none.
    gradient_clip
        Largest norm of the gradient; None means no limit.
    augment
        Augmentation of training pairs, on the device; held-out pairs have none. None leaves it out.
    loss
        Loss of the source's pairs.
    real
        Loss of real pairs, if `train` is given a cohort.
    precision
        ``"32"``, or for arithmetic in the network ``"bf16-mixed"``, bfloat16, for volumes on a GPU only, or
        ``"16-mixed"``, half precision with scaled gradients, for GPUs without bfloat16.
    seed
        Seed of the network's initial weights; None trains the weights it has.
    validation_pairs
        Number of held-out pairs for validation by the end-point error.
    validate_every, checkpoint_every, log_every
        Steps between validations, checkpoints, and lines in the log. The last step is always validated.
    keep
        Weights to keep: ``"best"`` by validation, or ``"last"``.
    """

    steps: Count
    batch_size: Count = 8
    learning_rate: Positive | None = 1e-4
    schedule: Literal["halvings", "cosine"] = "halvings"
    halvings: tuple[Share, ...] = (1 / 3, 1 / 2, 2 / 3)
    warmup: int = 0
    ema: Share | None = None
    weight_decay: NonNegative = 4e-4
    gradient_clip: Positive | None = None
    augment: AugmentOptions | None = None
    loss: LossOptions = LossOptions()
    real: RealOptions = RealOptions()
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    seed: Annotated[int, Limits(0, 2**63 - 1)] | None = None
    validation_pairs: Count = 64
    validate_every: Count = 500
    checkpoint_every: Count = 500
    log_every: Count = 50
    keep: Literal["best", "last"] = "best"

    def _check(self) -> None:
        if self.steps * self.batch_size > HELD_OUT - self.validation_pairs:
            raise ValueError(f"steps is {self.steps}; pass fewer, so that training leaves out the validation pairs")
        _checks.integer("warmup", self.warmup, minimum=0, maximum=self.steps - 1)

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0, if it is set, see `of`."""
        assert self.learning_rate is not None
        share = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "cosine":
            passed = max(0, step - self.warmup) / (self.steps - self.warmup)
            return self.learning_rate * share * (1 + math.cos(math.pi * passed)) / 2
        return self.learning_rate * share * 0.5 ** sum(step >= f * self.steps for f in self.halvings)

    def of(self, network: RegistrationNetwork) -> TrainOptions:
        """Return the options with the network's own values in place of None.

        Raises
        ------
        ValueError
            If there are not as many scale weights as the network has scales.
        """
        weights = network.scale_weights if self.loss.scale_weights is None else self.loss.scale_weights
        if len(weights) != len(network.scales):
            raise ValueError(f"scale_weights is {weights}; pass {len(network.scales)} numbers, a weight for each scale")
        normalize = network.normalize if self.loss.normalize is None else self.loss.normalize
        rate = network.learning_rate if self.learning_rate is None else self.learning_rate
        loss = dataclasses.replace(self.loss, scale_weights=weights, normalize=normalize)
        return dataclasses.replace(self, learning_rate=rate, loss=loss)


def recommended_options(steps: int, **changes: Any) -> TrainOptions:
    """Return options for a few thousand steps: a cosine schedule after a short warm-up, and averaged weights.

    The rate is the network's own, `RegistrationNetwork.learning_rate`.

    Parameters
    ----------
    steps
        Optimizer steps in all.
    **changes
        Other values of `TrainOptions`.

    Returns
    -------
    TrainOptions
    """
    _checks.integer("steps", steps, minimum=1)
    base: dict[str, Any] = {"learning_rate": None, "schedule": "cosine", "warmup": min(200, steps // 10), "ema": 0.998}
    return TrainOptions(steps, **base | changes)
