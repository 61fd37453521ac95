"""All instruction sets that this processor has give the same results, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import modelaug
from tests.examples import heart_model, volume_model

SCRIPT = """
import json, sys
import numpy as np
import modelaug
from modelaug import PairOptions, PairSynthesizer, TextureOptions
out = {"set": np.array(modelaug.build_config()["instruction_set"])}
rng = np.random.default_rng(1)
for d, grid in ((2, (33, 40)), (3, (9, 12, 17))):
    image, field = rng.normal(size=grid), rng.normal(size=(d, *grid)) * 3
    out[f"warp{d}"] = modelaug.warp(image, field)
    out[f"cubic{d}"] = modelaug.warp(image, field, order=3)
    out[f"fill{d}"] = modelaug.warp(image, field, border="constant", fill=-1.0)
    out[f"nearest{d}"] = modelaug.warp(image, field, order=0)
    out[f"jacobian{d}"] = modelaug.jacobian_determinant(field)
    out[f"composition{d}"] = modelaug.compose(field, field)
    out[f"inverse{d}"] = modelaug.invert((0.05 * field).astype(np.float32), tolerance=1e-5)
    sites = rng.uniform(size=(12, d)) * (np.array(grid) - 1)
    out[f"spline{d}"] = modelaug.fit_bspline(sites, rng.normal(size=(12, d)), grid, tolerance=1e-3).on_grid()
for name in ("heart_model", "volume_model"):
    pair = PairSynthesizer(modelaug.AppearanceModel.load(sys.argv[1] + f"/{name}.npz"), seed=3).draw(1)
    for part in ("fixed", "moving", "flow", "weight"):
        out[f"{name}_{part}"] = getattr(pair, part)
np.savez(sys.argv[2], **out)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Return what a process makes with each instruction set, by the set's name."""
    folder = tmp_path_factory.mktemp("sets")
    for model in (heart_model, volume_model):
        model().save(folder / f"{model.__name__}.npz")
    found: dict[str, dict[str, np.ndarray]] = {}
    for wanted in ("baseline", "v3", "v4"):
        path = folder / f"{wanted}.npz"
        environment = {**os.environ, "MODELAUG_ISA": wanted}
        command = [sys.executable, "-c", SCRIPT, str(folder), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        found[str(arrays.pop("set"))] = arrays
    return found


def test_the_wanted_set_is_used_where_there_is_one(results: dict[str, dict[str, np.ndarray]]) -> None:
    assert "baseline" in results
    assert modelaug.build_config()["instruction_set"] in (*results, os.environ.get("MODELAUG_ISA"))
    assert json.dumps(sorted(results)) in ('["baseline"]', '["baseline", "v3"]', '["baseline", "v3", "v4"]')


def test_all_sets_agree(results: dict[str, dict[str, np.ndarray]]) -> None:
    baseline = results.pop("baseline")
    for name, arrays in results.items():
        for key, array in arrays.items():
            scale = np.ptp(baseline[key])
            # Where a position is at the very edge of a frame, a last bit decides between image and background; flows
            # are solved to 3e-4 voxels.
            tolerance = 1e-3 if key.endswith("_flow") else 3e-4 * scale if "_model" in key else 1e-5 * scale
            differ = np.abs(array - baseline[key]) > tolerance
            assert differ.mean() <= (2e-3 if "_model" in key else 0), f"{name}, {key}"
