"""``modelaug sample``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from modelaug import AppearanceModel, PairOptions, PairSynthesizer
from modelaug.cli._console import SeedOption, ThreadsOption, out, progress
from modelaug.io.shards import describe_synthesizer, write_shards

__all__ = ["sample"]

_SHOWN = 8


def sample(
    model: Annotated[Path, typer.Argument(help="Model of `modelaug fit`.", show_default=False)],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of pairs.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pairs.", show_default=False)],
    shard_size: Annotated[int, typer.Option(min=1, help="Pairs per file.")] = 64,
    texture: Annotated[str, typer.Option(help="Textures of a pair: independent or shared.")] = "independent",
    pose: Annotated[str, typer.Option(help="Poses of the images: cohort or none.")] = "cohort",
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the first pairs, .png or .pdf.", show_default=False)
    ] = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Write pairs with their flow to files; pair i depends on model, seed and i only.

    A run on a folder that holds pairs of the same model, seed and options adds what is missing.
    """
    options = PairOptions(texture=texture, pose=pose)  # type: ignore[arg-type]  # checked there
    synthesizer = PairSynthesizer(AppearanceModel.load(model), seed=seed, options=options)
    started = time.perf_counter()
    with progress("drawing pairs") as report:
        manifest = write_shards(
            synthesizer,
            count,
            folder,
            shard_size=shard_size,
            identity=describe_synthesizer(synthesizer, model),
            threads=threads,
            progress=report,
        )
    grid = " x ".join(map(str, synthesizer.model.grid))
    out.print(f"{count} pairs of {grid} are in {manifest.parent}/, {time.perf_counter() - started:.1f} s")
    if figure is not None:
        from modelaug import plots

        pairs = [synthesizer.draw(i) for i in range(min(count, _SHOWN))]
        plots.save_figure(plots.plot_pairs(pairs, objects=synthesizer.model.objects), figure)
        out.print(f"the first {len(pairs)} are drawn in {figure}")
