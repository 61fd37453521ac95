"""Files of appearance models: one ``.npz`` with the arrays and a JSON header."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.cohort import LandmarkObject
from modelaug.io.files.archives import write_archive
from modelaug.io.files.arrays import Archive, open_archive
from modelaug.io.files.reading import refusing
from modelaug.locality.gaussian import GaussianModel
from modelaug.models.alignment import pose_parameter_count
from modelaug.models.appearance import AppearanceModel, ModelOptions

_FORMAT = "modelaug appearance model"
_VERSION = 2
_PARTS = ("shape", "texture", "pose")
_ARRAYS = {  # number of axes and type
    "reference": (2, np.float64),
    "center": (1, np.float64),
    "texture_coefficients": (2, np.float64),
    "spacing": (1, np.float64),
    "intensities": (2, np.float32),
    "background": (1, np.float32),
}


def write_model(path: str | Path, model: AppearanceModel) -> None:
    """Write a model, under a temporary name until it is complete."""
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "grid": model.grid,
        "objects": [{"name": o.name, "kind": o.kind, "indices": o.indices} for o in model.objects],
        "options": model.options.as_json(),
        "provenance": model.provenance,
    }
    arrays: dict[str, npt.NDArray[Any]] = {"header": np.array(json.dumps(header))}
    for name in _PARTS:
        part: GaussianModel = getattr(model, name)
        arrays |= {f"{name}_mean": part.mean, f"{name}_modes": part.basis.T, f"{name}_variances": part.variances}
    arrays |= {name: getattr(model, name) for name in (*_ARRAYS, "crossings")}
    if model.labels is not None:
        arrays["labels"] = model.labels
    write_archive(path, arrays)


def read_model(path: str | Path) -> AppearanceModel:
    """Read a model that `write_model` wrote, bit for bit; errors as in `AppearanceModel.load`."""
    invalid = "is no valid appearance model"
    # Overflow is refused as an error, so numpy need not warn.
    with open_archive(path) as archive, refusing(path, invalid, "fit the model again"), np.errstate(all="ignore"):
        header = archive.read_header(format=_FORMAT, version=_VERSION, wanted="an appearance model")
        grid = _checks.grid_shape("grid", header["grid"])
        objects = tuple(LandmarkObject(o["name"], tuple(o["indices"]), o["kind"]) for o in header["objects"])
        arrays = _read_arrays(archive, grid, sum(len(each.indices) for each in objects))
        parts: dict[str, Any] = {
            name: GaussianModel(
                arrays[f"{name}_mean"], np.ascontiguousarray(arrays[f"{name}_modes"]).T, arrays[f"{name}_variances"]
            )
            for name in _PARTS
        }
        fixed: dict[str, Any] = {
            name: _checks.finite(name, arrays[name], ndim=ndim, dtype=dtype) for name, (ndim, dtype) in _ARRAYS.items()
        }
        model = AppearanceModel(
            **parts,
            **fixed,
            labels=arrays.get("labels"),
            crossings=_counts(arrays["crossings"]),
            grid=grid,
            objects=objects,
            options=ModelOptions.from_json(header["options"]),
            provenance=header["provenance"],
        )
        model.check()
    return model


def _read_arrays(archive: Archive, grid: tuple[int, ...], landmarks: int) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a model; an array too large for the others is refused before it is unpacked."""
    needed = (*(f"{part}_{name}" for part in _PARTS for name in ("mean", "modes", "variances")), *_ARRAYS, "crossings")
    archive.require(*needed)
    archive.know("header", "labels", *needed)
    d, pixels = len(grid), math.prod(grid)
    subjects = archive.headers["texture_coefficients"].shape[:1]
    channels = min(archive.headers["background"].size, archive.headers["texture_mean"].size // pixels)
    lengths = {"shape": landmarks * d, "texture": channels * pixels, "pose": pose_parameter_count(d)}
    limits = dict.fromkeys((*_ARRAYS, "crossings"), (landmarks + 4) * (landmarks + 4))
    limits |= {"labels": pixels, "background": channels, "intensities": 2 * channels}
    for part, length in lengths.items():
        modes = math.prod(archive.headers[f"{part}_variances"].shape)
        limits |= {f"{part}_mean": length, f"{part}_variances": length, f"{part}_modes": length * modes}
    limits["texture_coefficients"] = math.prod((lengths["texture"], *subjects))
    return {name: archive.read(name, most=limits[name]) for name in archive.headers if name != "header"}


def _counts(array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the crossings of a model as int64; the array may be empty, as in 3D."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"crossings is an array of {array.dtype} with {array.ndim} axes")
    counts = array.astype(np.int64)
    if (counts < 0).any():  # numbers beyond 63 bits are negative, too
        raise ValueError(f"crossings is {array.tolist()}, not all of them counts")
    return counts
