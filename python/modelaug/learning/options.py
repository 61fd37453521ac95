"""Options of training."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from modelaug import _checks
from modelaug.learning.augmentation import AugmentOptions
from modelaug.learning.losses import SCALE_WEIGHTS

__all__ = ["HELD_OUT", "TrainOptions", "recommended_options"]

HELD_OUT: Final = 2**40
"""Validation uses the pairs just below this index, which no training reaches."""


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
        Rate of Adam at the beginning. 1e-4 is the published rate at full width; for smaller networks and shorter
        trainings see `recommended_options`.
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
    scale_weights, normalize
        As of `multiscale_epe`.
    precision
        ``"32"``, or for arithmetic in the network ``"bf16-mixed"``, bfloat16, or ``"16-mixed"``, half precision with
        scaled gradients, for GPUs without bfloat16.
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
    learning_rate: float = 1e-4
    schedule: Literal["halvings", "cosine"] = "halvings"
    halvings: tuple[float, ...] = (1 / 3, 1 / 2, 2 / 3)
    warmup: int = 0
    ema: float | None = None
    weight_decay: float = 4e-4
    gradient_clip: float | None = None
    augment: AugmentOptions | None = None
    scale_weights: tuple[float, ...] = SCALE_WEIGHTS
    normalize: bool = False
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
            _checks.integer("seed", self.seed, minimum=0)
        fractions = tuple(_checks.number("halvings", f, minimum=0.0, maximum=1.0) for f in self.halvings)
        object.__setattr__(self, "halvings", fractions)
        weights = tuple(_checks.number("scale_weights", a, minimum=0.0) for a in self.scale_weights)
        if len(weights) != len(SCALE_WEIGHTS) or sum(weights) == 0:
            raise ValueError(f"scale_weights is {self.scale_weights}; pass {len(SCALE_WEIGHTS)} numbers, not all 0")
        object.__setattr__(self, "scale_weights", weights)
        _checks.choice("precision", self.precision, ("32", "bf16-mixed", "16-mixed"))
        _checks.choice("keep", self.keep, ("best", "last"))

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        share = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "cosine":
            passed = max(0, step - self.warmup) / (self.steps - self.warmup)
            return self.learning_rate * share * (1 + math.cos(math.pi * passed)) / 2
        return self.learning_rate * share * 0.5 ** sum(step >= f * self.steps for f in self.halvings)

    def as_json(self) -> dict[str, Any]:
        """Return the options in the form in which they are noted in files."""
        options: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return options


def recommended_options(steps: int, width: float = 0.25, **changes: Any) -> TrainOptions:
    """Return how to train for a few thousand steps: a cosine after a short warm-up, and averaged weights.

    Parameters
    ----------
    steps
        Optimizer steps in all.
    width
        Of the `modelaug.learning.FlowNetS` that is trained. Up to half the published width the rate is 2e-3, which of
        1e-3, 2e-3 and 4e-3 was best at a quarter on real hearts (docs/learning.md); wider networks get the published
        1e-4.
    **changes
        Other values of `TrainOptions`, which take the place of these.

    Returns
    -------
    TrainOptions

    Raises
    ------
    TypeError, ValueError
        As `TrainOptions`, or if `width` is not positive.
    """
    _checks.integer("steps", steps, minimum=1)
    narrow = _checks.number("width", width, above=0.0) <= 0.5
    recipe: dict[str, Any] = {
        "learning_rate": 2e-3 if narrow else 1e-4,
        "schedule": "cosine",
        "warmup": min(200, steps // 10),
        "ema": 0.998,
    }
    return TrainOptions(steps, **{**recipe, **changes})
