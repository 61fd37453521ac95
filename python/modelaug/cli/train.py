"""``modelaug train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelaug import AppearanceModel, PairSynthesizer
from modelaug.cli._console import SeedOption, ThreadsOption
from modelaug.cli._options import PairSettings, parse_pair_options
from modelaug.cli._training import LearningRate, conclude, training_options
from modelaug.io.provenance import claim_folder, file_digest
from modelaug.io.shards import describe_synthesizer

if TYPE_CHECKING:
    from modelaug.learning import FlowNetS

__all__ = ["train"]


def train(
    model: Annotated[Path, typer.Argument(help="Model of `modelaug fit`.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the network.", show_default=False)],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 5000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs per step.")] = 8,
    width: Annotated[float, typer.Option(help="Width of the network; 1 is the published FlowNet-S.")] = 0.25,
    learning_rate: LearningRate = None,
    schedule: Annotated[str, typer.Option(help="Course of the rate: cosine down to 0, or halvings.")] = "cosine",
    ema: Annotated[float, typer.Option(help="Decay of the moving average of the weights; 0: no average.")] = 0.998,
    precision: Annotated[str, typer.Option(help="32, bf16-mixed, or 16-mixed on a GPU.")] = "32",
    augment: Annotated[bool, typer.Option(help="Move, turn, zoom and recolour the pairs at random.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Begin with this network's weights, a folder or file.", metavar="INIT", show_default="random"
        ),
    ] = None,
    settings: PairSettings = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of continuing.")] = False,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Train a FlowNet-S on pairs drawn from a model as they are needed.

    The folder gets net.safetensors, net.json, metrics.csv and a picture of the losses. An interrupted run continues.

    Several GPUs or machines train together where torchrun starts the command, with --batch-size pairs each:
    torchrun --nproc-per-node 4 -m modelaug train MODEL -o FOLDER
    """
    from modelaug import learning
    from modelaug.learning.processes import is_first
    from modelaug.learning.storage import weights_file

    synthesizer = PairSynthesizer(AppearanceModel.load(model), seed=seed, options=parse_pair_options(settings))
    options = training_options(
        steps,
        width,
        learning_rate,
        batch_size=batch_size,
        schedule=schedule,
        ema=ema or None,
        precision=precision,
        augment=learning.AugmentOptions(seed=seed) if augment else None,
        seed=seed if weights is None else None,
    )
    network = learning.FlowNetS(image_channels=synthesizer.model.channels, width=width)
    source = describe_synthesizer(synthesizer, model)
    if weights is not None:
        network = _begin_with(weights, network)
        source["weights_sha256"] = file_digest(weights_file(weights))
    if is_first():
        if restart:
            (folder / "source.json").unlink(missing_ok=True)
        claim_folder(folder, source)
    learning.train(
        synthesizer, network=network, options=options, out=folder, resume=not restart, threads=threads, about=source
    )
    if is_first():
        conclude(folder)


def _begin_with(weights: Path, wanted: FlowNetS) -> FlowNetS:
    """Read the network to begin with, or raise ValueError if it is of another architecture."""
    from modelaug.learning import load_network

    network = load_network(weights)
    for name, value in wanted.architecture.items():
        found = network.architecture[name]
        if found != value:
            remedy = f"--width {found:g}" if name == "width" else "weights of the same architecture"
            raise ValueError(f"--weights is {weights}, a network of {name} {found}, not {value}; pass {remedy}")
    return network
