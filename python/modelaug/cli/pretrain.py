"""``modelaug pretrain``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from modelaug.baselines import MovingShapes
from modelaug.cli._console import SeedOption, ThreadsOption
from modelaug.cli._training import (
    BatchSize,
    Kind,
    LearningRate,
    Width,
    default_batch,
    new_network,
    training_folder,
    training_options,
)

__all__ = ["pretrain"]


def pretrain(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the network.", show_default=False)],
    ndim: Annotated[int, typer.Option(min=2, max=3, help="Axes of the images: 2, or 3 for volumes.")] = 2,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, help="Voxels of the images along every axis.", metavar="VOXELS", show_default="128, in space 48"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 20000,
    batch_size: BatchSize = None,
    kind: Kind = "PyramidNetwork",
    width: Width = None,
    learning_rate: LearningRate = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of continuing.")] = False,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Train a network on generated shapes that move over a background, to begin with before any anatomy.

    Weights of a PyramidNetwork made in this way come with modelaug; this is for other networks, or for longer. The
    folder gets net.safetensors, net.json, metrics.csv and a picture of the losses. An interrupted run continues.
    """
    from modelaug import learning

    length = size or (128 if ndim == 2 else 48)
    source = MovingShapes((length,) * ndim, seed=seed)
    options = training_options(steps, learning_rate, batch_size=batch_size or default_batch(ndim), seed=seed)
    network = new_network(kind, source.grid, source.options.channels, width)
    about = {"shapes": list(source.grid), "seed": seed, "options": asdict(source.options)}
    with training_folder(folder, about, restart=restart):
        learning.train(
            source, network=network, options=options, out=folder, resume=not restart, threads=threads, about=about
        )
