"""A few hundred damaged files of all kinds; ``make fuzz`` reads ten thousand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from modelaug import ModelFileError
from tests.fuzz.kinds import KINDS, Kind, make
from tests.fuzz.mutations import damaged
from tests.fuzz.running import damage, prepare, run, table, try_one

OPTIONAL = ("SimpleITK", "nibabel", "PIL", "tifffile", "pydicom", "torch", "safetensors", "matplotlib")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in OPTIONAL), reason="needs all optional dependencies"
)
SEEDS = 5


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("valid")


def test_damaged_files_are_read_or_refused(valid: Path) -> None:
    results = run([(name, seed) for name in KINDS for seed in range(SEEDS)], valid)
    bad = [result for result in results if not result.good]
    assert bad == [], "\n".join(map(str, bad))
    # Else the damage would be none, or the examples not valid.
    outcomes = [result.outcome for result in results]
    assert min(outcomes.count("read"), outcomes.count("refused")) > len(results) // 10, table(results)


@pytest.mark.parametrize("name", KINDS)
def test_examples_are_valid(name: str, tmp_path: Path) -> None:
    make(KINDS[name], tmp_path / "whole")
    assert try_one(KINDS[name], tmp_path / "whole") == ("read", "")


def test_damage_depends_on_the_seed_alone(valid: Path, tmp_path: Path) -> None:
    kind = KINDS["cohort .npz"]
    prepare([kind.name], valid)
    contents = []
    for k, seed in enumerate((3, 3, 4)):
        damage(kind, seed, valid, tmp_path / str(k))
        contents.append((tmp_path / str(k) / "anna.npz").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_damage_is_done() -> None:
    data = bytes(range(256)) * 4
    changed = [damaged(data, np.random.Generator(np.random.Philox(seed)), [data]) for seed in range(50)]
    assert len(set(changed)) > 40
    assert sum(each != data for each in changed) > 40


def _fail(error: BaseException) -> Kind:
    def read(folder: Path) -> None:
        raise error

    return Kind("a", lambda folder: None, read)


def _greedy(folder: Path) -> None:
    np.ones(1 << 27)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (_fail(ModelFileError("anna.npz is broken; copy it again")), "refused"),
        (_fail(ValueError("anna.npz is broken; copy it again")), "refused"),
        (_fail(ModelFileError("it is broken")), "unclear"),
        (_fail(ValueError("anna.npz is\nbroken")), "unclear"),
        (_fail(ValueError(f"anna.npz is {'a' * 3000}")), "unclear"),
        (_fail(ModelFileError("")), "unclear"),
        (_fail(KeyError("anna.npz")), "foreign"),
        (_fail(RecursionError("anna.npz")), "foreign"),
        (_fail(SystemExit("anna.npz")), "foreign"),
        (_fail(TypeError("anna() missing 1 required positional argument")), "foreign"),
        (_fail(ModelFileError("anna.npz does not fit into memory")), "memory"),
        (Kind("a", lambda folder: None, _greedy), "memory"),
        (Kind("a", lambda folder: None, lambda folder: None), "read"),
    ],
)
def test_what_a_reader_does_is_judged(kind: Kind, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "anna.npz").touch()
    assert try_one(kind, tmp_path)[0] == outcome
