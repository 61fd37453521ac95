"""What is compared, and at which size."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from modelaug import _checks

__all__ = ["ABLATIONS", "FROM_SCRATCH", "METHODS", "PRETRAINED", "CompareOptions", "NetworkOptions", "preset_options"]

PRETRAINED: Final = "FlowNet (pre-trained)"
FROM_SCRATCH: Final = "FlowNet-SAM, from scratch"

METHODS: Final = (
    "Before Reg",
    "VarReg",
    PRETRAINED,
    "FlowNet-Reg",
    "FlowNet-Random",
    "FlowNet-SAM",
)
"""The rows of the paper's table."""

ABLATIONS: Final = (
    "SyN",
    "FlowNet-Labels",
    "FlowNet-SAM, global shapes",
    "FlowNet-SAM, Gaussian textures",
    "FlowNet-SAM, no residual",
    FROM_SCRATCH,
)
"""Rows beyond the paper's: what users would run today, and the model without one of its parts."""


@dataclass(frozen=True)
class NetworkOptions:
    """How every network of a comparison is made; all are made alike but for their pairs.

    Parameters
    ----------
    grid
        Shape at which networks are trained and see the images.
    kind
        Name of the architecture, a `modelaug.learning.RegistrationNetwork`.
    width
        Factor on the number of its channels.
    pretrain_steps, pretrain_rate
        Steps and learning rate on moving shapes, once for all folds. 0 steps: networks begin with random weights, and
        there is no row "FlowNet (pre-trained)".
    steps, rate
        Steps and learning rate on each kind of pairs, from the pre-trained weights.
    batch_size
        Pairs per step.
    passes
        Of `modelaug.learning.register`, for the rows called "cascade".
    """

    grid: tuple[int, ...] = (128, 128)
    kind: str = "FlowNetS"
    width: float = 0.25
    pretrain_steps: int = 6000
    pretrain_rate: float = 2e-3
    steps: int = 2000
    rate: float = 2e-3
    batch_size: int = 8
    passes: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", _checks.grid_shape("grid", self.grid))
        _checks.integer("pretrain_steps", self.pretrain_steps, minimum=0)
        for name in ("steps", "batch_size", "passes"):
            _checks.integer(name, getattr(self, name), minimum=1)
        for name in ("width", "pretrain_rate", "rate"):
            object.__setattr__(self, name, _checks.number(name, getattr(self, name), above=0.0))


@dataclass(frozen=True)
class CompareOptions:
    """What is compared, and how.

    Parameters
    ----------
    methods
        Rows of the table, of `METHODS` and `ABLATIONS`.
    folds
        Parts into which the subjects are split; each in turn is registered by what was learned from the others.
    metric
        What the table is about: ``"jaccard"``, the mean overlap of labelled structures, or ``"contour_distance"``, the
        average symmetric distance of the landmark objects' contours; then the classical registration looks only where
        those of the training subjects are. Scores of both are kept if the cohort has both.
    labels
        Structures that are scored. None: those that nearly all training subjects have, see
        `modelaug.evaluation.scored_labels`.
    network
        How the networks are made.
    seed
        Of the folds, the pairs and the networks' first weights.
    """

    methods: tuple[str, ...] = METHODS
    folds: int = 5
    metric: Literal["jaccard", "contour_distance"] = "jaccard"
    labels: tuple[int, ...] | None = None
    network: NetworkOptions = field(default_factory=NetworkOptions)
    seed: int = 0

    def __post_init__(self) -> None:
        known = (*METHODS, *ABLATIONS)
        methods = tuple(self.methods)
        for name in methods:
            _checks.choice("methods", name, known)
        if not methods or len(set(methods)) < len(methods):
            raise ValueError(f"methods is {methods}; name at least one, and each once")
        # In the order of the table, whatever order they were named in.
        object.__setattr__(self, "methods", tuple(name for name in known if name in methods))
        _checks.integer("folds", self.folds, minimum=2)
        _checks.choice("metric", self.metric, ("jaccard", "contour_distance"))
        if self.labels is not None:
            ids = tuple(_checks.integer("labels", each, minimum=1) for each in self.labels)
            if not ids:
                raise ValueError("labels is empty; name at least one structure, or pass None")
            object.__setattr__(self, "labels", ids)
        if not isinstance(self.network, NetworkOptions):
            raise TypeError(f"network is {self.network!r}; pass NetworkOptions(...)")
        _checks.integer("seed", self.seed, minimum=0)

    def identity(self) -> dict[str, Any]:
        """Return, as for JSON, what results of other runs must have in common to be used: all but the rows."""
        options: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return {name: value for name, value in options.items() if name != "methods"}


def preset_options(name: str) -> NetworkOptions:
    """Return how networks are made: ``"tiny"``, ``"small"`` for two cores and an evening, ``"full"`` as in the paper.

    ``"full"`` wants a GPU: the published width, 256 x 256 pixels, 10,000 pairs after pre-training. ``"tiny"`` shows in
    a minute that everything works, and teaches the networks nothing.
    """
    _checks.choice("preset", name, ("tiny", "small", "full"))
    if name == "tiny":
        return NetworkOptions(grid=(32, 32), width=0.0625, pretrain_steps=4, steps=4, batch_size=2)
    if name == "small":
        return NetworkOptions()
    return NetworkOptions(
        grid=(256, 256), width=1.0, pretrain_steps=40000, pretrain_rate=1e-4, steps=10000, rate=1e-4, passes=2
    )
