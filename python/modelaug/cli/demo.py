"""``modelaug demo``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from modelaug.cli._console import err, out, print_table
from modelaug.cli._options import Seed, Threads
from modelaug.demo import DemoOptions, run_demo


def demo(
    folder: Annotated[Path, Option("--out", "-o", help="Folder for the results.")] = Path("demo"),
    quick: Annotated[bool, Option("--quick", help="Seconds instead of minutes; learns nothing.")] = False,
    steps: Annotated[int | None, Option(min=1, help="Steps of training.", show_default="chosen")] = None,
    restart: Annotated[bool, Option("--restart", help="Remove the results of an earlier demo first.")] = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Run all steps on generated hearts and on generated volumes, a minute or two on two cores.

    Learns a model from a few subjects, trains a network on pairs drawn from it, registers held-out subjects, and leaves
    the models, the networks, a summary and pictures in a folder. An interrupted demo continues.
    """
    options = DemoOptions.quick(seed=seed) if quick else DemoOptions(seed=seed)
    if steps is not None:
        options = replace(options, plane=replace(options.plane, steps=steps), space=replace(options.space, steps=steps))
    summary = run_demo(folder, options, restart=restart, threads=threads, report=err.print)
    for name, part in (("hearts", summary), ("volumes", summary["space"])):
        _print_errors(name, part)
        change = part["landmark_error_reduction"]
        out.print(
            f"landmark error {abs(change):.0%} {'lower' if change >= 0 else 'higher'}; "
            f"{part['pairs_per_second']:.0f} pairs per second, {part['seconds_per_step']:.3f} s per step"
        )
    out.print(f"{summary['seconds']:.0f} s in all; models, networks, summary and pictures are in {folder}/")


def _print_errors(name: str, part: dict[str, Any]) -> None:
    methods = {"before": "before", "network": "after", "true landmarks": "true_landmarks"}
    columns = {"landmark_error": "landmark error (voxels)", "contour_distance": "contour distance (mm)"}
    found = [column for column in columns if f"{column}_after" in part]
    print_table(
        [(label, *(f"{part[f'{column}_{key}']:.2f}" for column in found)) for label, key in methods.items()],
        title=f"{part['registered_pairs']} pairs of held-out {name}",
        header=("", *(columns[column] for column in found)),
    )
