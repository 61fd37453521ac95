"""What each option of `PyramidNetwork` brings on real images: one training per row, judged on subjects unseen.

    python bench/pyramid.py acdc32.npz [--rows NAME,NAME] [--steps N] [--quick] [--json FILE]
    python bench/pyramid.py hippocampus32.npz --test hippocampus40_test.npz [the same]

Hearts: the training subjects of the first of five folds, at 128 x 128, are modelled with default options; pairs of the
model with small random deformations on top train the network from random weights, with the recommended options; all
pairs of test subjects are registered and their contours' distance in mm is measured at the full resolution. Hippocampi:
all subjects of the cohort train, and 200 random pairs of the people in the other file are judged by the overlap of
their structures (Dice). Rows with "real" have shapes of one level, pairs of the cohort's own images in each step, and
half as many steps again; with "varied" all pairs are augmented, and those of the cohort's images deformed; with
"shipped" the weights are at first those that come with the package. What else differs from row to row is in `CHANGES`.
On one thread a row takes 5 to 15 minutes in the plane and 10 to 35 in space. The file of figures is written after each
row, and what it holds is not measured again.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch

from modelaug import (
    AppearanceModel,
    Cohort,
    PairOptions,
    PairSynthesizer,
    ResidualOptions,
    ShapeOptions,
    learning,
    warp,
)
from modelaug.data.resampling import resize_cohort
from modelaug.evaluation import dice, folded_percentage, score_pairs, split_folds, test_pairs

Register = Callable[..., Any]
Scores = Iterator[tuple[float, float, float]]

GRID = (128, 128)
"""On which networks see the hearts."""
FINEST = {2: {"finest": 2}, 3: {"finest": 1}}
"""What the rows but those that name it have."""
CHANGES: dict[str, dict[str, Any]] = {
    "finest 1/4": {"finest": 2},
    "finest 1/2": {"finest": 1},
    "added": {"update": "added"},
    "integrated": {"update": "integrated"},
    "instance normalisation": {"normalization": "instance"},
    "repeats 2": {"repeats": 2},
    "learned upsampling": {"upsampling": "learned"},
    "radius 2": {"radius": 2},
    "width 1.5": {"width": 1.5},
}
EXTRAS = ("shipped", "real", "real + varied", "real + varied + shipped")
ROWS = (*CHANGES, *(f"{name} + {extra}" for extra in EXTRAS for name in ("finest 1/4", "integrated", "finest 1/2")))
WAYS: dict[str, dict[str, Any]] = {
    "one pass": {},
    "symmetric": {"symmetric": True},
    "two passes": {"passes": 2},
    "two symmetric passes": {"passes": 2, "symmetric": True},
}


@dataclass(frozen=True)
class Task:
    """What is learned from, how, and how a registration is judged.

    Attributes
    ----------
    name
        Of the cohort.
    metric
        What `score` gives.
    training
        The subjects, on the grid of training.
    residual
        Of the pairs.
    options
        Of training.
    real
        How the training subjects' own images take part.
    deformation
        Of these, in rows with "varied".
    score
        Given a function of the fixed and the moving image, yields for each test pair the metric, the percentage of
        folded voxels, and the seconds that the function took.
    """

    name: str
    metric: str
    training: Cohort
    residual: ResidualOptions
    options: dict[str, Any]
    real: learning.RealOptions
    deformation: ResidualOptions
    score: Callable[[Register], Scores] = field(repr=False)


def hearts(path: Path, most: int | None) -> Task:
    cohort = Cohort.load(path)
    train, test = split_folds(len(cohort), 5, 0)[0]
    training = resize_cohort(cohort.subset(train), GRID)
    extent = float(np.max(np.array(training.grid) * training.spacing))
    residual = ResidualOptions(amplitude=extent / 64, spacing=extent / 16)

    def score(register: Register) -> Scores:
        for record, _ in score_pairs(cohort, test_pairs(test)[:most], register, threads=1):
            yield record["contour_distance"], record["folded_percent"], record["seconds"]

    deformation = ResidualOptions(amplitude=18, spacing=54)
    return Task(path.stem, "mm", training, residual, {"batch_size": 8}, learning.RealOptions(), deformation, score)


def hippocampi(path: Path, test: Path, most: int | None) -> Task:
    with np.load(test, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    rng = np.random.default_rng(0)
    pairs = [rng.choice(len(images), 2, replace=False) for _ in range(200)][:most]
    ids = np.setdiff1d(labels, 0)

    def score(register: Register) -> Scores:
        for i, j in pairs:
            start = time.perf_counter()
            found = register(images[i], images[j])
            seconds = time.perf_counter() - start
            u = np.zeros((3, *images.shape[1:]), np.float32) if found is None else found
            pulled = warp(labels[j], u, order=0, border="constant", threads=1)
            yield float(np.nanmean(dice(labels[i], pulled, ids))), folded_percentage(u, threads=1), seconds

    options = {"batch_size": 2, "validation_pairs": 16, "loss": learning.LossOptions(overlap=1)}
    residual, real = ResidualOptions(amplitude=1, spacing=8), learning.RealOptions(pairs=2, overlap=5)
    deformation = ResidualOptions(amplitude=6, spacing=16)
    return Task(path.stem, "Dice", Cohort.load(path), residual, options, real, deformation, score)


def train(row: str, task: Task, steps: int) -> tuple[Any, float]:
    """Return a row's trained network and the seconds that training took."""
    d, (name, *extras) = len(task.training.grid), row.split(" + ")
    real, varied, shipped = ("real" in extras), ("varied" in extras), ("shipped" in extras)
    network = learning.PyramidNetwork(d, **{**FINEST[d], **CHANGES[name]})
    if shipped:
        network.load_state_dict(learning.shipped_network(d).state_dict())
    model = AppearanceModel.fit(task.training, shape=ShapeOptions(levels=1 if real else 4), threads=1)
    source = PairSynthesizer(model, seed=0, options=PairOptions(residual=task.residual))
    options = learning.recommended_options(
        steps,
        seed=None if shipped else 0,
        validate_every=max(1, steps // 4),
        checkpoint_every=steps + 1,
        log_every=100,
        keep="last" if real else "best",
        augment=learning.AugmentOptions() if varied else None,
        real=replace(task.real, residual=task.deformation if varied else None),
        **task.options,
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        learning.train(
            source,
            network=network,
            options=options,
            out=folder,
            real=task.training if real else None,
            progress=False,
            threads=1,
        )
        return learning.load_network(folder), time.perf_counter() - start


def means(scores: Scores) -> dict[str, float]:
    names = ("metric", "folded_percent", "seconds")
    return dict(zip(names, np.mean(list(scores), axis=0).tolist(), strict=True))


def measure(row: str, task: Task, steps: int) -> dict[str, Any]:
    """Train and judge one row."""
    network, seconds = train(row, task, steps)
    register = functools.partial(learning.register, network, grid=task.training.grid, threads=1)
    return {
        "architecture": network.architecture,
        "weights": sum(weight.numel() for weight in network.parameters()),
        "training_seconds": seconds,
        **{way: means(task.score(functools.partial(register, **options))) for way, options in WAYS.items()},
    }


def kept(path: Path | None) -> list[dict[str, Any]]:
    """Return the rows that the file holds."""
    if path is None or not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


def keep(path: Path | None, row: dict[str, Any]) -> None:
    """Add a row to those in the file, which is never half-written."""
    if path is not None:
        part = path.with_name(path.name + ".part")
        report.write_json(part, {"rows": [*kept(path), row]})
        part.replace(path)


def show(name: str, row: dict[str, Any]) -> None:
    figures = "".join(
        f" {report.digits(row[way]['metric']):>9} {row[way]['folded_percent']:8.4f} {1e3 * row[way]['seconds']:6.0f}"
        for way in WAYS
        if way in row
    )
    print(f"{name:36} {row.get('weights', 0):9} {row.get('training_seconds', 0.0):8.0f}{figures}", flush=True)


def chosen(text: str | None, quick: bool) -> Sequence[str]:
    if text is None:
        return ROWS[:1] if quick else ROWS
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ROWS:
            raise SystemExit(f"--rows has {name!r}; pass some of {', '.join(ROWS)}")
    return names


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("cohort", type=Path, help="cohort file of hearts, or of hippocampi")
    parser.add_argument("--test", type=Path, help="file with images and labels of the hippocampi to judge by")
    parser.add_argument("--rows", help=f"separated by commas; all by default: {', '.join(ROWS)}")
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    most, steps = (2, 4) if arguments.quick else (None, arguments.steps)
    if arguments.test is None:
        task = hearts(arguments.cohort, most)
    else:
        task = hippocampi(arguments.cohort, arguments.test, most)
    columns = f" {task.metric:>9} {'folded %':>8} {'ms':>6}"
    if arguments.quick:
        task = replace(task, options={**task.options, "validation_pairs": 2})
    print(f"{task.name:55}" + "".join(f" {way:>25}" for way in WAYS))
    print(f"{'row':36} {'weights':>9} {'train s':>8}" + columns * len(WAYS))
    show("before registration", {"one pass": means(task.score(lambda *_: None))})
    for name in chosen(arguments.rows, arguments.quick):
        count = steps * 3 // 2 if " + real" in name else steps
        identity = {"cohort": task.name, "row": name, "steps": count}
        found = [row for row in kept(arguments.json) if {**row, **identity} == row]
        if not found:
            found = [{**identity, **measure(name, task, count)}]
            keep(arguments.json, found[0])
        show(name, found[0])


if __name__ == "__main__":
    main()
