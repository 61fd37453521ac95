"""``modelaug show``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Argument, Option

from modelaug import AppearanceModel, Cohort, PairOptions, PairSynthesizer, io
from modelaug.cli._console import out, output_file
from modelaug.cli._kinds import CARD, CURVES, detect_kind
from modelaug.cli._moved import FIGURE_SUFFIXES
from modelaug.cli._options import PairSettings, Seed, parse_pair_options
from modelaug.io.fields import field_of_plane
from modelaug.io.files.paths import stem
from modelaug.io.shards.source import ShardedPairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_PAIRS: Final = 4  # shown of a folder by default


def show(
    things: Annotated[
        list[Path],
        Argument(metavar="WHAT...", help="Cohort, model or displacement field; folder of pairs or of a training."),
    ],
    picture: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            help="Picture, .png, .pdf or .svg; a folder if there are several things. By default NAME.png of each, in "
            "the current folder, unless it exists.",
        ),
    ] = None,
    fixed: Annotated[Path | None, Option(help="Of a displacement field: the fixed image.")] = None,
    moving: Annotated[Path | None, Option(help="Of a displacement field: the moving image.")] = None,
    modes: Annotated[int, Option(min=1, help="Of a model: modes of shape and of texture.")] = 3,
    pairs: Annotated[
        int | None,
        Option(
            "--pairs",
            "-n",
            min=1,
            help=f"Of a model: draw pairs instead of modes. Of a folder of pairs: how many, {_PAIRS} by default.",
            metavar="N",
        ),
    ] = None,
    settings: PairSettings = None,
    seed: Seed = 0,
    learning_curve: Annotated[
        bool, Option("--learning-curve", help="Of a cohort: error of unseen shapes by number of training subjects.")
    ] = False,
) -> None:
    """Draw a picture of any file or folder that this package writes.

    A cohort becomes a sheet of its images with landmarks; a model its modes from -2 to 2 standard deviations; a folder
    of pairs the first ones; a training its curves; a displacement field its colours, grid and Jacobian determinant, and
    with --fixed and --moving the images before and after registration, as overlays, checkerboards and differences.
    """
    from modelaug import plots

    if (fixed is None) != (moving is None):
        name, other = ("fixed", "moving") if moving is None else ("moving", "fixed")
        raise ValueError(f"--{name} is given without --{other}; pass both images or none")
    options = parse_pair_options(settings)
    draw: dict[str, Callable[[Path], tuple[Figure, str]]] = {
        "cohort": lambda path: _draw_cohort(path, seed if learning_curve else None),
        "field": lambda path: _draw_field(path, fixed, moving),
        "model": lambda path: _draw_model(path, modes, pairs, options, seed),
        "pairs": lambda path: _draw_pairs(path, pairs or _PAIRS),
        "training": _draw_training,
    }
    for thing, target in zip(things, _targets(things, picture), strict=True):
        figure, what = draw[detect_kind(thing)](thing)
        plots.save_figure(figure, target)
        out.print(f"{target}: {what}")


def _targets(things: Sequence[Path], picture: Path | None) -> list[Path]:
    """Return the path of each picture, or raise ValueError if one cannot be written there."""
    if picture is not None and len(things) == 1:
        return [output_file(picture, *FIGURE_SUFFIXES)]
    if picture is not None and (picture.suffix.lower() in FIGURE_SUFFIXES or picture.is_file()):
        raise ValueError(f"{picture} cannot hold pictures of {len(things)} things; pass a folder with -o")
    targets = [(picture or Path()) / f"{_stem(thing)}.png" for thing in things]
    twice = next((target for k, target in enumerate(targets) if target in targets[:k]), None)
    if twice is not None:
        raise ValueError(f"{twice} would be the picture of two things; show them one by one with -o")
    # Files in the current folder may be the user's own; a named folder is meant for pictures.
    taken = next((target for target in targets if picture is None and target.exists()), None)
    if taken is not None:
        raise ValueError(f"{taken} exists; pass -o {taken} to draw it again, or another name")
    return targets


def _stem(thing: Path) -> str:
    """Return the name of a folder, also of ``.``, or that of a file without its ending."""
    whole = thing.resolve()
    return (whole.name if whole.is_dir() else stem(whole)) or "picture"


def _draw_cohort(path: Path, curve_seed: int | None) -> tuple[Figure, str]:
    from modelaug import plots

    cohort = Cohort.load(path)
    if curve_seed is None:
        return plots.plot_cohort(cohort), f"cohort of {len(cohort)} subjects"
    axes = plots.plot_learning_curve(plots.learning_curves(cohort, seed=curve_seed))
    figure: Any = axes.get_figure()
    return figure, f"learning curve of {len(cohort)} subjects"


def _draw_model(path: Path, modes: int, pairs: int | None, options: PairOptions, seed: int) -> tuple[Figure, str]:
    from modelaug import plots

    model = AppearanceModel.load(path)
    if pairs is None:
        return plots.plot_modes(model, modes), "modes of the model"
    source = PairSynthesizer(model, seed=seed, options=options)
    figure = plots.plot_pairs([source.draw(i) for i in range(pairs)], objects=model.objects)
    return figure, f"{pairs} pairs drawn from the model"


def _draw_pairs(folder: Path, count: int) -> tuple[Figure, str]:
    from modelaug import plots

    source = ShardedPairs(folder, held_out=0)
    pairs = [source.draw(i) for i in range(min(count, len(source)))]
    return plots.plot_pairs(pairs), f"the first {len(pairs)} of {len(source)} pairs"


def _draw_training(folder: Path) -> tuple[Figure, str]:
    from modelaug import plots

    baseline = None
    if (folder / CARD).exists():  # else the training has not ended
        from modelaug.learning import read_card

        metrics = read_card(folder).get("metrics")
        value = metrics.get("validation_epe_of_zero_flow") if isinstance(metrics, dict) else None
        baseline = float(value) if isinstance(value, (int, float)) else None
    return plots.plot_losses(folder / CURVES, baseline=baseline), "course of the training"


def _draw_field(path: Path, fixed: Path | None, moving: Path | None) -> tuple[Figure, str]:
    from modelaug import plots

    displacement = field_of_plane(io.read_field(path)[0])
    if displacement.shape[0] != 2:
        raise ValueError(f"{path} is a field in space, {displacement.shape[1:]}; pictures need fields in the plane")
    if fixed is None or moving is None:
        figure = plots.plot_displacement(displacement)
        return figure, "displacement field; pass --fixed and --moving to see what it does"
    images = [io.read_image(file)[0] for file in (fixed, moving)]
    for file, image in zip((fixed, moving), images, strict=True):
        if image.shape[-2:] != displacement.shape[1:] or image.ndim > 3:
            raise ValueError(f"{file} has shape {image.shape} but {path} is {displacement.shape[1:]}; pass its images")
    return plots.plot_registration(images[0], images[1], displacement, checks=True), "before and after registration"
