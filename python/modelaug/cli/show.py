"""``modelaug show``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from modelaug import AppearanceModel, Cohort, ModelFileError, PairOptions, PairSynthesizer, io
from modelaug.cli._console import SeedOption, out, output_file
from modelaug.cli._files import kind_of_file
from modelaug.cli._options import PairSettings, parse_pair_options
from modelaug.io.fields import field_of_plane
from modelaug.io.files.paths import suffix
from modelaug.io.shards.manifests import MANIFEST, has_manifest
from modelaug.io.shards.source import ShardedPairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["show"]

_FORMATS: Final = (".png", ".pdf", ".svg")
_CURVES: Final = "metrics.csv"  # of a training
_PAIRS: Final = 4  # of a folder, unless told otherwise


@dataclass(frozen=True)
class _Wishes:
    """What the command line asks for beyond the things themselves."""

    fixed: Path | None
    moving: Path | None
    modes: int
    pairs: int | None
    learning_curve: bool
    options: PairOptions
    seed: int


def show(
    things: Annotated[
        list[Path],
        typer.Argument(
            metavar="WHAT...",
            help="Cohort, model or displacement field; folder of pairs or of a training.",
            show_default=False,
        ),
    ],
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Picture, .png, .pdf or .svg; a folder if there are several things. By default NAME.png of each, in "
            "the current folder, unless it exists.",
            show_default=False,
        ),
    ] = None,
    fixed: Annotated[
        Path | None, typer.Option(help="Of a displacement field: the fixed image.", show_default=False)
    ] = None,
    moving: Annotated[
        Path | None, typer.Option(help="Of a displacement field: the moving image.", show_default=False)
    ] = None,
    modes: Annotated[int, typer.Option(min=1, help="Of a model: modes of shape and of texture.")] = 3,
    pairs: Annotated[
        int | None,
        typer.Option(
            "--pairs",
            "-n",
            min=1,
            help=f"Of a model: draw pairs instead of modes. Of a folder of pairs: how many, {_PAIRS} by default.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    settings: PairSettings = None,
    seed: SeedOption = 0,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve", help="Of a cohort: the error of unseen shapes by the number of subjects to learn from."
        ),
    ] = False,
) -> None:
    """Draw a picture of whatever this package writes.

    A cohort becomes a sheet of its images with landmarks; a model its modes from -2 to 2 standard deviations; a folder
    of pairs the first ones; a training its curves; a displacement field its colours, grid and Jacobian determinant, and
    with --fixed and --moving the images before and after registration, as overlays, checkerboards and differences.
    """
    from modelaug import plots

    if (fixed is None) != (moving is None):
        name, other = ("fixed", "moving") if moving is None else ("moving", "fixed")
        raise ValueError(f"--{name} is given without --{other}; pass both images or none")
    wishes = _Wishes(fixed, moving, modes, pairs, learning_curve, parse_pair_options(settings), seed)
    targets = _targets(things, picture)
    for thing, target in zip(things, targets, strict=True):
        figure, what = _figure(thing, wishes)
        plots.save_figure(figure, target)
        out.print(f"{target}: {what}")


def _targets(things: Sequence[Path], picture: Path | None) -> list[Path]:
    """Return the path of each picture; raise ValueError, before any work is done, if there is none for one."""
    if picture is not None and len(things) == 1:
        return [output_file(picture, *_FORMATS)]
    if picture is not None and (picture.suffix.lower() in _FORMATS or picture.is_file()):
        raise ValueError(f"{picture} cannot hold pictures of {len(things)} things; pass a folder with -o")
    targets = [(picture or Path()) / f"{_stem(thing)}.png" for thing in things]
    twice = next((target for k, target in enumerate(targets) if target in targets[:k]), None)
    if twice is not None:
        raise ValueError(f"{twice} would be the picture of two things; show them one by one with -o")
    # What lies in the current folder may be the user's own; a folder that is named is there for pictures.
    taken = next((target for target in targets if picture is None and target.exists()), None)
    if taken is not None:
        raise ValueError(f"{taken} exists; pass -o {taken} to draw it anew, or another name")
    return targets


def _stem(thing: Path) -> str:
    """Return the name without its ending of a file, or the name of a folder, also of ``.``."""
    whole = thing.resolve()
    ending = "" if whole.is_dir() else suffix(whole)
    return (whole.name[: len(whole.name) - len(ending)] if ending else whole.name) or "picture"


def _figure(thing: Path, wishes: _Wishes) -> tuple[Figure, str]:
    """Return the picture of a thing, and in words what it is.

    Raises
    ------
    ModelFileError
        If the thing does not exist, cannot be read, or is nothing that this package writes or reads.
    ValueError
        If it cannot be drawn as wished.
    """
    if not thing.exists():
        raise ModelFileError(f"{thing} does not exist; check the path")
    if thing.is_dir():
        if has_manifest(thing):
            return _of_pairs(thing, wishes)
        if (thing / _CURVES).exists():
            return _of_training(thing)
        raise ModelFileError(
            f"{thing} holds neither pairs ({MANIFEST}) nor a training ({_CURVES}); of scans, show the cohort that "
            "`modelaug convert` makes of them"
        )
    return {"cohort": _of_cohort, "field": _of_field, "model": _of_model}[kind_of_file(thing)](thing, wishes)


def _of_cohort(path: Path, wishes: _Wishes) -> tuple[Figure, str]:
    from modelaug import plots

    cohort = Cohort.load(path)
    if wishes.learning_curve:
        axes = plots.plot_learning_curve(plots.learning_curves(cohort, seed=wishes.seed))
        figure: Any = axes.get_figure()
        return figure, f"learning curve of {len(cohort)} subjects"
    figure = plots.plot_cohort(cohort)
    return figure, f"cohort of {len(cohort)} subjects"


def _of_model(path: Path, wishes: _Wishes) -> tuple[Figure, str]:
    from modelaug import plots

    model = AppearanceModel.load(path)
    if wishes.pairs is None:
        return plots.plot_modes(model, wishes.modes), "modes of the model"
    source = PairSynthesizer(model, seed=wishes.seed, options=wishes.options)
    pairs = [source.draw(i) for i in range(wishes.pairs)]
    return plots.plot_pairs(pairs, objects=model.objects), f"{len(pairs)} pairs drawn from the model"


def _of_pairs(folder: Path, wishes: _Wishes) -> tuple[Figure, str]:
    from modelaug import plots

    source = ShardedPairs(folder, held_out=0)
    pairs = [source.draw(i) for i in range(min(wishes.pairs or _PAIRS, len(source)))]
    return plots.plot_pairs(pairs), f"the first {len(pairs)} of {len(source)} pairs"


def _of_training(folder: Path) -> tuple[Figure, str]:
    from modelaug import plots

    baseline = None
    if (folder / "net.json").exists():  # else it is still under way
        from modelaug.learning import read_card

        metrics = read_card(folder).get("metrics")
        value = metrics.get("validation_epe_of_zero_flow") if isinstance(metrics, dict) else None
        baseline = float(value) if isinstance(value, (int, float)) else None
    return plots.plot_losses(folder / _CURVES, baseline=baseline), "course of the training"


def _of_field(path: Path, wishes: _Wishes) -> tuple[Figure, str]:
    from modelaug import plots

    displacement = field_of_plane(io.read_field(path)[0])
    if displacement.shape[0] != 2:
        raise ValueError(f"{path} is a field in space, {displacement.shape[1:]}; pictures need fields in the plane")
    if wishes.fixed is None or wishes.moving is None:
        return plots.plot_displacement(
            displacement
        ), "displacement field; pass --fixed and --moving to see what it does"
    images = {file: io.read_image(file)[0] for file in (wishes.fixed, wishes.moving)}
    for file, image in images.items():
        if image.shape[-2:] != displacement.shape[1:] or image.ndim > 3:
            raise ValueError(f"{file} has shape {image.shape} but {path} is {displacement.shape[1:]}; pass its images")
    figure = plots.plot_registration(images[wishes.fixed], images[wishes.moving], displacement, checks=True)
    return figure, "before and after registration"
