"""Checkpoints of a training run, written atomically and read without unpickling."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from modelaug.io.files.archives import write_atomically
from modelaug.io.files.provenance import as_json
from modelaug.io.files.reading import check_format, refusing
from modelaug.learning.storage import read_torch

_FORMAT: Final = "modelaug checkpoint"
_VERSION: Final = 1
UNUSABLE: Final = ("is no checkpoint of a training run", "remove it to start again")
"""The fault of a checkpoint, and the remedy."""

COLUMNS: Final = ("step", "loss", "epe", "learning_rate", "seconds_per_step", "validation_epe")
"""Columns of the log."""

SUMS: Final = ("loss", "epe", "steps", "seconds")
"""Sums since the last line of the log."""


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path
        The file.
    state
        ``step``, the number of steps done; ``weights``, ``optimizer`` and ``scaler``, states as torch gives them; and
        ``record``, the recorder's.
    """
    data = io.BytesIO()
    # Not into the file, as torch does not report a full disk.
    torch.save({"format": _FORMAT, "version": _VERSION, **state}, data)
    write_atomically(path, data.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the state that `write_checkpoint` wrote.

    Raises
    ------
    ModelFileError
        If the file is no checkpoint, a run cannot continue from it, or a newer version wrote it.
    """
    with refusing(path, *UNUSABLE):
        checkpoint = read_torch(path)
        if isinstance(checkpoint, dict) and "pytorch-lightning_version" in checkpoint:
            checkpoint = _from_lightning(checkpoint)
        otherwise = "; ".join(UNUSABLE)
        checkpoint = check_format(path, checkpoint, format=_FORMAT, version=_VERSION, otherwise=otherwise)
        _check_record(checkpoint["record"])
        broken = next((name for name, each in checkpoint["weights"].items() if not each.isfinite().all()), None)
        if broken is not None:
            raise ValueError(f"it holds values that are not finite in {broken}")
        return checkpoint


def _from_lightning(old: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a checkpoint of version 0.1, whose loop was Lightning's."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "step": old["global_step"],
        "weights": old["state_dict"],
        "optimizer": old["optimizer_states"][0],
        "scaler": old.get("MixedPrecision", {}),
        "record": old["callbacks"]["Recorder"],
    }


def _check_record(record: Mapping[str, Any]) -> None:
    """Raise an exception of nearly any type unless a run can continue from a recorder's state."""
    as_json("record", {name: record.get(name) for name in ("architecture", "options", "processes", "source", "real")})
    figures = [record["metrics"], *record["rows"]]
    figures += [{name: record["sums"][name] for name in SUMS}]
    figures += [{name: record["clock"][name] for name in ("seconds", "steps")}]
    if not all(isinstance(value, (int, float)) for each in figures for value in each.values()):
        raise TypeError("its figures are no numbers")
    alien = {name for row in record["rows"] for name in row} - set(COLUMNS)
    if alien:
        raise ValueError(f"its log has columns {sorted(alien)}")
