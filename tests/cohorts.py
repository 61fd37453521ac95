"""Real cohorts, whose licences keep them out of the repository: where they are, for the tests that need one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("MODELAUG_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def real_cohort(name: str) -> Path:
    """Return the file of a real cohort; skip the test that asks for one that is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"needs {path}; MODELAUG_TEST_DATA names the folder of the real cohorts")
    return path
