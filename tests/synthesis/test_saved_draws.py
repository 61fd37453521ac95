"""Draws of two saved models stay what they were: equal bits on a machine like the one that wrote them, else closely.

A change that is meant to change draws writes them anew, with ``python tests/synthesis/test_saved_draws.py``, and says
so in the changelog.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import AcquisitionOptions, AppearanceModel, Pair, PairOptions, PairSynthesizer, ResidualOptions
from modelaug.io.shards.bits import bits_here

SAVED = Path(__file__).parent / "saved"
OPTIONS = {
    "composed": PairOptions(),
    "direct": PairOptions(flow="direct", texture="shared", pose="none", allow_folds=True),
    "disturbed": PairOptions(
        texture="mixed",
        pose_limit=1.5,
        weight_unit="mm",
        residual=ResidualOptions(amplitude=1.0, spacing=8.0),
        acquisition=AcquisitionOptions(gamma=0.2, contrast=0.1, bias=0.1, noise=0.01),
    ),
}
CASES = [(model, name) for model in ("heart", "blobs") for name in OPTIONS]


def drawn(model: str, options: str) -> Pair:
    return PairSynthesizer(AppearanceModel.load(SAVED / f"{model}.npz"), seed=7, options=OPTIONS[options]).batch([0, 5])


def arrays(pair: Pair) -> dict[str, Any]:
    names = (
        "fixed",
        "moving",
        "flow",
        "weight",
        "landmarks_fixed",
        "landmarks_moving",
        "labels_fixed",
        "labels_moving",
    )
    return {name: value for name in names if (value := getattr(pair, name)) is not None}


def digest(pair: Pair) -> str:
    """Return the SHA-256 of all arrays of a pair, and of the facts about it."""
    sha = hashlib.sha256()
    for name, value in sorted(arrays(pair).items()):
        sha.update(f"{name} {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    for name, value in sorted(pair.info.items()):
        sha.update(f"{name} {json.dumps(value, default=np.ndarray.tolist)}".encode())
    return sha.hexdigest()


def coarse(pair: Pair) -> dict[str, Any]:
    """Return every 23rd value of each array, which fit into a small file."""
    return {name: np.ravel(value)[::23] for name, value in arrays(pair).items()}


@pytest.mark.parametrize(("model", "options"), CASES)
def test_draws_are_what_they_were(model: str, options: str) -> None:
    pair = drawn(model, options)
    saved = json.loads((SAVED / "draws.json").read_text())
    if saved["bits"] == bits_here():
        assert digest(pair) == saved["sha256"][f"{model} {options}"]
    with np.load(SAVED / "draws.npz", allow_pickle=False) as before:
        for name, value in coarse(pair).items():
            expected = before[f"{model} {options} {name}"]
            if name.startswith("labels"):
                assert np.mean(value != expected) < 0.01
            else:
                np.testing.assert_allclose(value, expected, rtol=0, atol=2e-3)


if __name__ == "__main__":
    pairs = {f"{model} {options}": drawn(model, options) for model, options in CASES}
    saved = {"bits": bits_here(), "sha256": {name: digest(pair) for name, pair in pairs.items()}}
    (SAVED / "draws.json").write_text(json.dumps(saved, indent=2) + "\n")
    np.savez_compressed(
        SAVED / "draws.npz",
        allow_pickle=False,
        **{f"{name} {part}": value for name, pair in pairs.items() for part, value in coarse(pair).items()},
    )
