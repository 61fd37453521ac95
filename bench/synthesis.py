"""Pairs per second, and the memory they take.

    python bench/synthesis.py [--cohort FILE.npz] [--pairs N] [--quick] [--json FILE]

Checks first that a pair is the same bits alone and in a batch; then times the fit and whole pairs (two images, flow,
weights, landmarks, labels) on 1 thread and on all.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np

import modelaug
from modelaug import _checks


def timed_pairs(source: modelaug.PairSynthesizer, pairs: int, threads: int, repeats: int) -> float:
    """Return the median rate of `repeats` batches in pairs per second."""
    rates = []
    for repeat in range(repeats):
        start = time.perf_counter()
        source.batch(range(repeat * pairs, (repeat + 1) * pairs), threads=threads)
        rates.append(pairs / (time.perf_counter() - start))
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, help="a cohort file; 24 heart phantoms of 256 x 256 by default")
    parser.add_argument("--pairs", type=int, default=100, help="pairs in a batch")
    parser.add_argument("--quick", action="store_true", help="one batch of 10 pairs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    pairs, repeats = (10, 1) if arguments.quick else (arguments.pairs, 5)

    cohort = modelaug.Cohort.load(arguments.cohort) if arguments.cohort else modelaug.phantoms.heart(24)
    start = time.perf_counter()
    model = modelaug.AppearanceModel.fit(cohort)
    result: dict[str, object] = {
        "cohort": str(arguments.cohort or "heart phantoms"),
        "subjects": len(cohort),
        "grid": cohort.grid,
        "fit_seconds": time.perf_counter() - start,
        "shape_modes": len(model.shape.variances),
        "texture_modes": len(model.texture.variances),
    }
    source = modelaug.PairSynthesizer(model)
    alone, batch = source.draw(7), source.batch(range(8))
    assert np.array_equal(alone.flow, batch.flow[7])
    assert np.array_equal(alone.moving, batch.moving[7])

    for threads in sorted({1, _checks.thread_count(None)}):
        result[f"pairs_per_second_{threads}_threads"] = timed_pairs(source, pairs, threads, repeats)
    result["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    for key, value in result.items():
        print(f"{key:32} {value:.4g}" if isinstance(value, float) else f"{key:32} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
