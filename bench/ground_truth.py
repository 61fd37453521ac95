"""Whether the ground truth is true: folds, residuals, attempts, agreement of images, labels and landmarks.

    python bench/ground_truth.py [--cohort NAME_OR_FILE ...] [--pairs N] [--detail N] [--quick] [--json FILE]

A cohort is a file or one of heart, brain and blobs, the generated ones, which are the default. For every cohort a model
with default options is fitted and the geometry of N pairs drawn: render maps and composed flow are checked by finite
differences at all voxels, the flow against both maps. For some pairs more is measured: the direct flow of the paper and
how far it disagrees with the two images, how often single splines fold, how labels and images agree.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import modelaug
from modelaug import AppearanceModel, Cohort, PairOptions, PairSynthesizer, _checks
from modelaug.synthesis.weights import weight_map

GENERATED = {
    "heart": lambda: modelaug.phantoms.heart(24),
    "brain": lambda: modelaug.phantoms.brain(24),
    "blobs": lambda: modelaug.phantoms.blobs3d(12, shape=(64, 64, 64)),
}
SOURCES: dict[str, PairSynthesizer] = {}
"""What each process draws from, by name."""


def prepare(path: str) -> None:
    """Load the model in a process and make the sources."""
    model = AppearanceModel.load(path)
    options = PairOptions(texture="shared")
    SOURCES["composed"] = PairSynthesizer(model, options=options)
    SOURCES["direct"] = PairSynthesizer(model, options=replace(options, flow="direct"))
    SOURCES["single"] = PairSynthesizer(model, options=replace(options, allow_folds=True))


def fold_facts(field: np.ndarray) -> tuple[int, float]:
    """Return the number of folded voxels and the least Jacobian determinant."""
    determinant = modelaug.jacobian_determinant(field, threads=1)
    return int((determinant <= 0).sum()), float(determinant.min())


def disagreement(geometry: Any, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return |moving(x + flow) - fixed(x)| in the mean frame, and where the partner is inside, for all voxels (p,)."""
    fixed, moving = geometry.maps
    voxels = np.indices(fixed.grid).reshape(len(flow), -1).T.astype(np.float64)
    partners = voxels + flow.reshape(len(flow), -1).T
    inside = ((partners >= 0) & (partners <= np.array(fixed.grid) - 1)).all(axis=1)
    return np.linalg.norm(moving.at(partners) - fixed.at(voxels), axis=1), inside


def check_geometry(index: int) -> dict[str, Any]:
    """Draw the geometry of a pair and check it, independently of what its info says."""
    source = SOURCES["composed"]
    geometry = source.geometry(index)
    folds, least = zip(*(fold_facts(u) for u in (geometry.flow, *geometry.displacements)), strict=True)
    error, inside = disagreement(geometry, geometry.flow)
    landed = modelaug.warp_points(geometry.landmarks[0], geometry.flow)
    info, model = geometry.info, source.model
    return {
        "folds": sum(folds),
        "least": min(least),
        "close": int((error[inside] < 0.01).sum()),
        "inside": int(inside.sum()),
        "residual": float(error[inside].max(initial=0.0)),
        "landmark_errors": np.linalg.norm(landed - geometry.landmarks[1], axis=1),
        "landmark_shift": info["landmark_shift"],
        "attempts": info["attempts"],
        "rejected": info["rejected"],
        "shrink": info["shrink"],
        "steps": info["steps"].tolist(),
        "shape": (info["shape"] ** 2).sum() / 2 / model.shape.variances.sum(),
        "pose": (info["pose"] ** 2).sum() / 2 / model.pose.variances.sum(),
    }


def check_detail(index: int) -> dict[str, Any]:
    """Draw a pair in full, and its geometry in other ways."""
    model = SOURCES["composed"].model
    pair, single = SOURCES["composed"].draw(index), SOURCES["single"].geometry(index)
    contrast = float(np.ptp(model.intensities))
    objects = pair.weight > 0.99
    result: dict[str, Any] = {
        "single": [fold_facts(u)[0] > 0 for u in single.displacements],
        "before": float(np.abs(pair.moving - pair.fixed)[:, objects].mean() / contrast),
        "after": float(
            np.abs(modelaug.warp(pair.moving, pair.flow, threads=1) - pair.fixed)[:, objects].mean() / contrast
        ),
    }
    direct = SOURCES["direct"].geometry(index)
    error, inside = disagreement(direct, direct.flow)
    within = weight_map(direct.landmarks[0], model.objects, model.grid, model.spacing, 1e-9).ravel() > 0.5
    result["direct_inside"] = np.percentile(error[inside & within], [50, 95, 100]).tolist()
    result["direct_outside"] = np.percentile(error[inside & ~within], [50, 95, 100]).tolist()
    if pair.labels_fixed is not None:
        result["dice"], result["strayed"] = label_facts(pair)
    return result


