"""``modelaug landmarks``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from typer import Argument, Option

from modelaug import ModelFileError
from modelaug.cli._console import err, output_file, print_table
from modelaug.cli._moved import FIGURE_SUFFIXES
from modelaug.correspondence import RECIPES, Recipe, generic_recipe, landmarks_from_labels, read_recipe
from modelaug.data.cohort import subject_names
from modelaug.data.scans import Scan, check_common_grid, cohort_from_scans
from modelaug.io import Geometry, read_scans
from modelaug.io.cohorts.cohorts import parse_preparation
from modelaug.io.files.arrays import open_archive
from modelaug.io.files.reading import refusing
from modelaug.io.tables import Table, read_rows, to_numbers

_COLUMNS = ("subject", "point", "row", "column")


def landmarks(
    scans: Annotated[Path, Argument(help="Images with label maps: a folder, its cohort.toml, or .npz.")],
    cohort: Annotated[Path, Option("--out", "-o", help="Where to write the cohort, .npz.")],
    recipe: Annotated[
        str, Option(help="hearts, brains, generic (any label maps), or a recipe's .toml file.", metavar="NAME|FILE")
    ] = "generic",
    points: Annotated[
        Path | None,
        Option(help="Your own anchors: .csv with the columns subject, point, row, column.", show_default="none"),
    ] = None,
    skip: Annotated[bool, Option("--skip", help="Leave subjects out in which something is missing.")] = False,
    figure: Annotated[
        Path | None, Option(help="Where to draw images and landmarks, .png, .pdf or .svg.", show_default="nowhere")
    ] = None,
) -> None:
    """Place landmarks in correspondence on label maps, for fit."""
    output_file(cohort, ".npz")
    if figure is not None:
        output_file(figure, *FIGURE_SUFFIXES)
    given = _read_labelled(scans)
    if len(given[0].grid) == 3:
        raise ValueError(
            f"{scans} holds volumes, but landmarks are placed on planes; take one by slice_axis = 0 and slice_at = 0.5 "
            "under [preparation] in its cohort.toml, or bring landmarks of your own"
        )
    labels = np.stack([each.labels for each in given if each.labels is not None])
    spacing, names = given[0].geometry.spacing, [each.name for each in given]
    chosen, remarks = _recipe(recipe, labels, spacing, names, skip=skip)
    anchors = None if points is None else read_points(points, names)
    found = landmarks_from_labels(labels, chosen, spacing=spacing, names=names, points=anchors, skip=skip)
    step = {"step": "landmarks", "recipe": recipe}
    made = cohort_from_scans(
        [given[i].after(step, landmarks=placed) for i, placed in zip(found.subjects, found.landmarks, strict=True)],
        objects=found.objects,
    )
    made.save(cohort)
    if figure is not None:
        from modelaug.plots import plot_cohort, save_figure

        save_figure(plot_cohort(made), figure)
    ends = set(found.anchors.tolist())
    rows = [
        (each.name, each.kind, str(len(each.indices)), " ".join(str(i) for i in each.indices if i in ends))
        for each in found.objects
    ]
    print_table(rows, title=f"{cohort}: {len(made)} subjects", header=("", "kind", "landmarks", "anchors"))
    for line in (*remarks, *found.warnings):
        err.print(line)


def _read_labelled(path: Path) -> list[Scan]:
    """Read the scans of a folder, a ``cohort.toml`` or an ``.npz`` with images and labels, all on one grid."""
    scans = _read_archive(path) if path.suffix.lower() == ".npz" else read_scans(path)
    for scan in scans:
        if scan.labels is None:
            raise ValueError(f"subject {scan.name!r} of {path} has no label map; add a file, see docs/files.md")
        check_common_grid(scan, scans[0])
    return scans


def _read_archive(path: Path) -> list[Scan]:
    with open_archive(path) as archive, refusing(path, "holds no images with label maps", "pass another file"):
        archive.require("images", "labels")
        known = [name for name in ("images", "labels", "names", "spacing", "preparation") if name in archive.headers]
        most = 3 * archive.headers["images"].size
        arrays = {name: archive.read(name, most=most, text=True) for name in known}
        images, labels = arrays["images"], arrays["labels"]
        n = len(np.atleast_1d(labels))
        names = subject_names(arrays["names"].ravel() if "names" in arrays else None, n)
        if len(np.atleast_1d(images)) != n:
            raise ValueError(
                f"images holds {len(np.atleast_1d(images))} subjects but labels {n}; write one of each per subject"
            )
        steps = parse_preparation(str(arrays["preparation"]), path) if "preparation" in arrays else {}
        geometry = Geometry(arrays.get("spacing", np.ones(labels.ndim - 1)))
        return [
            Scan(name, images[i], geometry=geometry, labels=labels[i], steps=steps.get(name, ()))
            for i, name in enumerate(names)
        ]


def read_points(path: Path, names: Sequence[str]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Read points (n, 2) in voxels of all subjects, by the points' names, from a table with a line per point.

    Raises
    ------
    ModelFileError
        If the file is not such a table, or a subject lacks a point that another has.
    """
    try:
        table = read_rows(path, lambda table: set(_COLUMNS) <= set(_titles(table)))
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be read ({error}); write a table with {', '.join(_COLUMNS)}") from None
    titles = _titles(table)
    found: dict[str, dict[str, list[float]]] = {}
    for number, row in enumerate(table.rows[1:], start=2):
        cells = dict(zip(titles, map(str.strip, row), strict=False))
        if not set(_COLUMNS) <= set(cells):
            raise ModelFileError(
                f"line {number} of {path} has no {', '.join(_COLUMNS)}; name the columns in the first line"
            )
        subject, point, *place = (cells[name] for name in _COLUMNS)
        if subject in found.setdefault(point, {}):
            raise ModelFileError(f"{path} has the point {point!r} of subject {subject!r} twice; remove one")
        (found[point][subject],) = to_numbers(path, table, [place])
    for point, places in found.items():
        lacking = next((name for name in names if name not in places), None)
        if lacking is not None:
            raise ModelFileError(f"{path} lacks the point {point!r} of subject {lacking!r}; add it")
    return {point: np.array([places[name] for name in names]) for point, places in found.items()}


def _titles(table: Table) -> list[str]:
    return [cell.strip().lower() for cell in table.rows[0]] if table.rows else []


def _recipe(
    name: str, labels: npt.NDArray[Any], spacing: npt.NDArray[Any], subjects: Sequence[str], *, skip: bool
) -> tuple[Recipe, list[str]]:
    if name == "generic":
        return generic_recipe(labels, spacing=spacing, names=subjects, skip=skip)
    if name in RECIPES:
        return RECIPES[name](), []
    if not name.endswith(".toml"):
        raise ValueError(f"recipe is {name!r}; pass {', '.join(RECIPES)}, generic, or a file that ends in .toml")
    return read_recipe(name), []
