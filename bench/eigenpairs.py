"""Leading eigenimages: our block Krylov against scipy's eigsh and lobpcg.

    OPENBLAS_NUM_THREADS=1 python bench/eigenpairs.py [--cases NAME...] [--quick] [--json FILE]

How many eigenpairs reach a coverage below 1 is not known beforehand. Ours finds out on the way; eigsh is called for 64,
and for twice as many until they do. Then eigsh and lobpcg are told the number, as no program could be. Cases are those
of `bench/model_quality.py` (64 x 64), of `bench/synthesis.py` (128 x 128, 300 modes) and that of the default options of
the engine "basis". Times are of the processor, in turns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import report
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg

from modelaug import SplineOptions, phantoms, procrustes
from modelaug._random import generator
from modelaug.locality import LocalizedOperator
from modelaug.locality.eigen import leading_eigenpairs
from modelaug.models.normalization import normalize

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Search:
    """Images of a side, the level of locality, its taper, coverage and largest number of modes."""

    side: int
    level: int
    taper: Any
    coverage: float
    modes: int


CASES = {
    "64 x 64, level 2": Search(64, 2, "gaussian", 0.95, 500),
    "64 x 64, level 4": Search(64, 4, "gaussian", 0.95, 1000),
    "64 x 64, level 5": Search(64, 5, "gaussian", 0.95, 1000),
    "128 x 128, level 4": Search(128, 4, "gaussian", 0.95, 300),
    "128 x 128, level 2, 300 modes": Search(128, 2, "wendland", 1.0, 300),
    "128 x 128, level 2, the default": Search(128, 2, "wendland", 1.0, 1000),
}


def measured(search: Search, repeats: int) -> dict[str, Any]:
    """Return the least seconds of each search, what it found, and how many products it took."""
    hearts = phantoms.heart(32, shape=(search.side, search.side))
    textures = normalize(hearts, procrustes(hearts.landmarks).shapes.mean(axis=0), SplineOptions(), threads=1).textures
    threshold = 2**0.5 * (search.side - 1) * 0.5 ** (search.level - 1)
    operator = LocalizedOperator(textures, hearts.grid, threshold, search.taper, threads=1)
    p, products = operator.shape[0], 0

    def multiply(columns: Any) -> Any:
        nonlocal products
        products += columns.reshape(p, -1).shape[1]
        return operator.apply(columns.reshape(p, -1).T.astype(np.float32)).T.reshape(columns.shape)

    matrix = LinearOperator(operator.shape, matvec=multiply, matmat=multiply, dtype=np.float32)
    ours = leading_eigenpairs(operator, coverage=search.coverage, max_modes=search.modes, rng=generator(0, 1))
    k, largest = len(ours.values), ours.values[0]
    start = generator(0, 1).standard_normal((p, k)).astype(np.float32)
    # The tolerance of eigsh is relative to each value, ours and that of lobpcg to the largest.
    relative = min(0.1, TOLERANCE * largest / ours.values[-1])

    def lanczos(count: int) -> Any:
        return eigsh(matrix, count, which="LA", v0=start[:, 0], tol=relative, ncv=min(p, 2 * count + 20))[0]

    def doubling() -> Any:
        count = search.modes if search.coverage == 1 else min(64, search.modes)
        while (values := lanczos(count)).sum() < search.coverage * operator.trace and count < search.modes:
            count = min(2 * count, search.modes)
        return values

    searches = {
        report.OURS: lambda: (
            leading_eigenpairs(operator, coverage=search.coverage, max_modes=search.modes, rng=generator(0, 1)).values
        ),
        "eigsh": doubling,
        "eigsh, told": lambda: lanczos(k),
        "lobpcg, told": lambda: lobpcg(matrix, start, tol=TOLERANCE * largest, maxiter=100)[0],
    }
    if k > 500:
        del searches["lobpcg, told"]  # it takes minutes
    found: dict[str, Any] = {"modes": k}
    for _ in range(repeats):
        for name, call in searches.items():
            products, begin = 0, time.process_time()
            values = np.sort(call())[::-1][:k]
            seconds = time.process_time() - begin
            error = float(np.abs(values - ours.values).max() / largest)
            before = found.get(name, {"seconds": np.inf})
            found[name] = {
                "seconds": min(seconds, before["seconds"]),
                "products": products or ours.products,
                "difference": error,
            }
    return found


def main() -> None:
    """Measure and print."""
    parser = report.parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    figures = {}
    print(f"{'case':36} {'modes':>5} {'search':>12} {'s':>7} {'/ ours':>6} {'products':>8} {'difference':>10}")
    for name in arguments.cases[:1] if arguments.quick else arguments.cases:
        figures[name] = found = measured(CASES[name], 1 if arguments.quick else 3)
        for search, each in found.items():
            if search == "modes":
                continue
            ratio = each["seconds"] / found[report.OURS]["seconds"]
            print(
                f"{name:36} {found['modes']:5} {search:>12} {each['seconds']:7.2f} {ratio:6.2f} {each['products']:8} "
                f"{each['difference']:10.1e}",
                flush=True,
            )
    report.write_json(arguments.json, figures, ("scipy",))


if __name__ == "__main__":
    main()
