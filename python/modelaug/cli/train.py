"""``modelaug train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelaug import AppearanceModel, PairSynthesizer
from modelaug.cli._console import SeedOption, ThreadsOption, out
from modelaug.cli._options import PairSettings, parse_pair_options
from modelaug.io.provenance import claim_folder
from modelaug.io.shards import describe_synthesizer

__all__ = ["train"]


def train(
    model: Annotated[Path, typer.Argument(help="Model of `modelaug fit`.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the network.", show_default=False)],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 5000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs per step.")] = 8,
    width: Annotated[float, typer.Option(help="Width of the network; 1 is the published FlowNet-S.")] = 0.25,
    learning_rate: Annotated[float, typer.Option(help="Rate of Adam at the beginning.")] = 5e-4,
    settings: PairSettings = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of continuing.")] = False,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Train a FlowNet-S on pairs drawn from a model as they are needed.

    The folder gets net.safetensors, net.json, metrics.csv and a picture of the losses. An interrupted run continues.
    """
    from modelaug import learning

    synthesizer = PairSynthesizer(AppearanceModel.load(model), seed=seed, options=parse_pair_options(settings))
    options = learning.TrainOptions(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        validate_every=max(1, min(500, steps // 10)),
        checkpoint_every=max(1, min(250, steps // 10)),
        log_every=max(1, min(50, steps // 20)),
    )
    network = learning.FlowNetS(image_channels=synthesizer.model.channels, width=width)
    if restart:
        (folder / "source.json").unlink(missing_ok=True)
    claim_folder(folder, describe_synthesizer(synthesizer, model))
    learning.train(synthesizer, network=network, options=options, out=folder, resume=not restart, threads=threads)
    metrics = learning.read_card(folder)["metrics"]
    _draw_losses(folder, metrics["validation_epe_of_zero_flow"])
    out.print(
        f"end-point error on held-out pairs {metrics['validation_epe']:.2f} px, "
        f"without displacement {metrics['validation_epe_of_zero_flow']:.2f} px; the network is in {folder}/"
    )


def _draw_losses(folder: Path, baseline: float) -> None:
    """Draw the losses where matplotlib is installed; training does not need it."""
    try:
        from modelaug import plots
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        return
    plots.save_figure(plots.plot_losses(folder / "metrics.csv", baseline=baseline), folder / "losses.png")
