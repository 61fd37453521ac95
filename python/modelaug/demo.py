"""The demo on generated hearts and volumes: cohort, model, pairs, a trained network, registered subjects."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from modelaug import _checks, _core
from modelaug._arrays import Field
from modelaug._checked import Checked, Count, Limits, WholeNumber
from modelaug.data.cohort import Cohort
from modelaug.data.resampling import resize_cohort
from modelaug.datasets import phantoms
from modelaug.evaluation import contour_distance, landmark_error
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import SOURCE, claim_folder, write_json
from modelaug.models.appearance import AppearanceModel
from modelaug.synthesis import PairSynthesizer
from modelaug.transforms.warping import warp_points

__all__ = ["DemoOptions", "PartOptions", "run_demo"]


_METHODS: Final = ("before", "after", "true_landmarks")
_PICTURES: Final = ("cohort", "modes", "pairs", "losses", "registration")


@dataclass(frozen=True)
class PartOptions(Checked):
    """Options of the demo in 2D, or in 3D.

    Parameters
    ----------
    subjects
        Number of generated subjects.
    training_subjects
        Number of the first ones, from which the model is learned; the others are registered to each other.
    size
        Voxels of the images along every axis.
    steps, batch_size
        Options of the training, see `modelaug.learning.TrainOptions`.
    width
        Width of the `modelaug.learning.PyramidNetwork`. None: training starts from the weights in the package.
    """

    subjects: int
    training_subjects: Annotated[int, Limits(2)]
    size: Count
    steps: Count
    batch_size: Count
    width: float | None = None

    def _check(self) -> None:
        _checks.integer("subjects", self.subjects, minimum=self.training_subjects + 2)


@dataclass(frozen=True)
class DemoOptions(Checked):
    """Options of the demo.

    Parameters
    ----------
    plane
        Options of the part on generated hearts.
    space
        Options of the part on generated volumes, see `modelaug.phantoms.blobs3d`.
    pictured_pairs
        Number of pairs in ``pairs.png``.
    seed
        Seed of subjects, pairs and initial weights.
    """

    plane: PartOptions = PartOptions(subjects=24, training_subjects=16, size=128, steps=500, batch_size=8)
    space: PartOptions = PartOptions(subjects=12, training_subjects=8, size=32, steps=150, batch_size=2)
    pictured_pairs: Count = 8
    seed: WholeNumber = 0

    @classmethod
    def quick(cls, *, seed: int = 0) -> DemoOptions:
        """Return options for a run of seconds that shows that everything works; the networks learn nothing."""
        plane = PartOptions(subjects=7, training_subjects=4, size=64, steps=6, batch_size=2, width=0.125)
        space = PartOptions(subjects=5, training_subjects=3, size=32, steps=2, batch_size=1, width=0.125)
        return cls(plane, space, pictured_pairs=2, seed=seed)


def run_demo(
    out: str | Path,
    options: DemoOptions | None = None,
    *,
    restart: bool = False,
    threads: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the demo, or continue one that was interrupted in the folder.

    The folder gets ``model.npz``, ``net/``, ``summary.json`` and pictures: ``cohort.png``, ``modes.png``,
    ``pairs.png``, ``losses.png`` and ``registration.png``; its folder ``space`` gets the model, the network and the
    losses of the part on volumes.

    Parameters
    ----------
    out
        The folder, made if need be.
    options
        Options of both parts; defaults if None.
    restart
        Whether to remove the files of an earlier demo first.
    threads
        Threads to use; None means all cores.
    report
        Called with lines of text that tell the progress.

    Returns
    -------
    dict
        The summary of the part in 2D: errors ``before`` and ``after`` registration by the network and with the
        ``true_landmarks`` (a spline through corresponding landmarks, the bound for any method without more
        information), as means over all ordered pairs of held-out subjects: ``landmark_error_*`` in voxels,
        ``contour_distance_*`` in mm; ``pairs_per_second``, ``seconds_per_step``, and their circumstances. ``space`` is
        the summary of the part on volumes, which have no contours; ``seconds`` is the duration of the demo.

    Raises
    ------
    ValueError
        If the folder holds a demo with other options.
    BlockingIOError, FolderLostError
        If another run works in the folder, or it is removed meanwhile.
    """
    options = options or DemoOptions()
    count = _checks.thread_count(threads)
    folder = Path(out)
    with hold_folder(folder):
        if restart and (folder / SOURCE).exists():
            _remove(folder)
        claim_folder(folder, {"demo": asdict(options), "modelaug": _core.build_config()["version"]})
        return _run(folder, options, count, report)


