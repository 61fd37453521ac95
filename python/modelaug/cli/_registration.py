"""Registration of one pair of images from files to files, and what to tell of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import numpy.typing as npt

from modelaug import io, warp
from modelaug.cli._console import err, out, output_file
from modelaug.cli._moved import (
    FIELD_SUFFIXES,
    FIGURE_SUFFIXES,
    IMAGE_OUTPUTS,
    beside,
    check_image_fits,
    check_labels_fit,
    label_suffix,
    moved_labels,
    write_labels,
    write_moved_image,
    write_points,
)
from modelaug.cli._pictures import Pair, as_picture, labels_of, mask_of, moved_points, points_of
from modelaug.cli._scores import Scores, print_scores, score_labels
from modelaug.data.geometry import Geometry
from modelaug.evaluation import folded_percentage
from modelaug.io.fields import field_of_volume
from modelaug.io.files.paths import suffix
from modelaug.io.formats.itk import ITK_SUFFIXES
from modelaug.io.formats.pictures import PICTURE_SUFFIXES
from modelaug.io.images import read_in_space
from modelaug.io.landmarks import LANDMARK_SUFFIXES
from modelaug.registration.affine import register_affine
from modelaug.registration.correlation import AffineKind

if TYPE_CHECKING:
    import torch

    from modelaug.learning import RegistrationNetwork

TRANSFORMS: Final[tuple[AffineKind, ...]] = get_args(AffineKind)
"""Kinds of affine registration."""

Read = tuple[npt.NDArray[np.float32], Geometry | None]


@dataclass(frozen=True)
class Settings:
    """How images are registered; see `modelaug.learning.register`.

    Parameters
    ----------
    transform
        Kind of the affine registration before the network, None for none.
    passes, symmetric, grid, refine
        As of `modelaug.learning.register`.
    """

    transform: AffineKind | None = None
    passes: int = 1
    symmetric: bool = False
    grid: tuple[int, ...] | None = None
    refine: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what to note of them."""
        return asdict(self)


@dataclass(frozen=True)
class Job:
    """Two images, what belongs to them, and where the results go.

    Parameters
    ----------
    fixed, moving
        The images.
    out
        The displacement.
    labels
        Label map of the moving image, to be moved along.
    fixed_labels
        Label map of the fixed image, to compare that with.
    points
        Points of the fixed image, to be led to the moving one.
    mask
        Weights on the fixed image's grid.
    warped, figure
        More results: the moving image warped, and a picture.
    """

    fixed: Path
    moving: Path
    out: Path
    labels: Path | None = None
    fixed_labels: Path | None = None
    points: Path | None = None
    mask: Path | None = None
    warped: Path | None = None
    figure: Path | None = None

    @property
    def moved_labels(self) -> Path | None:
        """Where the moved labels go."""
        return None if self.labels is None else beside(self.out, "labels", label_suffix(self.out, self.labels))

    @property
    def moved_points(self) -> Path | None:
        """Where the moved points go."""
        return None if self.points is None else beside(self.out, "points", suffix(self.points))

    @property
    def outputs(self) -> list[Path]:
        """Return all files that it writes."""
        found = (self.out, self.moved_labels, self.moved_points, self.warped, self.figure)
        return [each for each in found if each is not None]

    @property
    def inputs(self) -> list[Path]:
        """Return all files that it reads."""
        found = (self.fixed, self.moving, self.labels, self.fixed_labels, self.points, self.mask)
        return [each for each in found if each is not None]

    def check_names(self) -> None:
        """Raise ValueError, before any work is done, if a result cannot have its name."""
        output_file(self.out, *FIELD_SUFFIXES)
        if self.warped is not None:
            output_file(self.warped, *IMAGE_OUTPUTS)
        if self.figure is not None:
            output_file(self.figure, *FIGURE_SUFFIXES)
        if self.points is not None and suffix(self.points) not in LANDMARK_SUFFIXES:
            raise ValueError(f"{self.points} ends in no known format of points; use {', '.join(LANDMARK_SUFFIXES)}")
        if self.fixed_labels is not None and self.labels is None:
            raise ValueError(f"{self.fixed_labels} has nothing to be compared with; pass the moving image's, too")
        taken = {each.resolve(): "is an image, labels, points or a mask to be read" for each in self.inputs}
        for path in self.outputs:
            if path.resolve() in taken:
                raise ValueError(f"{path} is to hold a result but {taken[path.resolve()]}; use another name")
            taken[path.resolve()] = "is to hold another one, too"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is known of two images once they are registered.

    Attributes
    ----------
    mean, largest
        Length of the displacement in space, in `unit`.
    unit
        ``"mm"`` or ``"px"``.
    folded
        Percentage of the voxels that fold.
    seconds
        For the registration, without files.
    scores
        Of the labels, if both images have some.
    """

    mean: float
    largest: float
    unit: str
    folded: float
    seconds: float
    scores: Scores | None

    def tell(self, job: Job) -> None:
        """Print it, and what has been written."""
        out.print(
            f"{job.out}: displacement {self.mean:.2f} {self.unit} on average, {self.largest:.2f} {self.unit} at most, "
            f"{self.folded:.3g} % folded, {self.seconds:.2f} s"
        )
        written = {
            job.moved_labels: "the labels, moved along",
            job.moved_points: "the points in the moving image",
            job.warped: "the moving image, warped",
            job.figure: "before and after",
        }
        for path, what in written.items():
            if path is not None:
                out.print(f"{path}: {what}")
        if self.scores is not None:
            print_scores(self.scores)


@dataclass(frozen=True, eq=False)
class _Belongings:
    """What has been read along with two images."""

    labels: npt.NDArray[np.integer[Any]] | None
    fixed_labels: npt.NDArray[np.integer[Any]] | None
    points: tuple[npt.NDArray[np.float64], tuple[str, ...]] | None
    mask: npt.NDArray[np.float32] | None


def parse_grid(text: str | None) -> tuple[int, ...] | None:
    """Return the shape that a text such as ``"128x128"`` stands for."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", text):
        raise ValueError(f"--grid is {text!r}; pass 2 or 3 lengths, such as 128x128 or 96x96x96")
    return tuple(int(length) for length in text.split("x"))


