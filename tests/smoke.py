"""Whether an installed modelaug works at all: ``python tests/smoke.py [--cli]``, without pytest and the test suite.

For wheels, in an environment that has what the wheel asks for and nothing else. With ``--cli`` the command line has to
be there, too; torch is tried if it is installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import modelaug


def kernels() -> None:
    """Warp, compose, invert and fit in the plane and in space, with the same bits on one thread and on two."""
    for grid in ((21, 34), (9, 14, 17)):
        d, rng = len(grid), np.random.Generator(np.random.Philox(5))
        sites = rng.uniform(0, np.array(grid) - 1, (30, d))
        linear = sites @ rng.normal(size=(d, d)) + 1.0
        spline = modelaug.fit_bspline(sites, linear, grid, tolerance=1e-3, threads=2)
        assert spline.converged
        np.testing.assert_allclose(spline.at(sites), linear, atol=1e-2)
        waves = [0.4 * np.sin(np.indices(grid)[k] / 3.0) for k in range(d)]
        field = np.stack(waves).astype(np.float32)
        inverse = modelaug.invert(field)
        assert np.abs(modelaug.compose(field, inverse))[:, 4:-4, 4:-4].max() < 0.05
        assert modelaug.jacobian_determinant(field).min() > 0
        image = rng.random(grid, dtype=np.float32)
        np.testing.assert_allclose(modelaug.warp(image, np.zeros_like(field), order=3), image, atol=1e-5)
        moved = [modelaug.warp(image, field, order=1, threads=threads) for threads in (1, 2)]
        assert np.array_equal(*moved)


def model(folder: Path) -> None:
    """Fit a model, draw pairs whose flow is right, and read the model from its file."""
    cohort = modelaug.phantoms.heart(6, shape=(64, 64))
    cohort.save(folder / "cohort.npz")
    fitted = modelaug.AppearanceModel.fit(cohort, threads=2)
    fitted.save(folder / "model.npz")
    options = modelaug.PairOptions(texture="shared")
    source = modelaug.PairSynthesizer(fitted, seed=1, options=options)
    again = modelaug.PairSynthesizer(modelaug.AppearanceModel.load(folder / "model.npz"), seed=1, options=options)
    pair, batch = source.draw(3), again.batch([2, 3], threads=2)
    assert np.array_equal(pair.flow, batch.flow[1])
    assert np.array_equal(pair.moving, batch.moving[1])
    inside = pair.weight > 0
    before = np.abs(pair.moving - pair.fixed)[:, inside].mean()
    after = np.abs(modelaug.warp(pair.moving, pair.flow, order=3) - pair.fixed)[:, inside].mean()
    assert after < 0.4 * before, (before, after)


def command_line(folder: Path) -> None:
    """Show the help, and fit and sample by the command line."""
    commands = (
        ["--help"],
        ["fit", str(folder / "cohort.npz"), "-o", str(folder / "again.npz")],
        ["sample", str(folder / "again.npz"), "-n", "2", "-o", str(folder / "pairs")],
    )
    for arguments in commands:
        subprocess.run([sys.executable, "-m", "modelaug", *arguments], check=True, stdout=subprocess.DEVNULL)
    assert (folder / "pairs" / "manifest.json").exists()


def beside_torch() -> None:
    """Take turns with torch, whose threads may be run by another copy of the same library."""
    import torch

    field = np.zeros((2, 64, 64), np.float32)
    for _ in range(3):
        image = torch.rand(64, 64).matmul(torch.rand(64, 64))
        np.testing.assert_allclose(modelaug.warp(image.numpy(), field, threads=2), image, atol=1e-4)


def main() -> None:
    """Run all checks."""
    package = Path(modelaug.__file__).parent
    assert (package / "py.typed").is_file()
    config = modelaug.build_config()
    assert not config["assertions"]
    with tempfile.TemporaryDirectory() as name:
        kernels()
        model(Path(name))
        if find_spec("torch"):
            beside_torch()
        if "--cli" in sys.argv:
            command_line(Path(name))
    names = ("version", "compiler", "instruction_set", "threading")
    print(f"modelaug works in {package}: {', '.join(config[each] for each in names)}")


if __name__ == "__main__":
    main()