def _run(folder: Path, options: DemoOptions, count: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Run both parts of the demo and return the summary."""
    started = time.perf_counter()

    plane_grid, space_grid = (options.plane.size,) * 2, (options.space.size,) * 3
    hearts = _Part(phantoms.heart(options.plane.subjects, shape=plane_grid, seed=options.seed), options.plane, folder)
    report(
        f"generated {len(hearts.cohort)} hearts; {len(hearts.training)} to learn from, {len(hearts.held_out)} held out"
    )
    plane, synthesizer, fields = _run_part(hearts, options.seed, count, report)
    report("drawing the pictures")
    _draw_pictures(folder, hearts.training, synthesizer, options.pictured_pairs)
    ratios = [error["landmark_error_after"] / error["landmark_error_before"] for error in plane["errors"]]
    typical = int(np.argsort(ratios)[len(ratios) // 2])
    _draw_registration(folder, hearts.held_out, hearts.pairs[typical], fields[typical])

    inside = folder / "space"
    inside.mkdir(exist_ok=True)
    blobs = resize_cohort(phantoms.blobs3d(options.space.subjects, seed=options.seed), space_grid)
    volumes = _Part(blobs, options.space, inside)
    report(f"in space: {len(volumes.cohort)} volumes; {len(volumes.training)} to learn from")
    space, _, _ = _run_part(volumes, options.seed, count, report)
    _draw_losses(inside)

    for part in (plane, space):
        del part["errors"]
    summary = {**plane, "space": space, "threads": count, "seconds": time.perf_counter() - started}
    summary |= {"options": asdict(options), "modelaug": _core.build_config()["version"]}
    write_json(folder / "summary.json", summary)
    return summary


@dataclass(frozen=True, eq=False)
class _Part:
    """One part of the demo: its subjects, options and folder."""

    cohort: Cohort
    options: PartOptions
    folder: Path

    @property
    def training(self) -> Cohort:
        return self.cohort.subset(range(self.options.training_subjects))

    @property
    def held_out(self) -> Cohort:
        return self.cohort.subset(range(self.options.training_subjects, self.options.subjects))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered pairs of held-out subjects."""
        return list(permutations(range(self.options.subjects - self.options.training_subjects), 2))


def _run_part(
    part: _Part, seed: int, threads: int, report: Callable[[str], None]
) -> tuple[dict[str, Any], PairSynthesizer, list[Field]]:
    """Learn a model, train a network and register; return summary with errors of each pair, synthesizer and fields."""
    path = part.folder / "model.npz"
    if not path.exists():
        AppearanceModel.fit(part.training, threads=threads).save(path)
    model = AppearanceModel.load(path)
    report(f"the model has {len(model.shape.variances)} modes of shape and {len(model.texture.variances)} of texture")
    synthesizer = PairSynthesizer(model, seed=seed)
    rate = _pairs_per_second(synthesizer, threads)
    report(f"synthesizes {rate:.0f} pairs per second with {threads} thread{'s' if threads > 1 else ''}")
    card = _train(synthesizer, part, seed, threads, report)
    report("registering the held-out subjects")
    held_out = part.held_out
    fields = _register(part.folder / "net", held_out, part.pairs)
    errors = [_errors(held_out, pair, field, model) for pair, field in zip(part.pairs, fields, strict=True)]
    means = {name: float(np.mean([error[name] for error in errors])) for name in errors[0]}
    summary = {
        **means,
        "landmark_error_reduction": 1 - means["landmark_error_after"] / means["landmark_error_before"],
        "registered_pairs": len(part.pairs),
        "pairs_per_second": rate,
        "seconds_per_step": card["seconds_per_step"],
        **{name: card["metrics"][name] for name in ("validation_epe", "validation_epe_of_zero_flow")},
        "errors": errors,
    }
    return summary, synthesizer, fields


def _remove(folder: Path) -> None:
    """Remove the files of a demo, and nothing else."""
    for name in (SOURCE, "model.npz", "summary.json", *(f"{name}.png" for name in _PICTURES)):
        (folder / name).unlink(missing_ok=True)
    for name in ("net", "space"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def _pairs_per_second(synthesizer: PairSynthesizer, threads: int, seconds: float = 1.0) -> float:
    """Measure how many pairs are drawn per second, after a first batch."""
    size = 8 * threads
    synthesizer.batch(range(size), threads=threads)
    start, drawn = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        synthesizer.batch(range(drawn, drawn + size), threads=threads)
        drawn += size
    return drawn / elapsed


def _train(
    synthesizer: PairSynthesizer, part: _Part, seed: int, threads: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Train the network, or resume its training, and return its card."""
    from modelaug import learning

    options, d = part.options, len(synthesizer.model.grid)
    report(f"training a PyramidNetwork in {'the plane' if d == 2 else 'space'}, {options.steps} steps")
    if options.width is None:
        network = learning.shipped_network(d, image_channels=synthesizer.model.channels)
    else:
        network = learning.PyramidNetwork(d, width=options.width, levels=4)
    log_every = max(1, options.steps // 25)
    every = {"validate_every": 5 * log_every, "checkpoint_every": 2 * log_every, "log_every": log_every}
    size, chosen = options.batch_size, None if options.width is None else seed
    schedule = learning.recommended_options(
        options.steps, batch_size=size, seed=chosen, validation_pairs=4 * size, **every
    )
    folder = part.folder / "net"
    learning.train(synthesizer, network=network, options=schedule, out=folder, threads=threads)
    return learning.read_card(folder)


def _register(net: Path, subjects: Cohort, pairs: Sequence[tuple[int, int]]) -> list[Field]:
    from modelaug import learning

    network = learning.load_network(net)
    return [learning.register(network, subjects.images[i], subjects.images[j]) for i, j in pairs]


def _errors(hearts: Cohort, pair: tuple[int, int], field: Field, model: AppearanceModel) -> dict[str, float]:
    """Return the landmark errors in pixels and the contour distances in mm of a pair, for each method."""
    fixed, moving = (hearts.landmarks[i] for i in pair)
    bound = model.spline.displacement(fixed, moving, hearts.grid).on_grid()
    found = dict(zip(_METHODS, (fixed, warp_points(fixed, field), warp_points(fixed, bound)), strict=True))
    errors = {f"landmark_error_{name}": landmark_error(points, moving) for name, points in found.items()}
    contours = [list(each.indices) for each in hearts.objects if each.kind == "closed"]
    if contours:
        for name, points in found.items():
            distances = [contour_distance(points[k], moving[k], hearts.spacing) for k in contours]
            errors[f"contour_distance_{name}"] = float(np.mean(distances))
    return errors


def _draw_pictures(folder: Path, training: Cohort, synthesizer: PairSynthesizer, count: int) -> None:
    from modelaug import plots

    model = synthesizer.model
    pairs = [synthesizer.draw(i) for i in range(count)]
    plots.save_figure(plots.plot_cohort(training), folder / "cohort.png")
    plots.save_figure(plots.plot_modes(model), folder / "modes.png")
    plots.save_figure(plots.plot_pairs(pairs, objects=model.objects), folder / "pairs.png")
    _draw_losses(folder)


def _draw_losses(folder: Path) -> None:
    from modelaug import plots
    from modelaug.learning import read_card

    baseline = read_card(folder / "net")["metrics"]["validation_epe_of_zero_flow"]
    plots.save_figure(plots.plot_losses(folder / "net" / "metrics.csv", baseline=baseline), folder / "losses.png")


def _draw_registration(folder: Path, hearts: Cohort, pair: tuple[int, int], field: Field) -> None:
    """Plot the registration of a pair of subjects."""
    from modelaug import plots

    fixed, moving = (hearts.images[i] for i in pair)
    landmarks = dict(zip(("landmarks_fixed", "landmarks_moving"), hearts.landmarks[list(pair)], strict=True))
    figure = plots.plot_registration(fixed, moving, field, objects=hearts.objects, **landmarks)
    plots.save_figure(figure, folder / "registration.png")
