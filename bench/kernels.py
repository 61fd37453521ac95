"""The kernels one by one: how far from the machine's floor, and from the strongest program a user would take instead.

    python bench/kernels.py [--only WORD] [--quick] [--json FILE]

Every case first checks that contenders agree where they compute the same, then times them in turn, on 1 thread and on
all; each number of threads has a process of its own, since some of the peers read theirs only when they are loaded.
`make bench` installs the peers; what is missing is said. elasticdeform takes no dense field, and wants numpy < 2, which
modelaug does not run with.

A floor counts multiply-adds in single precision and bytes that must be read and written once, on paper, see `floor.py`.
It knows nothing of gathers, floor() and conversions, which are most of what a warp does.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import floor
import numpy as np
import peers
import report

import modelaug

BATCH = 32
GRIDS = {2: (256, 256), 3: (64, 64, 64)}
LANDMARKS = {2: 112, 3: 500}
TOLERANCES = {2: 0.25, 3: 1.5}
"""Voxels. Landmarks are noisy; to come closer in space takes a lattice finer than the voxels."""
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class Job:
    """A case before it is measured.

    ours() is timed against the makers' contenders. Their values are compared with the reference, or with ours() where
    that is None, but for `border` voxels at the edge: not all continue fields and images in the same way. cached:
    everything may stay in caches from call to call, and the floor supposes the fastest of them.
    """

    name: str
    d: int
    ours: Callable[[], np.ndarray]
    makers: peers.Makers
    multiply_adds: float
    bytes: float
    cached: bool = True
    border: int = 16
    reference: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def smooth_field(d: int, seed: int, amplitude: float) -> np.ndarray:
    """Return a field (d, *grid) without folds, of a cubic spline with 6 cells an axis."""
    rng = np.random.default_rng(seed)
    coefficients = amplitude * rng.uniform(-1, 1, (d, *(9,) * d))
    spline = modelaug.BSpline(coefficients, GRIDS[d], np.zeros(1), 0, True)
    return spline.on_grid()


def smooth_image(d: int, seed: int) -> np.ndarray:
    """Return an image (*grid) in [-1, 1] with details of about 4 voxels."""
    rng = np.random.default_rng(seed)
    at = np.indices(GRIDS[d]).astype(np.float64)
    waves = [np.sin(np.tensordot(rng.uniform(-0.8, 0.8, d), at, 1) + rng.uniform(0, 6)) for _ in range(6)]
    return (np.sum(waves, axis=0) / 6).astype(np.float32)


def spline_job(all_peers: peers.Peers, d: int) -> Job:
    """Landmarks with noise of 1.5 voxels: a spline through them, and its field."""
    grid, count, rng = GRIDS[d], LANDMARKS[d], np.random.default_rng(d)
    apart = math.ceil(count ** (1 / d))  # each landmark alone in a cell, as points along contours keep their distance
    cells = rng.permutation(apart**d)[:count]
    inside = np.stack(np.unravel_index(cells, (apart,) * d), axis=-1) + rng.uniform(0.15, 0.85, (count, d))
    sites = inside / apart * (np.array(grid) - 1)
    smooth = modelaug.warp_points(sites, smooth_field(d, 1, 6.0)) - sites
    values = smooth + rng.normal(0, 1.5, (count, d))
    fit = modelaug.fit_bspline(sites, values, grid, tolerance=TOLERANCES[d])
    assert fit.converged, f"{fit.residuals.max():g} voxels after {fit.levels} levels"

    # Each level looks at 4^d control points of each site, once to find what is left and once to spread it, and refines
    # the lattice before it, 5 multiply-adds for 2 nodes along each axis. The field collapses the lattice along every
    # axis but the last, 4 multiply-adds for each value of a row of nodes, then expands the rows, 4 for each voxel.
    nodes = [2**level + 3 for level in range(fit.levels)]
    work = sum(2 * count * 4**d * d + 2.5 * d * d * n**d for n in nodes)
    partial = [np.prod(grid[:axis]) * nodes[-1] ** (d - axis) for axis in range(1, d + 1)]
    work += 4 * d * float(sum(partial))

    makers = peers.spline(all_peers, sites, values, grid, fit.levels)
    for name, contender in all_peers.enter(makers)[0].items():
        reached = modelaug.warp_points(sites, contender.array(contender.run())) - sites
        missed = np.linalg.norm(reached - values, axis=1).max()
        assert missed < 2 * TOLERANCES[d], f"{name} misses the landmarks by {missed:g}"
    # B-splines are the same as others' without the affine part.
    plain = modelaug.fit_bspline(sites, values, grid, tolerance=1e-9, max_levels=fit.levels, affine=False)

    def ours() -> np.ndarray:
        return modelaug.fit_bspline(sites, values, grid, tolerance=TOLERANCES[d]).on_grid(threads=all_peers.threads)

    return Job(
        f"landmarks to field {_text(grid)}",
        d,
        ours,
        makers,
        work,
        4.0 * d * np.prod(grid),
        border=0,
        reference=plain.on_grid(),
        facts={"landmarks": count, "levels": fit.levels, "tolerance": TOLERANCES[d]},
    )


def warp_job(all_peers: peers.Peers, d: int, order: int, batch: int) -> Job:
    """Images through fields."""
    grid = GRIDS[d]
    images = np.stack([smooth_image(d, seed) for seed in range(batch)])
    fields = np.stack([smooth_field(d, seed, 10.0) for seed in range(batch)])

    out = np.empty_like(images[:, None])  # as cv2.remap has one

    def ours() -> np.ndarray:
        return modelaug.warp(images[:, None], fields, order=order, threads=all_peers.threads, out=out)[:, 0]

    # Linear: 2^d - 1 interpolations between two values, a difference and a multiply-add each, and d sums for positions.
    # Cubic: two recursive filters along each axis, 5 multiply-adds for the weights of each, and 4 for each value that
    # an axis after the other leaves: 4 + 16 in the plane, 4 + 16 + 64 in space.
    each = 2 * (2**d - 1) + d if order == 1 else 2 * d + 5 * d + sum(4**axis for axis in range(1, d + 1)) + d
    pixels = batch * float(np.prod(grid))
    return Job(
        f"warp {'linear' if order == 1 else 'cubic'} {f'{batch} x ' if batch > 1 else ''}{_text(grid)}",
        d,
        ours,
        peers.warp(all_peers, images, fields, order),
        each * pixels,
        4 * (d + 2) * pixels,
        cached=batch == 1,
    )


def compose_job(all_peers: peers.Peers, d: int) -> Job:
    u, v = smooth_field(d, 1, 10.0), smooth_field(d, 2, 10.0)
    pixels = float(np.prod(GRIDS[d]))
    # The interpolations of a warp for each component, and a sum.
    return Job(
        f"compose {_text(GRIDS[d])}",
        d,
        lambda: modelaug.compose(u, v, threads=all_peers.threads),
        peers.compose(all_peers, u, v),
        (d * (2 * (2**d - 1) + 1) + d) * pixels,
        12 * d * pixels,
    )


def invert_job(all_peers: peers.Peers, d: int) -> Job:
    u, tolerance = smooth_field(d, 3, 10.0), 1e-3
    pixels = float(np.prod(GRIDS[d]))
    # No method is sure of an inverse before it has looked twice: where it starts, and where it went.
    return Job(
        f"invert {_text(GRIDS[d])}",
        d,
        lambda: modelaug.invert(u, tolerance=tolerance, threads=all_peers.threads),
        peers.invert(all_peers, u, tolerance),
        2 * (d * (2 * (2**d - 1) + 1) + d) * pixels,
        8 * d * pixels,
    )


def determinant_job(all_peers: peers.Peers, d: int) -> Job:
    u = smooth_field(d, 4, 10.0)
    pixels = float(np.prod(GRIDS[d]))
    # d^2 differences, d sums with 1, and 2 or 9 multiply-adds.
    return Job(
        f"Jacobian determinant {_text(GRIDS[d])}",
        d,
        lambda: modelaug.jacobian_determinant(u, threads=all_peers.threads),
        peers.jacobian_determinant(all_peers, u),
        (d * d + d + (2 if d == 2 else 9)) * pixels,
        4 * (d + 1) * pixels,
        border=1,
    )


def jobs(all_peers: peers.Peers, quick: bool) -> Iterator[tuple[str, Callable[[], Job]]]:
    """Yield all cases, a word to choose them by first; a case's data are made when it is its turn."""
    for d in GRIDS:
        yield "spline", lambda d=d: spline_job(all_peers, d)
        for order in (1, 3):
            for batch in (1, 2 if quick else BATCH):
                yield "warp", lambda d=d, order=order, batch=batch: warp_job(all_peers, d, order, batch)
        yield "compose", lambda d=d: compose_job(all_peers, d)
        yield "invert", lambda d=d: invert_job(all_peers, d)
        yield "determinant", lambda d=d: determinant_job(all_peers, d)


