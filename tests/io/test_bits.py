"""What last bits depend on is noted with pairs, and pairs that would differ in them are not mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import ModelFileError, PairOptions, PairSynthesizer, build_config
from modelaug.io import ShardedPairs, read_manifest, verify_shards, write_shards
from modelaug.io.shards import writing as shards
from modelaug.io.shards.bits import bits_here, differing_bits
from tests.examples import heart_model, one_line

HERE = {
    "machine": "x86_64",
    "instruction_set": "v4",
    "numpy": "2.4.6",
    "numpy_features": ["X86_V3", "X86_V4"],
    "scipy": "1.17.1",
    "libc": "glibc 2.36",
}


def write(out: Path, count: int = 4, **arguments: Any) -> Path:
    return write_shards(PairSynthesizer(heart_model(), seed=1), count, out, shard_size=2, threads=1, **arguments)


def elsewhere(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Have the next plans made as if on another machine."""
    bits = bits_here() | changes
    monkeypatch.setattr(shards.ShardPlan, "__init__", _with_bits(shards.ShardPlan.__init__, bits))


def _with_bits(init: Any, bits: dict[str, Any]) -> Any:
    return lambda self, *args, **kwargs: init(self, *args, **kwargs, bits=bits)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def without_bits(manifest: Path) -> None:
    """Make of a manifest one of a version that did not note them."""
    old = json.loads(manifest.read_text())
    del old["bits"]
    manifest.write_text(json.dumps(old))


def test_what_is_noted(tmp_path: Path) -> None:
    bits = json.loads(write(tmp_path).read_text())["bits"]
    assert bits == bits_here() == read_manifest(tmp_path)["bits"]
    assert set(bits) == set(HERE)
    assert bits["instruction_set"] == build_config()["instruction_set"]
    assert bits["numpy"] == np.__version__
    assert all(isinstance(value, str) and value for name, value in bits.items() if name != "numpy_features")


