"""``modelaug pretrain``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from typer import Option

from modelaug.baselines import MovingShapes
from modelaug.cli._options import Seed, Threads
from modelaug.cli._training import (
    BatchSize,
    Folder,
    Kind,
    LearningRate,
    Restart,
    Width,
    default_batch,
    new_network,
    training_folder,
    training_options,
)


def pretrain(
    folder: Folder,
    ndim: Annotated[int, Option(min=2, max=3, help="Axes of the images: 2, or 3 for volumes.")] = 2,
    size: Annotated[
        int | None,
        Option(
            min=16, help="Voxels of the images along every axis.", metavar="VOXELS", show_default="128, in space 48"
        ),
    ] = None,
    steps: Annotated[int, Option(min=1, help="Steps of the optimizer.", metavar="N")] = 20000,
    batch_size: BatchSize = None,
    kind: Kind = "PyramidNetwork",
    width: Width = None,
    learning_rate: LearningRate = None,
    restart: Restart = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train a network on generated shapes that move over a background, as initial weights for any anatomy.

    Weights of a PyramidNetwork made in this way come with modelaug; this is for other networks, or longer trainings.
    The folder gets net.safetensors, net.json, metrics.csv and a picture of the losses. An interrupted run continues.
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
