"""What the commands that train have in common: how they begin and end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelaug.cli._console import out

if TYPE_CHECKING:
    from modelaug.learning import TrainOptions

__all__ = ["LearningRate", "conclude", "training_options"]

LearningRate = Annotated[
    float | None,
    typer.Option(help="Rate of Adam at the beginning.", show_default="0.002, at more than half the width 0.0001"),
]


def training_options(steps: int, width: float, learning_rate: float | None, **changes: Any) -> TrainOptions:
    """Return what is recommended for so many steps and such a network, with validations and checkpoints to suit."""
    from modelaug.learning import recommended_options

    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
    return recommended_options(
        steps,
        width,
        validate_every=max(1, min(500, steps // 10)),
        checkpoint_every=max(1, min(250, steps // 10)),
        log_every=max(1, min(50, steps // 20)),
        **changes,
    )


def conclude(folder: Path) -> None:
    """Draw the losses of a finished training and say how good the network is.

    The picture is left out where matplotlib is not installed; training does not need it.
    """
    from modelaug.learning import read_card

    metrics = read_card(folder)["metrics"]
    _draw_losses(folder, metrics["validation_epe_of_zero_flow"])
    out.print(
        f"end-point error on held-out pairs {metrics['validation_epe']:.2f} px, "
        f"without displacement {metrics['validation_epe_of_zero_flow']:.2f} px; the network is in {folder}/"
    )


def _draw_losses(folder: Path, baseline: float) -> None:
    try:
        from modelaug import plots
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        return
    plots.save_figure(plots.plot_losses(folder / "metrics.csv", baseline=baseline), folder / "losses.png")
