"""``modelaug compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from modelaug import Cohort
from modelaug.cli._console import out, print_table
from modelaug.cli._options import CohortFile, Scheduler, Seed, Threads


def compare(
    cohort: CohortFile,
    folder: Annotated[Path, Option("--out", "-o", help="Folder for the comparison.")],
    methods: Annotated[
        str | None,
        Option(
            help="Rows of the table, separated by semicolons; 'all' adds SyN, label-driven training and ablations.",
            show_default="those of the paper",
            metavar="NAME;NAME",
        ),
    ] = None,
    folds: Annotated[int, Option(min=2, help="Parts into which the subjects are split.")] = 5,
    preset: Annotated[
        str, Option(help="tiny: shows that it works; small: for two cores; full: the paper's, for a GPU.")
    ] = "small",
    metric: Annotated[
        str | None,
        Option(
            help="jaccard: overlap of the labels; contour_distance: between the landmark objects, in mm.",
            show_default="jaccard if there are labels",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        Option(help="Labels to score.", metavar="ID,ID", show_default="those that nearly all training subjects have"),
    ] = None,
    name: Annotated[str | None, Option(help="Name of the cohort in the table.", show_default="the file's name")] = None,
    weights: Annotated[
        Path | None, Option(help="Folder of `modelaug pretrain --network FlowNetS`, instead of pre-training here.")
    ] = None,
    scheduler: Scheduler = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Compare ways to register a cohort's images by cross-validation: the paper's table, for your own images.

    Networks trained on pairs of the model, on random deformations and on registered pairs, and the classical method
    itself register every ordered pair of each fold's subjects, by what was learned from all others. The folder gets
    table.json, table.md and report.html. An interrupted run continues; more methods may be added later.
    """
    from modelaug.comparison import ABLATIONS, METHODS, CompareOptions, compare, preset_options

    subjects = Cohort.load(cohort)
    options = CompareOptions(
        methods=_methods(methods, METHODS, ABLATIONS),
        folds=folds,
        metric=metric or ("jaccard" if subjects.labels is not None else "contour_distance"),  # type: ignore[arg-type]
        labels=None if labels is None else tuple(_integer(each) for each in labels.split(",")),
        network=preset_options(preset),
        seed=seed,
    )
    name = name or cohort.stem
    table = compare(subjects, folder, name=name, options=options, weights=weights, scheduler=scheduler, threads=threads)
    rows = [(row, f"{of['mean']:.3f}", f"{of['std']:.3f}", str(of["n"])) for row, of in table["methods"].items()]
    print_table(rows, title=f"{table['cohort']}: {table['metric']}", header=("method", "mean", "std", "pairs"))
    out.print(f"the table, its tests and pictures are in {folder / 'report.html'}")


def _methods(text: str | None, paper: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        return paper
    return (*paper, *others) if text == "all" else tuple(each.strip() for each in text.split(";"))


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"labels holds {text!r}; pass integers separated by commas") from None
