"""What every test session shares: versions in the header, the hypothesis profiles, and the cores."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import platform
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# "ci" draws the same examples on every machine; "thorough" is for hunting (HYPOTHESIS_PROFILE=thorough).
# Kernels are compared with slow oracles, so single examples may take long on a busy machine: no deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", max_examples=30, derandomize=True, database=None, print_blob=True, **_COMMON)
settings.register_profile("thorough", max_examples=400, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

MOST_WORKERS = 8
"""More would only import torch once more each: the longest tests take as long anyway."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of `pytest -n auto`: one for each core of this process, none beside a single core."""
    from modelaug._checks import thread_count

    cores = thread_count(None)
    return min(cores, MOST_WORKERS) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Give each worker one thread: teams that wait for a core beside a busy process spin, and are many times slower.

    Tests of threads say how many they want. It is said before workers start, since plugins import numpy.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def pytest_report_header() -> list[str]:
    """Name everything a failing run may depend on."""
    import modelaug

    versions = ", ".join(f"{name} {_version(name)}" for name in ("modelaug", "numpy", "scipy", "torch"))
    build = ", ".join(f"{key} {value}" for key, value in modelaug.build_config().items())
    return [f"python {platform.python_version()}, {versions}", f"modelaug build: {build}"]


@pytest.fixture(autouse=True)
def _locale_stays() -> Iterator[None]:
    """Undo what SimpleITK does to the locale when tests write DICOM with it: text would be ASCII from then on."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
