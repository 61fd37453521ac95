"""``modelaug fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from modelaug import AppearanceModel, Cohort, ShapeOptions, TextureOptions
from modelaug.cli._console import ThreadsOption, output_file, print_table, progress

__all__ = ["fit"]


def fit(
    cohort: Annotated[Path, typer.Argument(help="Images with landmarks, .npz.", show_default=False)],
    model: Annotated[Path, typer.Option("--out", "-o", help="Where to write the model, .npz.", show_default=False)],
    subjects: Annotated[
        str | None,
        typer.Option(help="Subjects to learn from, e.g. 0:20 or 0,2,5:9.", metavar="LIST", show_default="all"),
    ] = None,
    coverage: Annotated[float, typer.Option(help="Share of the shapes' variance to keep.")] = 0.95,
    texture_coverage: Annotated[float, typer.Option(help="Share of the textures' variance to keep.")] = 0.95,
    transform: Annotated[
        str, typer.Option(help="What the alignment takes away: similarity, rigid, translation or none.")
    ] = "similarity",
    threads: ThreadsOption = None,
) -> None:
    """Learn a shape and appearance model from a cohort."""
    output_file(model, ".npz")
    shape = ShapeOptions(coverage=coverage, transform=transform)  # type: ignore[arg-type]  # checked there
    texture = TextureOptions(coverage=texture_coverage)
    loaded = Cohort.load(cohort)
    chosen = loaded if subjects is None else loaded.subset(parse_indices(subjects, len(loaded)))
    with progress("normalizing images") as report:
        fitted = AppearanceModel.fit(chosen, shape=shape, texture=texture, threads=threads, progress=report)
    fitted.save(model)
    print_table(
        {
            "subjects": len(chosen),
            "grid": " x ".join(map(str, chosen.grid)),
            "landmarks": fitted.reference.shape[0],
            "objects": ", ".join(each.name for each in chosen.objects),
            "shape modes": _modes(fitted, "shape"),
            "texture modes": _modes(fitted, "texture"),
            "largest normalization residual": f"{max(fitted.provenance['normalization_residuals']):.3f} px",
        },
        title=str(model),
    )


def _modes(model: AppearanceModel, part: Literal["shape", "texture"]) -> str:
    kept = model.provenance["variance_kept"][part]
    return f"{len(getattr(model, part).variances)}, {kept:.1%} of the variance"


def parse_indices(text: str, n: int) -> list[int]:
    """Return the numbers that a list such as ``0,2,5:9`` names, out of 0 to n - 1.

    Raises
    ------
    ValueError
        If it is no such list or names a number that is out of range.
    """
    indices: list[int] = []
    for part in text.split(","):
        try:
            ends = [int(end) if end.strip() else None for end in part.split(":")]
        except ValueError:
            ends = []
        if len(ends) == 1 and ends[0] is not None:
            indices.append(ends[0])
        elif len(ends) == 2:
            indices.extend(range(ends[0] or 0, n if ends[1] is None else ends[1]))
        else:
            raise ValueError(f"subjects is {text!r}; pass a list such as 0:20 or 0,2,5:9")
    outside = [i for i in indices if not 0 <= i < n]
    if outside or not indices:
        wrong = f"names {outside[0]}" if outside else "names none"
        raise ValueError(f"subjects is {text!r}, which {wrong}; the cohort has 0 to {n - 1}")
    return indices
