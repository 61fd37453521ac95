"""``modelaug register``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from modelaug import io, jacobian_determinant, warp
from modelaug._checks import thread_count
from modelaug.cli._console import ThreadsOption, out, output_file
from modelaug.io.fields import field_of_volume
from modelaug.io.geometry import ITK_SUFFIXES, in_plane, is_single_plane
from modelaug.io.images import PICTURE_SUFFIXES

__all__ = ["register"]


def register(
    fixed: Annotated[Path, typer.Argument(help="Image that stays as it is.", show_default=False)],
    moving: Annotated[Path, typer.Argument(help="Image to be pulled onto it.", show_default=False)],
    network: Annotated[Path, typer.Option("--network", help="Folder of `modelaug train`.", show_default=False)],
    flow: Annotated[
        Path,
        typer.Option("--out", "-o", help="Displacement: .npz, .flo, .nii, .nii.gz, .mha or .nrrd.", show_default=False),
    ],
    warped: Annotated[
        Path | None,
        typer.Option(help="Also write the moving image warped: .npy, .png or as above.", show_default=False),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw before and after, .png or .pdf.", show_default=False)
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Register two 2D images by a trained network.

    Images are .npy, .npz, .png, .jpg, .nii, .nii.gz, .mha or .nrrd of the same size. The displacement is in voxels and
    in array-axis order in .npz, in (x, y) pixels in .flo, and in millimetres for ITK, ANTs and Slicer in the other
    formats.
    """
    import torch

    from modelaug import learning

    output_file(flow, ".npz", ".flo", *ITK_SUFFIXES)
    if warped is not None:
        output_file(warped, ".npy", *PICTURE_SUFFIXES, *ITK_SUFFIXES)
    fixed_image, geometry = io.read_image(fixed)
    moving_image, moving_geometry = io.read_image(moving)
    # Of volumes with a single plane, as slices often are kept, the plane is registered and written as such a volume.
    volume = is_single_plane(fixed_image, geometry) and (
        moving_geometry is None or is_single_plane(moving_image, moving_geometry)
    )
    net = learning.load_network(network)
    torch.set_num_threads(thread_count(threads))
    started = time.perf_counter()
    displacement = learning.register(net, fixed_image, moving_image)
    seconds = time.perf_counter() - started

    if volume and flow.name.lower().endswith(ITK_SUFFIXES):
        io.write_field(flow, field_of_volume(displacement), geometry=geometry, moving=moving_geometry)
    else:
        plane, moving_plane = (each and in_plane(each) for each in (geometry, moving_geometry))
        io.write_field(flow, displacement, geometry=plane, moving=moving_plane if plane else None)
    lengths = np.hypot(*displacement)
    folds = int((jacobian_determinant(displacement) <= 0).sum())
    out.print(
        f"{flow}: displacement {lengths.mean():.2f} px on average, {lengths.max():.2f} px at most, "
        f"{folds} of {lengths.size} pixels folded, {seconds:.2f} s"
    )
    if warped is not None:
        result = warp(moving_image, displacement, threads=threads)
        if moving.suffix.lower() in PICTURE_SUFFIXES and warped.suffix.lower() in PICTURE_SUFFIXES:
            result = np.rint(result).astype(np.uint8)
        written = geometry if volume else geometry and in_plane(geometry)
        io.write_image(warped, result, geometry=written)
        out.print(f"{warped}: the moving image, warped")
    if figure is not None:
        from modelaug import plots

        plots.save_figure(plots.plot_registration(fixed_image, moving_image, displacement), figure)
        out.print(f"{figure}: before and after")
