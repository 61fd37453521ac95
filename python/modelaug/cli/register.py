"""``modelaug register``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from modelaug._checks import choice, thread_count
from modelaug.cli._console import ThreadsOption
from modelaug.cli._moved import FIELD_SUFFIXES
from modelaug.cli._pairs_file import read_pairs
from modelaug.cli._registered_folder import register_folder
from modelaug.cli._registration import (
    TRANSFORMS,
    Job,
    Settings,
    carry_out,
    choose_device,
    load_network,
    parse_grid,
    read_images,
)
from modelaug.io.files.provenance import file_digest

if TYPE_CHECKING:
    import torch

    from modelaug.registration.correlation import AffineKind

__all__ = ["register"]


def register(
    fixed: Annotated[
        Path | None, typer.Argument(metavar="FIXED", help="Image that stays as it is.", show_default=False)
    ] = None,
    moving: Annotated[
        Path | None, typer.Argument(metavar="MOVING", help="Image to be pulled onto it.", show_default=False)
    ] = None,
    *,
    network: Annotated[Path, typer.Option("--network", help="Folder of `modelaug train`.", show_default=False)],
    target: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Displacement: .npz, .flo, .nii, .nii.gz, .mha or .nrrd; with --pairs, a folder.",
            show_default=False,
        ),
    ],
    affine: Annotated[bool, typer.Option("--affine", help="Register affinely first.")] = False,
    transform: Annotated[
        str | None,
        typer.Option(help=f"Kind of --affine: {', '.join(TRANSFORMS)}.", metavar="KIND", show_default="affine"),
    ] = None,
    passes: Annotated[
        int, typer.Option(min=1, help="Apply the network so often, each time to what is left.", metavar="N")
    ] = 1,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="Register both ways and take the mean with the inverse.")
    ] = False,
    grid: Annotated[
        str | None,
        typer.Option(
            help="Shape at which the network sees the images, e.g. 128x128 or 96x96x96.",
            metavar="LENGTHS",
            show_default="that of its training",
        ),
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Go on from the network's displacement without learning.")
    ] = False,
    mask: Annotated[
        Path | None,
        typer.Option(help="Weights from 0 to 1 on the fixed image, for --affine and --refine.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Label map of the moving image: also write it moved, OUT_labels.", show_default=False),
    ] = None,
    fixed_labels: Annotated[
        Path | None,
        typer.Option(help="Label map of the fixed image: to compare with --labels.", show_default=False),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(
            help="Points of the fixed image: also write where they are in the moving image, OUT_points, in the same "
            "format.",
            show_default=False,
        ),
    ] = None,
    warped: Annotated[
        Path | None,
        typer.Option(
            help="Also write the moving image warped: .npy, .png, .jpg, .nii, .nii.gz, .mha or .nrrd. Beyond it its "
            "border continues.",
            show_default=False,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Also draw before and after, .png, .pdf or .svg; of volumes the plane in the middle.",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Register all pairs of a table, .csv with the columns fixed, moving and, if need be, labels_fixed, "
            "labels_moving, points_fixed, mask and name, instead of FIXED and MOVING.",
            show_default=False,
        ),
    ] = None,
    ending: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of the displacements of --pairs, an ending as of --out.",
            metavar="SUFFIX",
            show_default=".nii.gz; .npz for .npy, .png, .jpg and .tif",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where the network runs: cpu, cuda or cuda:N.", show_default="cuda if there is a GPU"),
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Register two images, or all pairs of a table, by a trained network; in the plane or in space.

    Images are .npy, .npz, .png, .jpg, .tif, .nii, .nii.gz, .mha, .nrrd or DICOM. Where both files say where their
    voxels lie, the images may have different grids. The displacement is in voxels and in array-axis order in .npz, in
    (x, y) pixels in .flo, and in millimetres for ITK, ANTs and Slicer in the other formats. It pulls the moving image
    onto the fixed one, and leads points of the fixed image to the moving one.

    With --pairs, the folder gets a displacement per pair and results.csv. An interrupted run continues; options that
    change the result must stay the same.
    """
    import torch

    settings = Settings(_kind(affine, transform), passes, symmetric, parse_grid(grid), refine)
    place = choose_device(device)
    torch.set_num_threads(thread_count(threads))
    if pairs is not None:
        for name, value in {
            "FIXED": fixed,
            "MOVING": moving,
            "--labels": labels,
            "--fixed-labels": fixed_labels,
            "--points": points,
            "--mask": mask,
            "--warped": warped,
            "--figure": figure,
        }.items():
            if value is not None:
                raise ValueError(f"{name} is of one pair of images; leave it out, or name files in {pairs}")
        _register_all(pairs, target, network, settings, ending, place, threads)
        return
    if fixed is None or moving is None:
        raise ValueError("FIXED and MOVING are missing; pass two images, or a table of them by --pairs")
    if ending is not None:
        raise ValueError(f"--format is {ending!r} without --pairs; let the name of --out end in it")
    job = Job(fixed, moving, target, labels, fixed_labels, points, mask, warped, figure)
    job.check_names()
    _check_mask(mask is not None, settings)
    if figure is not None:
        import modelaug.plots  # noqa: F401  # its absence is told before anything is done
    images = read_images(job)
    outcome = carry_out(job, images, load_network(network, settings, place), settings, threads)
    outcome.tell(job)


def _kind(affine: bool, transform: str | None) -> AffineKind | None:
    """Return the kind of affine registration that is asked for, if any."""
    if transform is not None and not affine:
        raise ValueError(f"--transform is {transform!r} without --affine; pass both, or none")
    kind = choice("--transform", transform or "affine", TRANSFORMS)
    return cast("AffineKind", kind) if affine else None


def _check_mask(given: bool, settings: Settings) -> None:
    if given and settings.transform is None and not settings.refine:
        raise ValueError("a mask has no use without --affine or --refine; pass one of these, or leave it out")


def _register_all(
    table: Path,
    folder: Path,
    network: Path,
    settings: Settings,
    ending: str | None,
    device: torch.device,
    threads: int | None,
) -> None:
    """Register the pairs of a table, those that are not finished."""
    from modelaug.learning.storage import weights_file

    if ending is not None:
        choice("--format", ending, FIELD_SUFFIXES)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; with --pairs, pass a folder for the results")
    rows = read_pairs(table, folder, ending)
    _check_mask(any(row.job.mask is not None for row in rows), settings)
    net = load_network(network, settings, device)
    if net.ndim == 3 and ending == ".flo":
        raise ValueError("--format is '.flo', which holds fields in the plane only; pass .nii.gz or .npz")
    digest = file_digest(weights_file(network))
    source = {"of": "register", "network_sha256": digest, **settings.as_json(), "format": ending}
    register_folder(rows, folder, source, net, settings, threads)
