"""``modelaug train``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from modelaug import AppearanceModel, Cohort, PairSynthesizer
from modelaug.cli._options import Model, PairSettings, Seed, Threads, parse_pair_options, parse_settings
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
from modelaug.data.resampling import resize_cohort
from modelaug.io.files.provenance import file_digest
from modelaug.io.shards.writing import describe_synthesizer

if TYPE_CHECKING:
    from modelaug.learning import RegistrationNetwork


def train(
    model: Model,
    folder: Folder,
    steps: Annotated[int, Option(min=1, help="Steps of the optimizer.", metavar="N")] = 3000,
    batch_size: BatchSize = None,
    real: Annotated[
        Path | None,
        Option(
            help="Cohort of the training subjects: pairs of its images take part, by likeness, labels and smoothness.",
            metavar="COHORT",
            show_default="only pairs of the model",
        ),
    ] = None,
    kind: Kind = "PyramidNetwork",
    width: Width = None,
    weights: Annotated[
        str,
        Option(
            help="Begin with the weights of this network, a folder or file; 'shipped': those that come with modelaug, "
            "of a PyramidNetwork of the default width; 'none': random ones.",
            metavar="INIT",
            show_default="shipped, if they fit",
        ),
    ] = "",
    learning_rate: LearningRate = None,
    schedule: Annotated[str, Option(help="Course of the rate: cosine down to 0, or halvings.")] = "cosine",
    ema: Annotated[float, Option(help="Decay of the moving average of the weights; 0: no average.")] = 0.998,
    precision: Annotated[str, Option(help="32, bf16-mixed, or 16-mixed on a GPU.")] = "32",
    augment: Annotated[bool, Option(help="Move, turn, zoom and recolour the pairs at random.")] = False,
    settings: PairSettings = None,
    real_settings: Annotated[
        list[str] | None,
        Option(
            "--set-real",
            help="An option of the pairs of --real, e.g. pairs=2, overlap=5, smoothness=1, residual.amplitude=6 and "
            "residual.spacing=16, in mm, by which each image is deformed at random; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    loss_settings: Annotated[
        list[str] | None,
        Option(
            "--set-loss",
            help="An option of the loss of the model's pairs, e.g. overlap=1, of their labels, or folds=1.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    restart: Restart = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train a network on pairs drawn from a model as they are needed, in the plane or in space.

    The folder gets net.safetensors, net.json, metrics.csv and a picture of the losses. An interrupted run continues.

    Several GPUs or machines train together where torchrun starts the command, with --batch-size pairs each:
    torchrun --nproc-per-node 4 -m modelaug train MODEL -o FOLDER
    """
    from modelaug import learning
    from modelaug.learning.processes import is_first

    if real is None and real_settings:
        raise ValueError(f"--set-real {real_settings[0]} is passed without --real; pass the cohort too")
    synthesizer = PairSynthesizer(AppearanceModel.load(model), seed=seed, options=parse_pair_options(settings))
    grid, channels = synthesizer.model.grid, synthesizer.model.channels
    count = batch_size or default_batch(len(grid))
    network, weights_file = _initial_network(new_network(kind, grid, channels, width), weights)
    options = training_options(
        steps,
        learning_rate,
        batch_size=count,
        schedule=schedule,
        ema=ema or None,
        precision=precision,
        augment=learning.AugmentOptions(seed=seed) if augment else None,
        loss=parse_settings(learning.LossOptions, loss_settings, "--set-loss"),
        real=parse_settings(learning.RealOptions, real_settings, "--set-real", pairs=max(1, count // 2)),
        seed=seed if weights_file is None else None,
    )
    subjects = None if real is None else _load_real(real, grid)
    source = describe_synthesizer(synthesizer, model)
    if weights_file is not None:
        source["weights_sha256"] = file_digest(weights_file)
    with training_folder(folder, source, restart=restart) if is_first() else nullcontext():
        learning.train(
            synthesizer,
            network=network,
            options=options,
            out=folder,
            real=subjects,
            resume=not restart,
            threads=threads,
            about=source,
        )


def _load_real(path: Path, grid: tuple[int, ...]) -> Cohort:
    """Load the cohort whose images take part, and resample it to the model's grid."""
    cohort = Cohort.load(path)
    if len(cohort.grid) != len(grid):
        raise ValueError(f"--real {path} has images of {cohort.grid} and the model {grid}; pass what it was fitted to")
    return resize_cohort(cohort, grid)


def _initial_network(wanted: RegistrationNetwork, weights: str) -> tuple[RegistrationNetwork, Path | None]:
    """Return the initial network, and the file of its weights if they are not random.

    Raises
    ------
    ValueError
        If the weights belong to another architecture.
    """
    from modelaug.learning import adapt_channels, load_network, shipped_network
    from modelaug.learning.network import architecture_of
    from modelaug.learning.shipped import shipped_file
    from modelaug.learning.storage import weights_file

    if weights == "none":
        return wanted, None
    if weights in ("", "shipped"):
        network, file = shipped_network(wanted.ndim, image_channels=wanted.image_channels), shipped_file(wanted.ndim)
        if weights == "" and architecture_of(network) != architecture_of(wanted):
            return wanted, None
    else:
        network, file = load_network(weights), weights_file(weights)
        if network.image_channels != wanted.image_channels and 1 in (network.image_channels, wanted.image_channels):
            network = adapt_channels(network, wanted.image_channels)
    found, needed = architecture_of(network), architecture_of(wanted)
    for name in {**needed, **found}:
        if found.get(name) != needed.get(name):
            flag = {"name": "--network", "width": "--width"}.get(name)
            remedy = f"{flag} {found[name]}" if flag else "weights of the same architecture"
            raise ValueError(
                f"--weights is {weights}, a network of {name} {found.get(name)}, not {needed.get(name)}; pass {remedy}"
            )
    return network, file
