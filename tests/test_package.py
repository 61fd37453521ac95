"""The package as a whole: its names, its version, and what importing it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

import modelaug
from modelaug import _old_names

EXTRAS = [
    "torch",
    "safetensors",
    "tqdm",
    "nibabel",
    "SimpleITK",
    "matplotlib",
    "typer",
    "rich",
    "dask",
    "distributed",
    "sklearn",
]
NEEDS = {"learning": ["torch", "safetensors", "tqdm"], "plots": ["matplotlib"]}


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_no_extra() -> None:
    loaded = _python(
        "import sys, modelaug, modelaug.io; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    ).split()
    assert "modelaug" in loaded
    assert not set(EXTRAS) & set(loaded)


def test_the_core_works_without_any_extra() -> None:
    # None in sys.modules makes an import fail as if the package were absent.
    code = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
from modelaug import *
import modelaug
cohort = modelaug.phantoms.heart(3, shape=(48, 48))
pair = modelaug.PairSynthesizer(modelaug.AppearanceModel.fit(cohort, threads=1)).draw(0)
print(pair.flow.shape)
"""
    assert _python(code).strip() == "(2, 48, 48)"


def test_every_public_name_exists() -> None:
    assert len(set(modelaug.__all__)) == len(modelaug.__all__)
    for name in modelaug.__all__:
        if name not in NEEDS:
            assert getattr(modelaug, name) is not None


def test_public_names_are_documented() -> None:
    undocumented = [
        name
        for name in modelaug.__all__
        if name not in NEEDS and name != "__version__" and not getattr(modelaug, name).__doc__
    ]
    assert not undocumented


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_optional_parts_are_imported_on_demand(name: str) -> None:
    for package in NEEDS[name]:
        pytest.importorskip(package)
    assert getattr(modelaug, name).__name__ == f"modelaug.{name}"


def test_the_estimator_needs_scikit_learn() -> None:
    assert _python("from modelaug import Augmenter; print(Augmenter(seed=2))").strip() == "Augmenter(seed=2)"
    code = """
import sys
sys.modules["sklearn"] = None
import modelaug
try:
    modelaug.Augmenter
except ModuleNotFoundError as error:
    print(error)
"""
    assert _python(code).strip() == "modelaug.Augmenter needs scikit-learn; run: pip install 'modelaug[sklearn]'"


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("synthesis", "Geometry", "PairGeometry"),
        ("synthesis.geometry", "Geometry", "PairGeometry"),
        ("data", "scale_intensities", "scale_percentiles"),
        ("preparation", "scale_intensities", "scale_percentiles"),
    ],
)
def test_old_names_are_the_new_objects(module: str, old: str, new: str) -> None:
    place = importlib.import_module(f"modelaug.{module}")
    assert getattr(place, old) is getattr(place, new)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = place.nothing


def test_modules_by_their_old_paths_are_the_modules() -> None:
    for old, new in _old_names.PATHS.items():
        module = importlib.import_module(f"modelaug.{new}")
        assert importlib.import_module(f"modelaug.{old}") is module
        assert "." in old or getattr(modelaug, old) is module
        assert module.__spec__ is not None
        assert module.__spec__.name == f"modelaug.{new}"
    code = "import modelaug.scans, modelaug.data.scans as now; from modelaug import maps; from modelaug import weights"
    found = "modelaug.scans is now, now.__spec__.name, maps.__name__, weights.__name__"
    expected = "True modelaug.data.scans modelaug.transforms.diffeomorphic modelaug.synthesis.weights"
    assert _python(f"{code}; print({found})").strip() == expected
    assert (
        _python("import importlib.util; print(importlib.util.find_spec('modelaug.io.geometry') is None)") == "False\n"
    )


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("locality", ["MergedLevels", "check_distances", "check_thresholds", "principal_angles"]),
        ("explorer", ["PairRenderer"]),
    ],
)
def test_what_is_no_longer_public_works_without_a_word(module: str, names: list[str]) -> None:
    place = importlib.import_module(f"modelaug.{module}")
    for name in names:
        assert getattr(place, name).__name__ == name
        assert name not in place.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = modelaug.nothing


def test_version_is_the_installed_one() -> None:
    assert modelaug.__version__ == importlib.metadata.version("modelaug")
    assert modelaug.build_config()["version"] == modelaug.__version__


def test_build_config_says_what_was_built() -> None:
    config = modelaug.build_config()
    expected = {
        "version": str,
        "compiler": str,
        "build_type": str,
        "flags": str,
        "sanitizers": str,
        "cplusplus": int,
        "eigen": str,
        "instruction_set": str,
        "pybind11": str,
        "threading": str,
        "max_threads": int,
        "assertions": bool,
    }
    assert {name: type(value) for name, value in config.items()} == expected
    assert config["cplusplus"] >= 202002
    assert config["compiler"]
