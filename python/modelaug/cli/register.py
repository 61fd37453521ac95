"""``modelaug register``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from typer import Argument, Option

from modelaug._checks import thread_count
from modelaug.cli._moved import FIELD_SUFFIXES, IMAGE_OUTPUTS
from modelaug.cli._options import Threads
from modelaug.cli._registered_folder import register_table
from modelaug.cli._registration import Job, Settings, choose_device, load_network, parse_grid, read_images, run_job
from modelaug.registration.correlation import AffineKind


def register(
    fixed: Annotated[Path | None, Argument(metavar="FIXED", help="Image that stays as it is.")] = None,
    moving: Annotated[Path | None, Argument(metavar="MOVING", help="Image to warp onto it.")] = None,
    *,
    network: Annotated[Path, Option("--network", help="Folder of `modelaug train`.")],
    target: Annotated[
        Path, Option("--out", "-o", help=f"Displacement: {', '.join(FIELD_SUFFIXES)}; with --pairs, a folder.")
    ],
    affine: Annotated[bool, Option("--affine", help="Register affinely first.")] = False,
    transform: Annotated[
        str | None,
        Option(help=f"Kind of --affine: {', '.join(get_args(AffineKind))}.", metavar="KIND", show_default="affine"),
    ] = None,
    passes: Annotated[int, Option(min=1, help="Times to apply the network, each to what is left.", metavar="N")] = 1,
    symmetric: Annotated[bool, Option("--symmetric", help="Register both ways, and average with the inverse.")] = False,
    grid: Annotated[
        str | None,
        Option(
            help="Shape the network sees, e.g. 128x128 or 96x96x96.",
            metavar="LENGTHS",
            show_default="that of its training",
        ),
    ] = None,
    refine: Annotated[bool, Option("--refine", help="Go on from the network's displacement without learning.")] = False,
    mask: Annotated[Path | None, Option(help="Weights 0 to 1 on the fixed image, for --affine and --refine.")] = None,
    labels: Annotated[Path | None, Option(help="Labels of the moving image: also write OUT_labels, warped.")] = None,
    fixed_labels: Annotated[Path | None, Option(help="Label map of the fixed image: to compare with --labels.")] = None,
    points: Annotated[
        Path | None, Option(help="Points of the fixed image: also write them moved, OUT_points, in the same format.")
    ] = None,
    warped: Annotated[
        Path | None,
        Option(help=f"Also write the moving image warped, its border continued: {', '.join(IMAGE_OUTPUTS)}."),
    ] = None,
    figure: Annotated[
        Path | None, Option(help="Also draw before and after, .png, .pdf or .svg; of volumes the plane in the middle.")
    ] = None,
    pairs: Annotated[
        Path | None,
        Option(
            help="Register all pairs of a table, .csv with the columns fixed, moving and, if need be, labels_fixed, "
            "labels_moving, points_fixed, mask and name, instead of FIXED and MOVING."
        ),
    ] = None,
    ending: Annotated[
        str | None,
        Option(
            "--format",
            help="Ending of the displacements of --pairs, as in --out.",
            metavar="SUFFIX",
            show_default=".nii.gz; .npz for .npy, .png, .jpg and .tif",
        ),
    ] = None,
    device: Annotated[
        str | None, Option(help="Where the network runs: cpu, cuda or cuda:N.", show_default="cuda if there is a GPU")
    ] = None,
    threads: Threads = None,
) -> None:
    """Register two images, or all pairs of a table, by a trained network; in the plane or in space.

    Images are .npy, .npz, .png, .jpg, .tif, .nii, .nii.gz, .mha, .nrrd or DICOM. Where both files say where their
    voxels lie, the images may have different grids. The displacement is in voxels and in array-axis order in .npz, in
    (x, y) pixels in .flo, and in millimetres for ITK, ANTs and Slicer in the other formats. It warps the moving image
    onto the fixed one, and moves points of the fixed image to the moving one.

    With --pairs, the folder gets a displacement per pair and results.csv. An interrupted run continues; options that
    change the result must stay the same.
    """
    import torch

    if transform is not None and not affine:
        raise ValueError(f"--transform is {transform!r} without --affine; pass both, or none")
    kind: Any = (transform or "affine") if affine else None
    settings = Settings(kind, passes, symmetric, parse_grid(grid), refine)
    torch_device = choose_device(device)
    torch.set_num_threads(thread_count(threads))
    if pairs is not None:
        files = {"FIXED": fixed, "MOVING": moving, "--labels": labels, "--fixed-labels": fixed_labels}
        files |= {"--points": points, "--mask": mask, "--warped": warped, "--figure": figure}
        single = next((name for name, file in files.items() if file is not None), None)
        if single is not None:
            raise ValueError(f"{single} is of one pair of images; leave it out, or name files in {pairs}")
        register_table(pairs, target, network, settings, ending, torch_device, threads)
        return
    if fixed is None or moving is None:
        raise ValueError("FIXED and MOVING are missing; pass two images, or a table of them by --pairs")
    if ending is not None:
        raise ValueError(f"--format is {ending!r} without --pairs; let the name of --out end in it")
    job = Job(fixed, moving, target, labels, fixed_labels, points, mask, warped, figure)
    job.check_names()
    settings.check_mask(mask is not None)
    if figure is not None:
        import modelaug.plots  # noqa: F401  # fail before the registration if matplotlib is missing
    images = read_images(job)
    net = load_network(network, settings.grid, torch_device)
    run_job(job, images, net, settings, threads).report(job)
