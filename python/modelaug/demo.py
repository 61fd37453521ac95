"""The whole chain on generated hearts: cohort, model, pairs, a trained network, held-out hearts registered."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug.cohort import Cohort
from modelaug.datasets import phantoms
from modelaug.evaluation import contour_distance, landmark_error
from modelaug.io.provenance import claim_folder, write_json
from modelaug.model import AppearanceModel
from modelaug.synthesis import PairSynthesizer
from modelaug.warping import warp_points

__all__ = ["DemoOptions", "run_demo"]

Field = npt.NDArray[np.float32]

_METHODS: Final = ("before", "after", "true_landmarks")
_PICTURES: Final = ("cohort", "modes", "pairs", "losses", "registration")


@dataclass(frozen=True)
class DemoOptions:
    """What the demo does.

    Parameters
    ----------
    subjects
        Generated hearts.
    training_subjects
        How many of them, the first ones, the model learns from; the others are registered to each other.
    size
        Rows and columns of the images.
    steps, batch_size, width, learning_rate
        Of the training, see `modelaug.learning.TrainOptions` and `modelaug.learning.FlowNetS`.
    pictured_pairs
        Pairs in ``pairs.png``.
    seed
        Of hearts, pairs and initial weights.
    """

    subjects: int = 24
    training_subjects: int = 16
    size: int = 128
    steps: int = 1600
    batch_size: int = 8
    width: float = 0.25
    learning_rate: float = 1e-3
    pictured_pairs: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.integer("training_subjects", self.training_subjects, minimum=2)
        _checks.integer("subjects", self.subjects, minimum=self.training_subjects + 2)
        _checks.integer("pictured_pairs", self.pictured_pairs, minimum=1)
        _checks.integer("seed", self.seed, minimum=0)

    @classmethod
    def quick(cls, *, seed: int = 0) -> DemoOptions:
        """Return options for a run of seconds, which shows that everything works but teaches the network nothing."""
        tiny = cls(subjects=7, training_subjects=4, size=64, steps=6, batch_size=2, width=0.0625, pictured_pairs=2)
        return replace(tiny, seed=seed)


def run_demo(
    out: str | Path,
    options: DemoOptions | None = None,
    *,
    restart: bool = False,
    threads: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the demo; again on the same folder, it continues where it was interrupted.

    The folder gets ``model.npz``, ``net/``, ``summary.json`` and pictures: ``cohort.png``, ``modes.png``,
    ``pairs.png``, ``losses.png`` and ``registration.png``.

    Parameters
    ----------
    out
        The folder, made if need be.
    options
        What to do; defaults if None.
    restart
        Remove what an earlier demo left in the folder first.
    threads
        Threads to use; None means all cores.
    report
        Called with a line of text as the demo goes along.

    Returns
    -------
    dict
        The summary: errors ``before`` and ``after`` registration by the network and with the ``true_landmarks`` (a
        spline through corresponding landmarks, the bound for any method that knows no more), as means over all ordered
        pairs of held-out hearts: ``landmark_error_*`` in pixels, ``contour_distance_*`` in mm; ``pairs_per_second``,
        ``seconds_per_step``, and what else is needed to read them.

    Raises
    ------
    ValueError
        If the folder holds a demo with other options.
    """
    options = options or DemoOptions()
    count = _checks.thread_count(threads)
    folder = Path(out)
    if restart and (folder / "source.json").exists():
        _remove(folder)
    version = _core.build_config()["version"]
    claim_folder(folder, {"demo": asdict(options), "modelaug": version})
    started = time.perf_counter()

    cohort = phantoms.heart(options.subjects, shape=(options.size, options.size), seed=options.seed)
    training = cohort.subset(range(options.training_subjects))
    held_out = cohort.subset(range(options.training_subjects, options.subjects))
    report(f"generated {options.subjects} hearts; {len(training)} to learn from, {len(held_out)} held out")

    model = _model(folder / "model.npz", training, count)
    report(f"the model has {len(model.shape.variances)} modes of shape and {len(model.texture.variances)} of texture")
    synthesizer = PairSynthesizer(model, seed=options.seed)
    rate = _pairs_per_second(synthesizer, count)
    report(f"synthesizes {rate:.0f} pairs per second with {count} thread{'s' if count > 1 else ''}")

    card = _train(synthesizer, folder / "net", options, count, report)
    report("registering the held-out hearts")
    pairs = list(permutations(range(len(held_out)), 2))
    fields = _register(folder / "net", held_out, pairs)
    errors = [_errors(held_out, pair, field, model) for pair, field in zip(pairs, fields, strict=True)]

    report("drawing the pictures")
    _draw_pictures(folder, training, synthesizer, options.pictured_pairs, card)
    ratios = [error["landmark_error_after"] / error["landmark_error_before"] for error in errors]
    typical = int(np.argsort(ratios)[len(ratios) // 2])
    _draw_registration(folder, held_out, pairs[typical], fields[typical])

    means = {name: float(np.mean([error[name] for error in errors])) for name in errors[0]}
    summary = {
        **means,
        "landmark_error_reduction": 1 - means["landmark_error_after"] / means["landmark_error_before"],
        "registered_pairs": len(pairs),
        "pairs_per_second": rate,
        "threads": count,
        "seconds_per_step": card["seconds_per_step"],
        "validation_epe": card["metrics"]["validation_epe"],
        "validation_epe_of_zero_flow": card["metrics"]["validation_epe_of_zero_flow"],
        "seconds": time.perf_counter() - started,
        "options": asdict(options),
        "modelaug": version,
    }
    write_json(folder / "summary.json", summary)
    return summary


def _remove(folder: Path) -> None:
    """Remove what a demo writes, and nothing else."""
    for name in ("source.json", "model.npz", "summary.json", *(f"{name}.png" for name in _PICTURES)):
        (folder / name).unlink(missing_ok=True)
    if (folder / "net").is_dir():
        shutil.rmtree(folder / "net")


def _model(path: Path, training: Cohort, threads: int) -> AppearanceModel:
    if not path.exists():
        AppearanceModel.fit(training, threads=threads).save(path)
    return AppearanceModel.load(path)


def _pairs_per_second(synthesizer: PairSynthesizer, threads: int, seconds: float = 1.0) -> float:
    """Return how fast pairs are drawn, measured for a while after a first batch."""
    size = 8 * threads
    synthesizer.batch(range(size), threads=threads)
    start, drawn = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        synthesizer.batch(range(drawn, drawn + size), threads=threads)
        drawn += size
    return drawn / elapsed


def _train(
    synthesizer: PairSynthesizer, folder: Path, options: DemoOptions, threads: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Train the network, or continue to, and return its card."""
    from modelaug import learning

    report(f"training a FlowNet-S of {options.width:g} times the published width, {options.steps} steps")
    log_every = max(1, options.steps // 32)
    schedule = learning.TrainOptions(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        validation_pairs=4 * options.batch_size,
        validate_every=4 * log_every,
        checkpoint_every=2 * log_every,
        log_every=log_every,
    )
    network = learning.FlowNetS(image_channels=synthesizer.model.channels, width=options.width)
    learning.train(synthesizer, network=network, options=schedule, out=folder, threads=threads)
    return learning.read_card(folder)


def _register(net: Path, hearts: Cohort, pairs: Sequence[tuple[int, int]]) -> list[Field]:
    from modelaug import learning

    network = learning.load_network(net)
    return [learning.register(network, hearts.images[i], hearts.images[j]) for i, j in pairs]


def _errors(hearts: Cohort, pair: tuple[int, int], field: Field, model: AppearanceModel) -> dict[str, float]:
    """Return the landmark errors in pixels and contour distances in mm of a pair, for each method."""
    fixed, moving = (hearts.landmarks[i] for i in pair)
    bound = model.spline.displacement(fixed, moving, hearts.grid).on_grid()
    # Landmarks of the fixed image plus the displacement should lie on those of the moving image.
    found = dict(zip(_METHODS, (fixed, warp_points(fixed, field), warp_points(fixed, bound)), strict=True))
    contours = [list(each.indices) for each in hearts.objects]
    return {
        **{f"landmark_error_{name}": landmark_error(points, moving) for name, points in found.items()},
        **{
            f"contour_distance_{name}": float(
                np.mean([contour_distance(points[k], moving[k], hearts.spacing) for k in contours])
            )
            for name, points in found.items()
        },
    }


def _draw_pictures(
    folder: Path, training: Cohort, synthesizer: PairSynthesizer, count: int, card: dict[str, Any]
) -> None:
    from modelaug import plots

    model = synthesizer.model
    pairs = [synthesizer.draw(i) for i in range(count)]
    figures = {
        "cohort": plots.plot_cohort(training),
        "modes": plots.plot_modes(model),
        "pairs": plots.plot_pairs(pairs, objects=model.objects),
        "losses": plots.plot_losses(
            folder / "net" / "metrics.csv", baseline=card["metrics"]["validation_epe_of_zero_flow"]
        ),
    }
    for name, figure in figures.items():
        plots.save_figure(figure, folder / f"{name}.png")


def _draw_registration(folder: Path, hearts: Cohort, pair: tuple[int, int], field: Field) -> None:
    """Draw the pair with the median relative error."""
    from modelaug import plots

    i, j = pair
    figure = plots.plot_registration(
        hearts.images[i],
        hearts.images[j],
        field,
        landmarks_fixed=hearts.landmarks[i],
        landmarks_moving=hearts.landmarks[j],
        objects=hearts.objects,
    )
    plots.save_figure(figure, folder / "registration.png")
