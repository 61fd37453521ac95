"""``modelaug pretrain``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from modelaug.baselines import MovingShapes
from modelaug.cli._console import SeedOption, ThreadsOption
from modelaug.cli._training import LearningRate, conclude, training_options
from modelaug.io.provenance import claim_folder

__all__ = ["pretrain"]


def pretrain(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the network.", show_default=False)],
    size: Annotated[int, typer.Option(min=16, help="Rows and columns of the images.", metavar="PIXELS")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 20000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs per step.")] = 8,
    width: Annotated[float, typer.Option(help="Width of the network; 1 is the published FlowNet-S.")] = 0.25,
    learning_rate: LearningRate = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of continuing.")] = False,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Train a FlowNet-S on generated shapes that move over a background, to begin with before any anatomy.

    No weights come with modelaug: those made here are a file of yours. The folder gets net.safetensors, net.json,
    metrics.csv and a picture of the losses. An interrupted run continues.
    """
    from modelaug import learning

    source = MovingShapes((size, size), seed=seed)
    options = training_options(steps, width, learning_rate, batch_size=batch_size, seed=seed)
    network = learning.FlowNetS(image_channels=source.options.channels, width=width)
    if restart:
        (folder / "source.json").unlink(missing_ok=True)
    about = {"shapes": list(source.grid), "seed": seed, "options": asdict(source.options)}
    claim_folder(folder, about)
    learning.train(
        source, network=network, options=options, out=folder, resume=not restart, threads=threads, about=about
    )
    conclude(folder)
