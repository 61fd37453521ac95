"""Options of training."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from modelaug import _checks
from modelaug.learning.augmentation import AugmentOptions
from modelaug.synthesis.pairs import HELD_OUT
from modelaug.synthesis.residual import ResidualOptions

if TYPE_CHECKING:
    from modelaug.learning.network import RegistrationNetwork

__all__ = ["LossOptions", "RealOptions", "TrainOptions", "recommended_options"]


@dataclass(frozen=True)
class LossOptions:
    """What pairs of known flow are trained for: the end-point error at several scales, and more if wanted.

    Parameters
    ----------
    scale_weights, normalize
        As of `multiscale_error`; None means the network's own.
    overlap
        Weight of the Dice overlap of the labels that the pairs carry, see `soft_dice`.
    folds
        Weight of `fold_penalty` of the displacement at full resolution.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    scale_weights: tuple[float, ...] | None = None
    normalize: bool | None = None
    overlap: float = 0.0
    folds: float = 0.0

    def __post_init__(self) -> None:
        if not (self.normalize is None or isinstance(self.normalize, bool)):
            raise TypeError(f"normalize is {self.normalize!r}; pass True, False or None")
        if self.scale_weights is not None:
            weights = _numbers("scale_weights", self.scale_weights, minimum=0.0)
            if sum(weights) == 0:
                raise ValueError(f"scale_weights is {self.scale_weights}; pass numbers, not all 0")
            object.__setattr__(self, "scale_weights", weights)
        for name in ("overlap", "folds"):
            object.__setattr__(self, name, _checks.number(name, getattr(self, name), minimum=0.0))


