"""What the commands that train have in common: how they begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelaug.cli._console import out
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import SOURCE, claim_folder
from modelaug.io.files.writing import remove_leftovers

if TYPE_CHECKING:
    from modelaug.learning import RegistrationNetwork, TrainOptions

_LOSSES = "losses.png"

LearningRate = Annotated[
    float | None, typer.Option(help="Rate of Adam at the beginning.", show_default="the network's own")
]
Kind = Annotated[
    str, typer.Option("--network", help="PyramidNetwork, in 2D and 3D, or the paper's FlowNetS, in 2D.", metavar="NAME")
]
Width = Annotated[
    float | None,
    typer.Option(
        help="Factor on the channels of the network; 1 is the published FlowNet-S.",
        show_default="1, for FlowNetS 0.25",
    ),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Pairs per step.", show_default="8, in space 2")]


def default_batch(ndim: int) -> int:
    """Return how many pairs a step takes by default."""
    return 8 if ndim == 2 else 2


def new_network(kind: str, grid: Sequence[int], image_channels: int, width: float | None) -> RegistrationNetwork:
    """Return an untrained network of a named architecture, or raise ValueError."""
    from modelaug.learning.network import known_network

    try:
        architecture = known_network(kind)
    except ValueError as error:
        raise ValueError(f"--network: {error}") from None
    return architecture.for_images(grid, image_channels=image_channels, width=width)


def training_options(steps: int, learning_rate: float | None, **changes: Any) -> TrainOptions:
    """Return what is recommended for so many steps, with validations and checkpoints to suit."""
    from modelaug.learning import recommended_options

    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
    return recommended_options(
        steps,
        validate_every=min(steps, max(100, min(500, steps // 10))),
        checkpoint_every=max(1, min(250, steps // 10)),
        log_every=max(1, min(50, steps // 20)),
        **changes,
    )


@contextmanager
def training_folder(folder: Path, source: Mapping[str, Any], *, restart: bool) -> Iterator[None]:
    """Hold the folder of a training that is done within, and claim it for what the pairs come from.

    In the end the losses are drawn, where matplotlib is installed, and it is said how good the network is.
    """
    with hold_folder(folder):
        remove_leftovers(folder, {SOURCE, _LOSSES}.__contains__)
        if restart:
            (folder / SOURCE).unlink(missing_ok=True)
        claim_folder(folder, source)
        yield
        _conclude(folder)


def _conclude(folder: Path) -> None:
    from modelaug.learning import read_card

    metrics = read_card(folder)["metrics"]
    _draw_losses(folder, metrics["validation_epe_of_zero_flow"])
    out.print(
        f"end-point error on held-out pairs {metrics['validation_epe']:.2f} voxels, "
        f"without displacement {metrics['validation_epe_of_zero_flow']:.2f}; the network is in {folder}/"
    )


def _draw_losses(folder: Path, baseline: float) -> None:
    try:
        from modelaug import plots
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        return
    plots.save_figure(plots.plot_losses(folder / "metrics.csv", baseline=baseline), folder / _LOSSES)