def test_settings_of_numpy_are_seen() -> None:
    features = bits_here()["numpy_features"]
    if not features:
        pytest.skip("NumPy has no code for this processor in particular")
    command = [
        sys.executable,
        "-c",
        "from modelaug.io.shards.bits import bits_here; print(bits_here()['numpy_features'])",
    ]
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features[-1]}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(features[:-1])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"instruction_set": "v3"}, "instruction_set v3, not v4, by which last bits differ; set MODELAUG_ISA='v3', or"),
        ({"instruction_set": "v5"}, "instruction_set v5, not v4, by which last bits differ; run this where"),
        (
            {"numpy_features": ["X86_V3"]},
            r"features X86_V3, not X86_V3\+X86_V4.*; set NPY_DISABLE_CPU_FEATURES='X86_V4'",
        ),
        ({"numpy_features": []}, "features none, not .* set NPY_DISABLE_CPU_FEATURES='X86_V3 X86_V4', or run"),
        ({"numpy_features": ["SVE"]}, r"features SVE, not X86_V3\+X86_V4, by which last bits differ; run this where"),
        ({"numpy": "2.0.1", "scipy": "1.14.0"}, "; install numpy==2.0.1 and scipy==1.14.0, or run this where"),
        ({"numpy": "2.0.1", "instruction_set": "v3"}, "; install numpy==2.0.1 and set MODELAUG_ISA='v3', or run"),
        ({"machine": "arm64", "instruction_set": "v3"}, "machine arm64, not x86_64 and .* differ; run this where"),
        ({"libc": "glibc 2.17"}, "libc glibc 2.17, not glibc 2.36, by which last bits differ; run this where"),
        ({"more": 1}, "more 1, not none"),
    ],
)
def test_differences_and_remedies(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        raise ValueError(differing_bits(HERE | wanted, HERE))
    one_line(caught.value)


def test_equal_bits_do_not_differ() -> None:
    assert differing_bits(HERE, dict(reversed(HERE.items()))) is None


def test_newer_sets_cannot_be_had_on_older_processors() -> None:
    older = HERE | {"instruction_set": "v3", "numpy_features": ["X86_V3"]}
    found = differing_bits(HERE, older)
    assert found is not None
    assert "MODELAUG_ISA" not in found
    assert "NPY_DISABLE" not in found


def test_a_folder_is_not_continued_with_other_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    before = contents(tmp_path)
    elsewhere(monkeypatch, libc="another")
    with pytest.raises(
        ValueError, match=rf"{tmp_path} holds pairs made with libc .*, not another, .* another folder"
    ) as caught:
        write(tmp_path, 6)
    one_line(caught.value)
    assert contents(tmp_path) == before
    # Nothing is to be drawn: nothing can differ.
    write(tmp_path)
    assert contents(tmp_path) == before
    # A lost shard is.
    (tmp_path / "pairs-000001.npz").unlink()
    with pytest.raises(ValueError, match="not another"):
        write(tmp_path)


def test_parts_made_with_other_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", part=(1, 2))
    elsewhere(monkeypatch, libc="another")
    with pytest.raises(ValueError, match="not another"):
        write(tmp_path / "a", part=(2, 2))
    write(tmp_path / "b", part=(2, 2))
    for path in (tmp_path / "b").iterdir():
        path.rename(tmp_path / "a" / path.name)
    with pytest.raises(
        ModelFileError, match=r"manifest-1-of-2\.json and manifest-2-of-2\.json .* not another"
    ) as caught:
        read_manifest(tmp_path / "a")
    one_line(caught.value)


def test_parts_made_elsewhere_become_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, part=(1, 2))
    write(tmp_path, part=(2, 2))
    with monkeypatch.context() as patch:
        elsewhere(patch, machine="another")
        write(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["bits"] == bits_here()


def test_folders_of_older_versions_are_read_and_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    without_bits(write(tmp_path))
    assert "bits" not in verify_shards(tmp_path)
    assert len(ShardedPairs(tmp_path, held_out=1)) == 4
    with caplog.at_level("WARNING", logger="modelaug"):
        write(tmp_path)
        assert not caplog.messages
        write(tmp_path, 6)
    (message,) = caplog.messages
    assert str(tmp_path) in message
    assert "\n" not in message
    # What was made before is as unknown as ever.
    assert "bits" not in read_manifest(tmp_path)
    assert len(ShardedPairs(tmp_path, held_out=1)) == 6


@pytest.mark.parametrize("known", [(1, 2), (2, 2)])
def test_a_part_that_notes_nothing(tmp_path: Path, known: tuple[int, int]) -> None:
    for part in ((1, 2), (2, 2)):
        manifest = write(tmp_path / str(part[0]), part=part)
        if part != known:
            without_bits(manifest)
        (tmp_path / "a").mkdir(exist_ok=True)
        for path in manifest.parent.iterdir():
            path.rename(tmp_path / "a" / path.name)
    assert "bits" not in read_manifest(tmp_path / "a")


def test_bits_that_are_no_object(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"bits": ["v3"]}))
    with pytest.raises(ModelFileError, match=r"manifest\.json is no valid manifest .*bits") as caught:
        read_manifest(tmp_path)
    one_line(caught.value)


def test_workers_with_other_bits_are_refused(tmp_path: Path) -> None:
    distributed = pytest.importorskip("modelaug.io.shards.distributed")
    heart_model().save(tmp_path / "model.npz")
    synthesizer = PairSynthesizer(heart_model(), seed=4)
    identity = shards.describe_synthesizer(synthesizer, tmp_path / "model.npz")
    bits = bits_here() | {"numpy": "1.0"}
    plan = shards.ShardPlan(tmp_path / "a", 1, 1, 0, "npz", (1, 1), None, identity, bits)
    with pytest.raises(
        ModelFileError, match=r"worker .*: the pairs are to be made with numpy 1\.0, not .*==1\.0"
    ) as caught:
        distributed._write(plan, (tmp_path / "model.npz", 4, PairOptions()), build_config()["version"], 0)
    one_line(caught.value)
    assert not (tmp_path / "a").exists()


def test_info_shows_them(tmp_path: Path) -> None:
    info = pytest.importorskip("modelaug.cli.info")
    manifest = write(tmp_path)
    assert info.describe(tmp_path)[1]["bits"] == bits_here()
    without_bits(manifest)
    assert info.describe(tmp_path)[1]["bits"] is None
