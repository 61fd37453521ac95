"""What the rows rest on: where "refined" begins, what a cascade is, and networks for images of any channels."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from modelaug import Cohort, learning, phantoms
from modelaug.comparison import CompareOptions, compare, methods, preset_options
from modelaug.comparison.methods import Fold, prepare_method
from modelaug.io.files.provenance import write_json
from modelaug.learning import read_card
from modelaug.registration import VariationalOptions

GRID = (48, 56)
NETWORK = replace(preset_options("tiny"), grid=GRID, steps=1, pretrain_steps=1)


def turned(grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return the displacement of a rotation with scale about the centre."""
    x = np.indices(grid) - (np.array(grid).reshape(2, 1, 1) - 1) / 2
    matrix = 1.1 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    return np.asarray(np.einsum("ij,j...->i...", matrix, x) - x, np.float32)


def pulled(image: npt.NDArray[Any], u: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return ``image(x + u(x))`` for an image (c, *grid), linear, with the border continued."""
    at = np.indices(u.shape[1:]) + u
    return np.stack([ndimage.map_coordinates(each, at, order=1, mode="nearest") for each in image]).astype(np.float32)


def colours(n: int = 4) -> Cohort:
    """Return hearts whose three channels tell more than any of them."""
    grey = phantoms.heart(n, shape=GRID, seed=1)
    images = np.concatenate([grey.images, grey.images**2, 1 - grey.images], axis=1)
    return Cohort(images, grey.landmarks, labels=grey.labels, objects=grey.objects, spacing=grey.spacing)


def fold(folder: Path, training: Cohort) -> Fold:
    """Return a fold whose classical registration is chosen already."""
    chosen = {"format": "modelaug choice of a registration", "version": 1}
    write_json(folder / "variational.json", {**chosen, "options": asdict(VariationalOptions(iterations=30))})
    options = CompareOptions(folds=2, network=NETWORK)
    return Fold(training, None, folder / "method", folder, options, 1)


def test_the_refined_row_begins_with_what_the_network_found(tmp_path: Path) -> None:
    moving, start = phantoms.heart(2, shape=GRID).images[0], turned(GRID)
    refined = methods._refined(lambda fixed, moving: start, fold(tmp_path, colours()))
    # Where the network is right, nothing is left to be done; from nothing, two levels do not get there.
    np.testing.assert_allclose(refined(pulled(moving, start), moving), start, atol=1e-4)


def test_rows_of_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row registers once, the second in passes and both ways, the third goes on from the second."""
    calls: list[dict[str, Any]] = []
    start = turned(GRID)

    def register(network: Any, fixed: Any, moving: Any, **options: Any) -> npt.NDArray[np.float32]:
        calls.append(options)
        return start if options.get("symmetric") else np.zeros_like(start)

    monkeypatch.setattr(methods, "_train", lambda *arguments: None)
    monkeypatch.setattr(learning, "load_network", lambda folder: None)
    monkeypatch.setattr(learning, "register", register)
    rows = prepare_method("FlowNet-SAM", fold(tmp_path, phantoms.heart(4, shape=GRID)))
    assert list(rows) == ["FlowNet-SAM", "FlowNet-SAM, cascade", "FlowNet-SAM, refined"]
    moving = phantoms.heart(2, shape=GRID).images[0]
    fixed = pulled(moving, start)
    assert not np.any(rows["FlowNet-SAM"](fixed, moving))
    for name in ("FlowNet-SAM, cascade", "FlowNet-SAM, refined"):
        np.testing.assert_allclose(rows[name](fixed, moving), start, atol=1e-4)  # type: ignore[arg-type]
    assert [call["grid"] for call in calls] == [GRID] * 3
    assert [call.get("passes", 1) for call in calls] == [1, NETWORK.passes, NETWORK.passes]


@pytest.mark.parametrize("pretrain_steps", [0, 1])
def test_networks_see_all_channels_of_the_images(pretrain_steps: int, tmp_path: Path) -> None:
    network = replace(NETWORK, pretrain_steps=pretrain_steps)
    options = CompareOptions(methods=("FlowNet-Random",), folds=2, network=network)
    compare(colours(), tmp_path, name="colours", options=options, threads=1)
    found = sorted(tmp_path.glob("**/net.json"))
    assert len(found) == 2 + pretrain_steps
    assert [read_card(path.parent)["architecture"]["image_channels"] for path in found] == [3] * len(found)
