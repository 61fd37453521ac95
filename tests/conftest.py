"""What every test session shares: versions in the header and the hypothesis profiles."""

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
