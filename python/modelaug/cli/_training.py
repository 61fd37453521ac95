"""Options, beginning and end of a training, for ``train`` and ``pretrain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from modelaug.cli._console import out
from modelaug.cli._kinds import CURVES
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import SOURCE, claim_folder
from modelaug.io.files.writing import remove_leftovers

if TYPE_CHECKING:
    from modelaug.learning import RegistrationNetwork, TrainOptions

_LOSSES = "losses.png"

Folder = Annotated[Path, Option("--out", "-o", help="Folder for the network.")]
Restart = Annotated[bool, Option("--restart", help="Begin again instead of continuing.")]
LearningRate = Annotated[float | None, Option(help="Rate of Adam at the beginning.", show_default="the network's own")]
Kind = Annotated[str, Option("--network", help="PyramidNetwork (2D, 3D) or the paper's FlowNetS (2D).", metavar="NAME")]
Width = Annotated[
    float | None,
    Option(
        help="Factor on the channels of the network; 1 is the published FlowNet-S.", show_default="1, for FlowNetS 0.25"
    ),
]
BatchSize = Annotated[int | None, Option(min=1, help="Pairs per step.", metavar="N", show_default="8, in space 2")]


def default_batch(ndim: int) -> int:
    """Return the default number of pairs per step."""
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
    """Return the recommended options for a number of steps, with validations and checkpoints to suit."""
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
    """Lock the folder of a training, and note there what its pairs come from.

    In the end draw the losses, where matplotlib is installed, and print the validation error.
    """
    with hold_folder(folder):
        remove_leftovers(folder, {SOURCE, _LOSSES}.__contains__)
        if restart:
            (folder / SOURCE).unlink(missing_ok=True)
        claim_folder(folder, source)
        yield
        _report_training(folder)


def _report_training(folder: Path) -> None:
    from modelaug.learning import read_card

    metrics = read_card(folder)["metrics"]
    baseline = metrics["validation_epe_of_zero_flow"]
    try:
        from modelaug import plots
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
    else:
        plots.save_figure(plots.plot_losses(folder / CURVES, baseline=baseline), folder / _LOSSES)
    out.print(
        f"end-point error on held-out pairs {metrics['validation_epe']:.2f} voxels, without displacement "
        f"{baseline:.2f}; the network is in {folder}/"
    )