def measured(job: Job, all_peers: peers.Peers, machine: floor.Machine, quick: bool) -> report.Case:
    """Check a case's results, then time it."""
    contenders, missing = all_peers.enter(job.makers)
    expected = job.ours()
    reference = expected if job.reference is None else job.reference
    inner = (..., *(slice(job.border, n - job.border) for n in GRIDS[job.d]))
    differences = {}
    for name, contender in contenders.items():
        result = contender.array(contender.run())
        assert result.shape == expected.shape, f"{job.name}, {name}: {result.shape}, not {expected.shape}"
        differences[name] = float(np.abs(result - reference)[inner].max())
        if contender.close is not None:
            assert differences[name] <= contender.close, f"{job.name}, {name}: differs by {differences[name]:g}"
    functions: dict[str, Callable[[], object]] = {report.OURS: job.ours}
    functions |= {name: contender.run for name, contender in contenders.items()}
    return report.Case(
        job.name,
        all_peers.threads,
        report.interleaved(functions, repeats=3 if quick else 30, seconds=0.5 if quick else 6.0),
        machine.seconds(multiply_adds=job.multiply_adds, bytes=job.bytes, cached=job.cached),
        missing,
        {"differences": differences, "multiply_adds": job.multiply_adds, "bytes": float(job.bytes), **job.facts},
    )


def run(threads: int, only: str, quick: bool) -> tuple[floor.Machine, list[report.Case]]:
    """Measure all cases in this process."""
    machine, all_peers = floor.measure(threads, quick=quick), peers.Peers(threads)
    cases = [measured(make(), all_peers, machine, quick) for word, make in jobs(all_peers, quick) if only in word]
    return machine, cases


def _text(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--only", default="", help="spline, warp, compose, invert or determinant; all by default")
    arguments = parser.parse_args()
    machines, cases = [], []
    for threads in report.thread_counts():
        os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            machine, found = pool.submit(run, threads, arguments.only, arguments.quick).result()
        machines.append(asdict(machine))
        cases += found
    report.print_table(cases)
    for machine in machines[1:]:
        gain = machine["multiply_adds_per_second"] / machines[0]["multiply_adds_per_second"]
        print(
            f"{machine['threads']} threads multiply {gain:.2f} times as fast as 1: if that is little, others are busy"
        )
    figures = {"machines": machines, "cases": [case.record() for case in cases]}
    report.write_json(arguments.json, figures, ["antspyx", "opencv-python-headless", "SimpleITK"])


if __name__ == "__main__":
    main()