@dataclass(frozen=True)
class RealOptions:
    """How a cohort's own images take part in training: pairs of its subjects, whose flow nobody knows.

    Parameters
    ----------
    pairs
        Of each step, besides those of the source.
    similarity
        ``"correlation"``, `local_correlation`, or ``"squares"``, `mean_squares`, of the fixed and the warped moving
        image, intensities as the network sees them.
    radius
        Of the windows of the local correlation, in voxels.
    similarity_weight, overlap, smoothness
        Weights of the similarity, of the overlap of the cohort's labels, see `soft_dice`, and of `diffusion`. The
        unit is that of the end-point error in voxels.
    residual
        How each image, its labels with it, is deformed at random before it is seen; None: not at all.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    pairs: int = 4
    similarity: Literal["correlation", "squares"] = "correlation"
    radius: int = 3
    similarity_weight: float = 1.0
    overlap: float = 1.0
    smoothness: float = 1.0
    residual: ResidualOptions | None = None

    def __post_init__(self) -> None:
        _checks.integer("pairs", self.pairs, minimum=1)
        _checks.choice("similarity", self.similarity, ("correlation", "squares"))
        _checks.integer("radius", self.radius, minimum=1)
        for name in ("similarity_weight", "overlap", "smoothness"):
            object.__setattr__(self, name, _checks.number(name, getattr(self, name), minimum=0.0))
        if self.residual is not None and not isinstance(self.residual, ResidualOptions):
            raise TypeError(f"residual is {self.residual!r}; pass ResidualOptions(...) or None")


@dataclass(frozen=True)
class TrainOptions:
    """How to train; the defaults are those FlowNet-S was published with, scaled to the number of steps.

    Parameters
    ----------
    steps
        Optimizer steps in all.
    batch_size
        Pairs per step, in each process if several train together.
    learning_rate
        Rate of Adam at the beginning. 1e-4 is the published rate of FlowNet-S; None means the network's own, which is
        meant for some thousand steps.
    schedule
        ``"halvings"`` of the rate, as published, or ``"cosine"``: along half a cosine from `learning_rate` down to 0
        (Loshchilov and Hutter, SGDR, ICLR 2017).
    halvings
        Fractions of `steps` at which the rate is halved, if that is the schedule.
    warmup
        Steps at the beginning over which the rate rises linearly to `learning_rate`; a cosine begins after them.
    ema
        Decay per step of an exponential moving average of the weights, e.g. 0.999; the averaged weights are those
        validated and kept. Step t, counted from 0, decays by ``(1 + t) / (10 + t)`` while that is less, so that short
        runs forget their first weights too. None means no average.
    weight_decay
        L2 penalty on weights; biases have none.
    gradient_clip
        Largest norm of the gradient; None means no limit.
    augment
        How pairs are varied in training, on the device; held-out pairs are not. None: not at all.
    loss
        What the pairs of the source are trained for.
    real
        How the images of a cohort take part, if `train` is given one.
    precision
        ``"32"``, or for arithmetic in the network ``"bf16-mixed"``, bfloat16, for volumes on a GPU only, or
        ``"16-mixed"``, half precision with scaled gradients, for GPUs without bfloat16.
    seed
        Initialise the network's weights from this seed first; None trains the weights it has.
    validation_pairs
        Held-out pairs on which the end-point error is measured.
    validate_every, checkpoint_every, log_every
        Steps between validations, checkpoints to resume from, and lines in the log. The last step is validated in any
        case.
    keep
        Which weights to keep: ``"best"`` by validation, or ``"last"``.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    steps: int
    batch_size: int = 8
    learning_rate: float | None = 1e-4
    schedule: Literal["halvings", "cosine"] = "halvings"
    halvings: tuple[float, ...] = (1 / 3, 1 / 2, 2 / 3)
    warmup: int = 0
    ema: float | None = None
    weight_decay: float = 4e-4
    gradient_clip: float | None = None
    augment: AugmentOptions | None = None
    loss: LossOptions = LossOptions()
    real: RealOptions = RealOptions()
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    seed: int | None = None
    validation_pairs: int = 64
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 50
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validation_pairs", "validate_every", "checkpoint_every", "log_every"):
            _checks.integer(name, getattr(self, name), minimum=1)
        if self.steps * self.batch_size > HELD_OUT - self.validation_pairs:
            raise ValueError(f"steps is {self.steps}; pass fewer, so that training leaves out the validation pairs")
        if self.learning_rate is not None:
            _checks.number("learning_rate", self.learning_rate, above=0.0)
        _checks.choice("schedule", self.schedule, ("halvings", "cosine"))
        _checks.integer("warmup", self.warmup, minimum=0, maximum=self.steps - 1)
        if self.ema is not None:
            _checks.number("ema", self.ema, minimum=0.0, maximum=1.0)
        _checks.number("weight_decay", self.weight_decay, minimum=0.0)
        if self.gradient_clip is not None:
            _checks.number("gradient_clip", self.gradient_clip, above=0.0)
        if self.augment is not None and not isinstance(self.augment, AugmentOptions):
            raise TypeError(f"augment is {self.augment!r}; pass AugmentOptions(...) or None")
        if self.seed is not None:
            _checks.integer("seed", self.seed, minimum=0, maximum=2**63 - 1)
        object.__setattr__(self, "halvings", _numbers("halvings", self.halvings, minimum=0.0, maximum=1.0))
        for name, kind in (("loss", LossOptions), ("real", RealOptions)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is {getattr(self, name)!r}; pass {kind.__name__}(...)")
        _checks.choice("precision", self.precision, ("32", "bf16-mixed", "16-mixed"))
        _checks.choice("keep", self.keep, ("best", "last"))

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0; the network's own has to be put in, see `of`."""
        assert self.learning_rate is not None
        share = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "cosine":
            passed = max(0, step - self.warmup) / (self.steps - self.warmup)
            return self.learning_rate * share * (1 + math.cos(math.pi * passed)) / 2
        return self.learning_rate * share * 0.5 ** sum(step >= f * self.steps for f in self.halvings)

    def of(self, network: RegistrationNetwork) -> TrainOptions:
        """Return the options with the network's own values where they say None for that.

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

    def as_json(self) -> dict[str, Any]:
        """Return the options in the form in which they are noted in files."""
        options: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return options


def _numbers(name: str, values: Any, **limits: float) -> tuple[float, ...]:
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name} is {values!r}; pass a tuple of numbers")
    return tuple(_checks.number(name, value, **limits) for value in values)


def recommended_options(steps: int, **changes: Any) -> TrainOptions:
    """Return how to train for a few thousand steps: a cosine after a short warm-up, and averaged weights.

    The rate is the network's own, `RegistrationNetwork.learning_rate`.

    Parameters
    ----------
    steps
        Optimizer steps in all.
    **changes
        Other values of `TrainOptions`, which take the place of these.

    Returns
    -------
    TrainOptions

    Raises
    ------
    TypeError, ValueError
        As `TrainOptions`.
    """
    _checks.integer("steps", steps, minimum=1)
    recipe: dict[str, Any] = {
        "learning_rate": None,
        "schedule": "cosine",
        "warmup": min(200, steps // 10),
        "ema": 0.998,
    }
    return TrainOptions(steps, **{**recipe, **changes})
