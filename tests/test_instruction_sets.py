"""All instruction sets that this processor has give the same results, up to rounding; others are refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

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
    for wanted in there_are():
        path = folder / f"{wanted}.npz"
        done = python(SCRIPT, wanted, str(folder), str(path))
        assert done.returncode == 0, done.stderr
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        assert str(arrays.pop("set")) == wanted
        found[wanted] = arrays
    return found


def python(script: str, wanted: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what becomes of a script in a process with the instruction set that is wanted."""
    environment = {**os.environ, "MODELAUG_ISA": wanted}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def there_are() -> list[str]:
    """Return the instruction sets of this build and this processor, the best first, as a refusal lists them."""
    message = refusal("none of these")
    found = re.search(r"have \((.*)\), or unset it$", message)
    assert found is not None, message
    return found[1].split(", ")


def refusal(wanted: str) -> str:
    """Return the line with which the import ends."""
    done = python("import modelaug", wanted)
    assert done.returncode == 1  # and not by a signal
    kind, _, message = done.stderr.strip().splitlines()[-1].partition(": ")
    assert kind == "ImportError"
    return message


def test_sets_of_this_processor() -> None:
    assert there_are() in (["baseline"], ["v3", "baseline"], ["v4", "v3", "baseline"])


@pytest.mark.parametrize("wanted", ["v5", "V3", "avx2", "base line", " v3", "v3,v4", "x" * 1000])
def test_a_set_that_there_is_not_ends_the_import(wanted: str) -> None:
    assert refusal(wanted).startswith(f"the environment variable MODELAUG_ISA is '{wanted}'; set it to an instruction")


def test_a_set_that_this_processor_lacks_ends_the_import() -> None:
    lacking = {"baseline", "v3", "v4"} - set(there_are())
    if not lacking:
        pytest.skip("this processor has them all")
    for wanted in lacking:
        assert f"MODELAUG_ISA is '{wanted}'" in refusal(wanted)


@pytest.mark.parametrize("unset", [True, False])
def test_the_best_set_is_used_unless_another_is_wanted(unset: bool) -> None:
    script = "import os; os.environ.pop('MODELAUG_ISA')" if unset else "pass"
    script += "; import modelaug; print(modelaug.build_config()['instruction_set'])"
    done = python(script, "")
    assert done.stdout.strip() == there_are()[0], done.stderr


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
