"""What the commands that train have in common: how they end."""

from __future__ import annotations

from pathlib import Path

from modelaug.cli._console import out

__all__ = ["conclude"]


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
