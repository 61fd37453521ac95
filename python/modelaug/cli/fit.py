"""``modelaug fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from typer import Option

from modelaug import AppearanceModel, Cohort, ShapeOptions, TextureOptions
from modelaug.cli._console import err, grid_text, output_file, print_table, progress
from modelaug.cli._options import CohortFile, Threads, words

_CLOSE: Final = 1.0  # pixels by which a map may miss a landmark without a warning


def fit(
    cohort: CohortFile,
    model: Annotated[Path, Option("--out", "-o", help="Where to write the model, .npz.")],
    subjects: Annotated[
        str | None, Option(help="Subjects to learn from, e.g. 0:20 or 0,2,5:9.", metavar="LIST", show_default="all")
    ] = None,
    levels: Annotated[int, Option(help="Levels of locality of shapes; 1: principal components.")] = ShapeOptions.levels,
    taper: Annotated[str, Option(help=f"How correlations end: {words(ShapeOptions, 'taper')}.")] = ShapeOptions.taper,
    coverage: Annotated[float, Option(help="Share of the shapes' variance kept.")] = ShapeOptions.coverage,
    transform: Annotated[
        str, Option(help=f"What the alignment removes: {words(ShapeOptions, 'transform')}.")
    ] = ShapeOptions.transform,
    engine: Annotated[str, Option(help=f"Texture engine: {words(TextureOptions, 'engine')}.")] = TextureOptions.engine,
    texture_levels: Annotated[int, Option(help="Levels of locality of textures.")] = TextureOptions.levels,
    texture_coverage: Annotated[float, Option(help="Share of the textures' variance kept.")] = TextureOptions.coverage,
    threads: Threads = None,
) -> None:
    """Learn a shape and appearance model from a cohort."""
    output_file(model, ".npz")
    # The options check their values themselves.
    shape = ShapeOptions(levels=levels, taper=taper, coverage=coverage, transform=transform)  # type: ignore[arg-type]
    texture = TextureOptions(engine=engine, levels=texture_levels, coverage=texture_coverage)  # type: ignore[arg-type]
    loaded = Cohort.load(cohort)
    chosen = loaded if subjects is None else loaded.subset(parse_indices(subjects, len(loaded)))
    with progress("normalizing images") as report:
        fitted = AppearanceModel.fit(chosen, shape=shape, texture=texture, threads=threads, progress=report)
    fitted.save(model)
    for name, residual in zip(chosen.names, fitted.provenance["normalization_residuals"], strict=True):
        if residual > _CLOSE:
            err.print(
                f"subject {name!r}: the map to the mean shape misses a landmark by {residual:.1f} px; are its "
                "landmarks in order, and none where others are?"
            )
    print_table(
        {
            "subjects": len(chosen),
            "grid": grid_text(chosen.grid),
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
    """Parse a list of indices from 0 to n - 1 such as ``0,2,5:9``."""
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