def choose_device(name: str | None) -> torch.device:
    """Return the device with a name, by default the first GPU if there is one.

    Raises
    ------
    ValueError
        If there is no such device here.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return torch.device("cuda" if count else "cpu")
    number = re.fullmatch(r"cuda(?::(\d+))?", name)
    if name != "cpu" and number is None:
        raise ValueError(f"--device is {name!r}; pass cpu, cuda or cuda:N")
    if number is not None and int(number[1] or 0) >= count:
        raise ValueError(f"--device is {name!r} but there are {count} GPUs that torch can use; pass cpu or another one")
    return torch.device(name)


def load_network(path: Path, settings: Settings, device: torch.device) -> RegistrationNetwork:
    """Return a network on a device, or raise ModelFileError or ValueError if there is none that suits the settings."""
    from modelaug import learning

    network = learning.load_network(path)
    if settings.grid is not None:
        check_grid(settings.grid, network)
    return network.to(device)


def check_grid(grid: tuple[int, ...], network: RegistrationNetwork) -> None:
    """Raise ValueError unless a network can be applied at the grid of ``--grid``."""
    text = "x".join(map(str, grid))
    if len(grid) != network.ndim:
        raise ValueError(
            f"--grid is {text}, by which images have shape {grid}, but the network takes {network.ndim} axes; pass "
            f"{network.ndim} lengths, such as {'x'.join(['96'] * network.ndim)}"
        )
    try:
        network.check_grid(grid)
    except ValueError as error:
        raise ValueError(f"--grid is {text}: {error}") from None


def read_images(job: Job) -> tuple[Read, Read]:
    """Read the fixed and the moving image."""
    return read_in_space(job.fixed), read_in_space(job.moving)


def carry_out(
    job: Job, images: tuple[Read, Read], network: RegistrationNetwork, settings: Settings, threads: int | None
) -> Outcome:
    """Register two images and write all results, the displacement last.

    Parameters
    ----------
    job
        The files.
    images
        What `read_images` returned for them.
    network
        Runs where its weights are.
    settings
        How.
    threads
        Threads of the kernels; None means all cores.
    """
    pair = _pair(job, images, network)
    if (told := pair.unplaced()) is not None:
        err.print(told)
    found = _read_belongings(job, pair)
    started = time.perf_counter()
    displacement = _register(pair, network, settings, found.mask, threads)
    seconds = time.perf_counter() - started
    in_space = pair.in_fixed_voxels(displacement)
    lengths = np.sqrt(np.einsum("i...,i->...", np.square(in_space), np.square(pair.spacing)))
    scores = _write_labels(job, pair, found, displacement, threads)
    if found.points is not None and job.moved_points is not None:
        place = pair.moving.place or pair.fixed.place
        write_points(job.moved_points, moved_points(found.points[0], displacement), found.points[1], place)
    if job.warped is not None:
        warped = warp(pair.moving.image, displacement, threads=threads)
        flat = not pair.as_volume or suffix(job.warped) in PICTURE_SUFFIXES
        shaped = warped if flat else np.expand_dims(warped, -3)
        write_moved_image(job.warped, shaped, pair.moving.image, pair.written)
    if job.figure is not None:
        from modelaug import plots
        from modelaug.cli._registration_figure import draw

        plots.save_figure(draw(pair, displacement, in_space), job.figure)
    _write_displacement(job.out, pair, displacement)
    return Outcome(
        mean=float(lengths.mean()),
        largest=float(lengths.max()),
        unit=pair.unit,
        folded=folded_percentage(in_space, threads=threads),
        seconds=seconds,
        scores=scores,
    )


def _pair(job: Job, images: tuple[Read, Read], network: RegistrationNetwork) -> Pair:
    """Return both images as the network takes them."""
    d = network.ndim
    if d == 3 and suffix(job.out) == ".flo":
        raise ValueError(f"{job.out} is to hold the displacement of a volume; use a name that ends in .npz or .nii.gz")
    pictures = [
        as_picture(path, *image, d, wanted_by="the network")
        for path, image in zip((job.fixed, job.moving), images, strict=True)
    ]
    for each in pictures:
        channels = 1 if each.image.ndim == d else len(each.image)
        if channels not in (1, network.image_channels):
            raise ValueError(
                f"{each.path} has {channels} channels but the network takes {network.image_channels}; pass grey images"
            )
    return Pair.of(*pictures)


def _read_belongings(job: Job, pair: Pair) -> _Belongings:
    """Read what belongs to the images, and check that the results can have their formats."""
    labels = None if job.labels is None else labels_of(job.labels, pair.moving)
    if labels is not None and job.moved_labels is not None:
        check_labels_fit(job.moved_labels, labels)
    if job.warped is not None:
        check_image_fits(job.warped, pair.moving.image)
    fixed_labels = None if job.fixed_labels is None else labels_of(job.fixed_labels, pair.fixed)
    if labels is not None and fixed_labels is not None and not labels.any() and not fixed_labels.any():
        raise ValueError(f"{job.labels} and {job.fixed_labels} hold nothing but 0, the background; pass other labels")
    return _Belongings(
        labels=labels,
        fixed_labels=fixed_labels,
        points=None if job.points is None else points_of(job.points, pair.fixed),
        mask=None if job.mask is None else mask_of(job.mask, pair.fixed),
    )


def _register(
    pair: Pair,
    network: RegistrationNetwork,
    settings: Settings,
    mask: npt.NDArray[np.float32] | None,
    threads: int | None,
) -> npt.NDArray[np.float32]:
    """Return the displacement (d, *grid) in voxels, of the fixed image into the moving one."""
    from modelaug import learning

    images = pair.fixed.image, pair.moving.image
    places: Mapping[str, Any] = {"geometry": pair.geometry, "moving_geometry": pair.moving_geometry}
    initial = None
    if settings.transform is not None:
        # A spacing tells planes with channels from volumes.
        known = places if pair.geometry is not None else {"spacing": pair.spacing}
        initial = register_affine(*images, transform=settings.transform, mask=mask, threads=threads, **known)
    return learning.register(
        network,
        *images,
        grid=settings.grid,
        passes=settings.passes,
        symmetric=settings.symmetric,
        refine=settings.refine,
        mask=mask if settings.refine else None,
        initial=initial,
        threads=threads,
        **places,
    )


def _write_labels(
    job: Job, pair: Pair, found: _Belongings, displacement: npt.NDArray[np.float32], threads: int | None
) -> Scores | None:
    """Write the labels that were moved along, and compare them with those of the fixed image if there are some."""
    if found.labels is None or job.moved_labels is None:
        return None
    after = moved_labels(found.labels, displacement, threads)
    scores = None
    if found.fixed_labels is not None:
        before = moved_labels(found.labels, pair.in_place(), threads)
        scores = score_labels(found.fixed_labels, found.labels, before, after, pair.spacing, pair.unit)
    write_labels(job.moved_labels, after[None] if pair.as_volume else after, pair.written)
    return scores


def _write_displacement(path: Path, pair: Pair, displacement: npt.NDArray[np.float32]) -> None:
    if pair.as_volume and suffix(path) in ITK_SUFFIXES:
        field, geometry, moving = field_of_volume(displacement), pair.fixed.volume, pair.moving.volume
    else:
        field, geometry, moving = displacement, pair.geometry, pair.moving_geometry
    io.write_field(path, field, geometry=geometry, moving=moving)
