"""``modelaug pretrain``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from modelaug.baselines import MovingShapes
from modelaug.cli._console import SeedOption, ThreadsOption
from modelaug.cli._training import conclude
from modelaug.io.provenance import claim_folder

__all__ = ["pretrain"]


def pretrain(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the network.", show_default=False)],
    size: Annotated[int, typer.Option(min=16, help="Rows and columns of the images.", metavar="PIXELS")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 20000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs per step.")] = 8,
    width: Annotated[float, typer.Option(help="Width of the network; 1 is the published FlowNet-S.")] = 0.25,
    learning_rate: Annotated[float, typer.Option(help="Rate of Adam at the beginning.")] = 5e-4,
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
    options = learning.TrainOptions(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        validate_every=max(1, min(500, steps // 10)),
        checkpoint_every=max(1, min(250, steps // 10)),
        log_every=max(1, min(50, steps // 20)),
    )
    network = learning.FlowNetS(image_channels=source.options.channels, width=width)
    if restart:
        (folder / "source.json").unlink(missing_ok=True)
    claim_folder(folder, {"shapes": list(source.grid), "seed": seed, "options": asdict(source.options)})
    learning.train(source, network=network, options=options, out=folder, resume=not restart, threads=threads)
    conclude(folder)