def label_facts(pair: modelaug.Pair) -> tuple[list[float], float]:
    """Return the Dice of every structure of more than 200 voxels, and the share of labels that strayed.

    A voxel's label strayed if none of the voxels around its partner has it: more than pulling pixels by the nearest
    neighbour explains.
    """
    seen = modelaug.warp(np.ones_like(pair.labels_fixed), pair.flow, order=0, border="constant", threads=1) > 0
    pulled = modelaug.warp(pair.labels_moving, pair.flow, order=0, threads=1)
    strayed, dice = 0, []
    for label in np.unique(pair.labels_fixed):
        truth, found = (pair.labels_fixed == label) & seen, (pulled == label) & seen
        around = ndimage.maximum_filter((pair.labels_moving == label).astype(np.uint8), 3)
        strayed += int((truth & (modelaug.warp(around, pair.flow, order=0, threads=1) == 0)).sum())
        if label != 0 and truth.sum() > 200:
            dice.append(float(2 * (found & truth).sum() / (found.sum() + truth.sum())))
    return dice, strayed / seen.sum()


def summary(name: str, model: AppearanceModel, draws: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the table's figures for all draws of a cohort."""

    def of(key: str) -> np.ndarray:
        return np.array([draw[key] for draw in draws])

    errors = np.concatenate(of("landmark_errors"))
    steps = of("steps")
    return {
        "cohort": name,
        "grid": list(model.grid),
        "pairs": len(draws),
        "pairs_per_second": len(draws) / seconds,
        "folded_fields": int((of("folds") > 0).sum()),
        "least_determinant": float(of("least").min()),
        "share_below_0.01_px": float(of("close").sum() / of("inside").sum()),
        "largest_residual_px": float(of("residual").max()),
        "landmark_error_median_px": float(np.median(errors)),
        "landmark_error_largest_px": float(errors.max()),
        "landmark_shift_median_px": float(np.median(of("landmark_shift"))),
        "landmark_shift_largest_px": float(of("landmark_shift").max()),
        "first_attempt": float((of("attempts") == 1).mean()),
        "fast_path": float(((of("attempts") == 1) & (steps == 1).all(axis=1)).mean()),
        "single_step_maps": float((steps == 1).mean()),
        "most_attempts": int(of("attempts").max()),
        "most_steps": int(steps.max()),
        "rejected": dict(Counter(reason for draw in draws for reason in draw["rejected"])),
        "shrunk": int((of("shrink") < 1).sum()),
        "least_shrink": float(of("shrink").min()),
        "variance_of_shape_kept": float(of("shape").mean()),
        "variance_of_pose_kept": float(of("pose").mean()),
    }


def detail(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of the pairs that were drawn in full."""
    result = {
        "detailed_pairs": len(draws),
        "single_splines_that_fold": float(np.mean([draw["single"] for draw in draws])),
        "image_difference_before": float(np.mean([draw["before"] for draw in draws])),
        "image_difference_after": float(np.mean([draw["after"] for draw in draws])),
    }
    for where in ("inside", "outside"):
        middle, most, largest = np.array([draw[f"direct_{where}"] for draw in draws]).T
        result[f"direct_flow_{where}_px"] = [float(np.median(middle)), float(np.median(most)), float(largest.max())]
    if "dice" in draws[0]:
        dice = np.concatenate([draw["dice"] for draw in draws])
        result |= {
            "labels_that_strayed": float(np.mean([draw["strayed"] for draw in draws])),
            "dice_mean": float(dice.mean()),
            "dice_least": float(dice.min()),
            "dice_1_percent": float(np.quantile(dice, 0.01)),
        }
    return result


def measure(name: str, model: AppearanceModel, pairs: int, details: int, workers: int) -> dict[str, Any]:
    """Return all figures of a cohort's model."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.npz")
        model.save(path)
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=prepare, initargs=(path,)) as pool:
            list(pool.map(check_geometry, range(workers)))  # so that loading does not count
            start = time.perf_counter()
            draws = list(pool.map(check_geometry, range(pairs), chunksize=8))
            seconds = time.perf_counter() - start
            return summary(name, model, draws, seconds) | detail(list(pool.map(check_detail, range(details))))


def print_table(results: Iterable[dict[str, Any]]) -> None:
    rows = list(results)
    for key in dict.fromkeys(key for row in rows for key in row):
        print(f"{key:28}", *(f"{_text(row.get(key)):>24}" for row in rows))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(_text(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{name}:{count}" for name, count in value.items()) or "-"
    return "-" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", nargs="+", default=list(GENERATED), help="cohort files, or heart, brain, blobs")
    parser.add_argument("--pairs", type=int, default=1000, help="geometries to draw of each cohort")
    parser.add_argument("--detail", type=int, default=100, help="pairs to measure in full")
    parser.add_argument("--quick", action="store_true", help="10 pairs, 4 in full")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    pairs, details = (10, 4) if arguments.quick else (max(arguments.pairs, 1), max(arguments.detail, 1))

    results = []
    for name in arguments.cohort:
        cohort = GENERATED[name]() if name in GENERATED else Cohort.load(name)
        model = AppearanceModel.fit(cohort)
        results.append(measure(Path(name).stem, model, pairs, details, _checks.thread_count(None)))
        assert results[-1]["folded_fields"] == 0, "a field folds"
        assert results[-1]["largest_residual_px"] < 0.1, "a flow disagrees with its images"
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


if __name__ == "__main__":
    main()
