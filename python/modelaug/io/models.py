"""Model files: one ``.npz`` with the arrays and a JSON header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.cohort import LandmarkObject
from modelaug.gaussian import GaussianModel
from modelaug.io.archives import read_archive, write_archive
from modelaug.io.reading import ModelFileError

if TYPE_CHECKING:
    from modelaug.model import AppearanceModel

__all__ = ["read_model", "write_model"]

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
        "options": model.options,
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


def read_model(path: str | Path, kind: type[AppearanceModel]) -> AppearanceModel:
    """Read a model that `write_model` wrote, bit for bit; errors as of `AppearanceModel.load`."""
    arrays = read_archive(path, required=("header",))
    try:
        header = json.loads(str(arrays["header"]))
        if header["format"] != _FORMAT:
            raise ModelFileError(f"{path} holds {header['format']!r}; pass an appearance model")
        if header["version"] != _VERSION:
            raise ModelFileError(
                f"{path} has format version {header['version']}, this program reads {_VERSION}; fit the model again"
            )
        parts: dict[str, Any] = {
            name: GaussianModel(
                arrays[f"{name}_mean"], np.ascontiguousarray(arrays[f"{name}_modes"]).T, arrays[f"{name}_variances"]
            )
            for name in _PARTS
        }
        fixed: dict[str, Any] = {
            name: _checks.finite(name, arrays[name], ndim=ndim, dtype=dtype) for name, (ndim, dtype) in _ARRAYS.items()
        }
        model = kind(
            **parts,
            **fixed,
            labels=arrays.get("labels"),
            crossings=_counts(arrays["crossings"]),
            grid=_checks.grid_shape("grid", header["grid"]),
            objects=tuple(LandmarkObject(o["name"], tuple(o["indices"]), o["kind"]) for o in header["objects"]),
            options=header["options"],
            provenance=header["provenance"],
        )
        model.check()
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path} is no valid appearance model ({reason}); fit the model again") from error
    return model


def _counts(array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the crossings of a model: an array that may be empty, as it is in space."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"crossings is an array of {array.dtype} with {array.ndim} axes")
    counts = array.astype(np.int64)
    if (counts < 0).any():  # as numbers beyond 63 bits are, too
        raise ValueError(f"crossings is {array.tolist()}, not all of them counts")
    return counts
