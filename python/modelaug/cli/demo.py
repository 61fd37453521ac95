"""``modelaug demo``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from modelaug.cli._console import SeedOption, ThreadsOption, err, out, print_table
from modelaug.demo import DemoOptions, run_demo

__all__ = ["demo"]


def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes; learns nothing.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.", show_default="chosen")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Remove the results of an earlier demo first.")] = False,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Run the whole chain on generated hearts, a few minutes on two cores.

    Learns a model from a few hearts, trains a small network on pairs drawn from it, registers held-out hearts, and
    leaves the model, the network, a summary and pictures in a folder. An interrupted demo continues.
    """
    options = DemoOptions.quick(seed=seed) if quick else DemoOptions(seed=seed)
    if steps is not None:
        options = replace(options, steps=steps)
    summary = run_demo(folder, options, restart=restart, threads=threads, report=err.print)
    _print_errors(summary)
    change = summary["landmark_error_reduction"]
    out.print(
        f"landmark error {abs(change):.0%} {'lower' if change >= 0 else 'higher'}; "
        f"{summary['pairs_per_second']:.0f} pairs per second, {summary['seconds_per_step']:.3f} s per step; "
        f"{summary['seconds']:.0f} s in all"
    )
    out.print(f"model, network, summary and pictures are in {folder}/")


def _print_errors(summary: dict[str, Any]) -> None:
    methods = {"before": "before", "network": "after", "true landmarks": "true_landmarks"}
    rows = [
        (label, f"{summary[f'landmark_error_{key}']:.2f}", f"{summary[f'contour_distance_{key}']:.2f}")
        for label, key in methods.items()
    ]
    print_table(
        rows,
        title=f"{summary['registered_pairs']} pairs of held-out hearts",
        header=("", "landmark error (px)", "contour distance (mm)"),
    )
