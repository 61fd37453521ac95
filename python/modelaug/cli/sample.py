"""``modelaug sample``."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from modelaug import AppearanceModel, PairSynthesizer
from modelaug.cli._console import grid_text, out, progress
from modelaug.cli._options import Model, PairSettings, Scheduler, Seed, Threads, parse_pair_options
from modelaug.io.shards.manifests import read_manifest
from modelaug.io.shards.writing import describe_synthesizer, write_shards

_SHOWN = 8


def sample(
    model: Model,
    count: Annotated[int, Option("--count", "-n", min=1, help="Number of pairs.")],
    folder: Annotated[Path, Option("--out", "-o", help="Folder for the pairs.")],
    shard_size: Annotated[int, Option(min=1, help="Pairs per shard.")] = 64,
    format: Annotated[
        str, Option(help="npz: an archive per shard; tar: for WebDataset; chairs: .ppm and .flo, for FlowNet code.")
    ] = "npz",
    shard: Annotated[
        str, Option(help="Write the k-th of K parts of the shards only, on any machine of a kind.", metavar="k/K")
    ] = "1/1",
    scheduler: Scheduler = None,
    settings: PairSettings = None,
    figure: Annotated[Path | None, Option(help="Also draw the first pairs, .png or .pdf.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Write pairs with their flow to files; pair i depends on model, seed and i only.

    A run on a folder that holds pairs of the same model, seed and options adds what is missing.
    """
    part = parse_part(shard)
    synthesizer = PairSynthesizer(AppearanceModel.load(model), seed=seed, options=parse_pair_options(settings))
    arguments: dict[str, Any] = {"shard_size": shard_size, "format": format, "part": part}
    started = time.perf_counter()
    with progress("drawing pairs") as report:
        if scheduler is None:
            identity = describe_synthesizer(synthesizer, model)
            manifest = write_shards(
                synthesizer, count, folder, **arguments, identity=identity, threads=threads, progress=report
            )
        else:
            from modelaug.io.shards.distributed import write_shards_remotely

            manifest = write_shards_remotely(scheduler, synthesizer, model, count, folder, **arguments, progress=report)
    written = sum(each["count"] for each in read_manifest(manifest)["shards"])
    which = "" if part == (1, 1) else f", part {shard} of {count},"
    grid = grid_text(synthesizer.model.grid)
    out.print(f"{written} pairs of {grid}{which} are in {folder}/, {time.perf_counter() - started:.1f} s")
    if figure is not None:
        from modelaug import plots

        pairs = [synthesizer.draw(i) for i in range(min(count, _SHOWN))]
        plots.save_figure(plots.plot_pairs(pairs, objects=synthesizer.model.objects), figure)
        out.print(f"the first {len(pairs)} are drawn in {figure}")


def parse_part(text: str) -> tuple[int, int]:
    """Return (k, K) of ``"k/K"``, or raise ValueError."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"shard is {text!r}; pass k/K, the k-th of K parts, such as 1/4 or 4/4")
    return int(match[1]), int(match[2])
