"""Options of a comparison: methods, folds, metric, networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from modelaug import _checks
from modelaug._checked import Checked, Count, Limits, Positive, WholeNumber

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
"""Rows that the paper lacks: methods in use today, and the model without one of its parts."""


@dataclass(frozen=True)
class NetworkOptions(Checked):
    """Architecture and training of the networks of a comparison, which differ in their training pairs only.

    Parameters
    ----------
    grid
        Shape of the images in training and registration.
    kind
        Name of the architecture, a `modelaug.learning.RegistrationNetwork`.
    width
        Factor on its number of channels.
    pretrain_steps, pretrain_rate
        Steps and learning rate on moving shapes, once for all folds. 0 steps: networks begin with random weights, and
        there is no row "FlowNet (pre-trained)".
    steps, rate
        Steps and learning rate on each kind of pairs, from the pre-trained weights.
    batch_size
        Pairs per step.
    passes
        Argument of `modelaug.learning.register` for the rows called "cascade".
    """

    grid: Annotated[tuple[int, ...], _checks.grid_shape] = (128, 128)
    kind: str = "FlowNetS"
    width: Positive = 0.25
    pretrain_steps: WholeNumber = 6000
    pretrain_rate: Positive = 2e-3
    steps: Count = 2000
    rate: Positive = 2e-3
    batch_size: Count = 8
    passes: Count = 2


def _rows(name: str, value: Iterable[str]) -> tuple[str, ...]:
    """Return rows in the order of the table, given in any order."""
    known, methods = (*METHODS, *ABLATIONS), tuple(value)
    for each in methods:
        _checks.choice(name, each, known)
    if not methods or len(set(methods)) < len(methods):
        raise ValueError(f"{name} is {methods}; name at least one, and each once")
    return tuple(each for each in known if each in methods)


def _structures(name: str, value: Iterable[int]) -> tuple[int, ...]:
    labels = tuple(_checks.integer(name, each, minimum=1) for each in value)
    if not labels:
        raise ValueError(f"{name} is empty; name at least one structure, or pass None")
    return labels


@dataclass(frozen=True)
class CompareOptions(Checked):
    """Methods, metric and networks of a comparison.

    Parameters
    ----------
    methods
        Rows of the table, of `METHODS` and `ABLATIONS`.
    folds
        Parts into which the subjects are split; each is registered by methods that learned from the others.
    metric
        Metric of the table: ``"jaccard"``, the mean overlap of labelled structures, or ``"contour_distance"``, the
        average symmetric distance of the landmark objects' contours; the classical registration is then restricted to
        the region of the training subjects' contours. Scores of both are kept if the cohort has both.
    labels
        Structures to score. None: the structures of nearly all training subjects, see
        `modelaug.evaluation.scored_labels`.
    network
        Architecture and training of the networks.
    seed
        Seed of the folds, the pairs and the networks' initial weights.
    """

    methods: Annotated[tuple[str, ...], _rows] = METHODS
    folds: Annotated[int, Limits(2)] = 5
    metric: Literal["jaccard", "contour_distance"] = "jaccard"
    labels: Annotated[tuple[int, ...], _structures] | None = None
    network: NetworkOptions = NetworkOptions()
    seed: WholeNumber = 0

    def identity(self) -> dict[str, Any]:
        """Return the options that runs must share to use each other's results, as for JSON: all but the rows."""
        return {name: value for name, value in self.as_json().items() if name != "methods"}


def preset_options(name: str) -> NetworkOptions:
    """Return options of networks: ``"tiny"``, ``"small"`` for two cores and an evening, or ``"full"`` as in the paper.

    ``"full"`` needs a GPU: the published width, 256 x 256 pixels, 10,000 pairs after pre-training. ``"tiny"`` shows in
    a minute that everything works, but the networks learn nothing.
    """
    presets = {
        "tiny": NetworkOptions((32, 32), width=0.0625, pretrain_steps=4, steps=4, batch_size=2),
        "small": NetworkOptions(),
        "full": NetworkOptions((256, 256), width=1.0, pretrain_steps=40000, pretrain_rate=1e-4, steps=10000, rate=1e-4),
    }
    return presets[_checks.choice("preset", name, tuple(presets))]
