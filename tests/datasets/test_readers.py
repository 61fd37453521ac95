"""The readers of public data sets cost nothing, and need nothing, before they read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modelaug import datasets


def test_readers_are_imported_on_demand_and_without_extras() -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["nibabel", "SimpleITK"]))
import modelaug
readers = [f"modelaug.datasets.{name}" for name in ("acdc", "lpba40", "sunnybrook")]
assert not set(readers) & set(sys.modules)
from modelaug.datasets import *
assert set(readers) <= set(sys.modules)
print(acdc.LABELS[3], sunnybrook.LABELS[3], lpba40.LABELS[182], phantoms.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "left ventricle left ventricle brainstem modelaug.datasets.phantoms"


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'mnist'"):
        datasets.mnist  # noqa: B018
