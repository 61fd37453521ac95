"""Read and write scores of registered pairs as JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelaug.io.files.archives import write_atomically
from modelaug.io.files.provenance import as_json
from modelaug.io.files.reading import ModelFileError, parse_json, read_text, refusing

Record = dict[str, Any]
"""``method``, ``fold``, ``fixed``, ``moving``, ``seconds`` and scores by name, see `cross_validate`."""


def write_records(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write scores as one JSON object per line, atomically; numbers that are not finite become null.

    Raises
    ------
    TypeError
        If a record holds a value that JSON has no type for, such as an array; the file is left as it was.
    """
    plain = ({key: _plain(value) for key, value in each.items()} for each in records)
    lines = [json.dumps(as_json(f"records[{k}]", each)) for k, each in enumerate(plain)]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def read_records(path: str | Path) -> list[Record]:
    """Read scores from a file of one JSON object per line; empty lines are skipped.

    Raises
    ------
    ModelFileError
        If the file cannot be read or a line is no JSON object.
    """
    records: list[Record] = []
    for number, line in enumerate(read_text(path, "records").splitlines(), start=1):
        if not line.strip():
            continue
        with refusing(f"{path}, line {number},", "is no JSON", "write one object per line"):
            record = parse_json(line)
        if not isinstance(record, dict):
            raise ModelFileError(f"{path}, line {number}, is no JSON object; write one per line")
        records.append(record)
    return records


def _plain(value: Any) -> Any:
    """Return a scalar as a Python number, None if it is not finite."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
