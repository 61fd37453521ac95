"""Manifests: valid, united, and true to every byte."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelaug import ModelFileError, PairSynthesizer
from modelaug.io import read_manifest, verify_shards, write_shards
from modelaug.io.shards.formats import FORMATS
from modelaug.io.shards.manifests import shard_bytes
from tests.examples import heart_model, one_line

Change = Callable[[dict[str, Any]], Any]


def written(out: Path, **arguments: Any) -> Path:
    options = {"shard_size": 2, "threads": 1, "identity": {"seed": 1}} | arguments
    return write_shards(PairSynthesizer(heart_model(), seed=1), 5, out, **options)


def rewrite(manifest: Path, change: Change) -> None:
    content = json.loads(manifest.read_text())
    change(content)
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize("format", FORMATS)
def test_every_byte_is_verified(tmp_path: Path, format: str) -> None:
    manifest = written(tmp_path, format=format)
    assert verify_shards(tmp_path) == read_manifest(tmp_path) == verify_shards(manifest)
    files = sorted(path for path in tmp_path.iterdir() if path != manifest)
    assert sum(map(shard_bytes, read_manifest(tmp_path)["shards"])) == sum(path.stat().st_size for path in files)
    for path in files:
        whole = path.read_bytes()
        for harmed in (whole[:-1], whole + b"\0", whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(harmed)
            with pytest.raises(ModelFileError) as caught:
                verify_shards(tmp_path)
            assert str(tmp_path) in one_line(caught.value)
        path.unlink()
        with pytest.raises(ModelFileError, match=f"{path.name} cannot be read"):
            verify_shards(tmp_path)
        path.write_bytes(whole)
    verify_shards(tmp_path)


def test_hash_of_the_model_is_in_every_manifest(tmp_path: Path) -> None:
    for part in ((1, 1), (1, 2), (2, 2)):
        manifest = written(tmp_path, part=part, identity={"model_sha256": "0" * 64})
        assert json.loads(manifest.read_text())["source"] == {"model_sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["shards"][0]["files"][0].update(file="../pairs-000000.npz"),
        lambda m: m["shards"][0]["files"][0].update(file="/pairs-000000.npz"),
        lambda m: m["shards"][0]["files"][0].update(file=".."),
        lambda m: m["shards"][0]["files"][0].update(file=""),
        lambda m: m["shards"][0]["files"][0].update(file=5),
        lambda m: m["shards"][0]["files"][0].update(file="pairs\0.npz"),
        lambda m: m["shards"][0]["files"][0].update(file="\ud800.npz"),
        lambda m: m["shards"][0]["files"][0].update(file="pairs.npz\n"),
        lambda m: m["shards"][0]["files"][0].update(file="pairs" * 1000),
        lambda m: m["shards"][0]["files"][0].update(bytes=-1),
        lambda m: m["shards"][0]["files"][0].update(sha256=None),
        lambda m: m["shards"][0]["files"][0].pop("sha256"),
        lambda m: m["shards"][0].update(files=[]),
        lambda m: m["shards"][0].update(files="pairs"),
        lambda m: m["shards"][0].update(first=1),
        lambda m: m["shards"][0].update(first=10),
        lambda m: m["shards"][0].update(count=3),
        lambda m: m["shards"][0].update(count=0),
        lambda m: m["shards"][0].update(count="2"),
        lambda m: m["shards"].append(m["shards"][0]),
        lambda m: m.update(shards=None),
        lambda m: m.update(shards=[[]]),
        lambda m: m.update(shards={}),
        lambda m: m.update(part=5),
        lambda m: m.update(part=[1]),
        lambda m: m.update(part=[3, 2]),
        lambda m: m.update(part="12"),
        lambda m: m.update(intensities="01"),
        lambda m: m.update(intensities=[1, 0]),
        lambda m: m.update(intensities=[0, float("nan")]),
        lambda m: m.update(file_format="zip"),
        lambda m: m.update(file_format=[]),
        lambda m: m.update(count=0),
        lambda m: m.update(shard_size=0),
        lambda m: m.update(first=-2),
        lambda m: m.update(source=[]),
        lambda m: m.update(modelaug=1),
        lambda m: m.pop("source"),
    ],
)
def test_bad_content(tmp_path: Path, change: Change) -> None:
    rewrite(written(tmp_path), change)
    for read in (read_manifest, verify_shards, written):
        with pytest.raises(ModelFileError, match=r"manifest\.json is no valid manifest") as caught:
            read(tmp_path)
        one_line(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(source={"seed": 2}), "differ in source"),
        (lambda m: m.update(modelaug="0.0.7"), "differ in modelaug"),
        (lambda m: m.update(file_format="tar"), "differ in file_format"),
        (lambda m: m.update(first=2), "differ in first"),
        (lambda m: m.update(shard_size=4), "differ in shard_size"),
        (lambda m: m["shards"][0]["files"][0].update(sha256="0" * 64), "has another hash of the pairs from 2 on"),
    ],
)
def test_manifests_that_disagree(tmp_path: Path, change: Change, message: str) -> None:
    written(tmp_path, part=(1, 2))
    second = written(tmp_path, part=(2, 2))
    third = written(tmp_path, part=(2, 3))
    rewrite(second, lambda m: m.update(shards=m["shards"][:1]))
    rewrite(third, lambda m: m.update(shards=m["shards"][:1]))
    assert [shard["first"] for shard in read_manifest(tmp_path)["shards"]] == [0, 2, 4]
    rewrite(second, lambda m: m.update(shards=[]) if "differ" in message else None)
    rewrite(second, change)
    with pytest.raises(ModelFileError, match=message) as caught:
        read_manifest(tmp_path)
    one_line(caught.value)


def test_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest-old.json").write_text("no manifest")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "manifest.json"):
        with pytest.raises(ModelFileError, match="does not exist"):
            read_manifest(path)


@pytest.mark.skipif(os.name != "posix", reason="devices of POSIX")
def test_no_more_bytes_are_read_than_were_promised(tmp_path: Path) -> None:
    written(tmp_path)
    shard = tmp_path / "pairs-000000.npz"
    with open(shard, "ab") as file:
        file.truncate(1 << 40)  # a hole, which takes no space
    with pytest.raises(ModelFileError, match=r"pairs-000000\.npz has 1099511627776 bytes, not"):
        verify_shards(tmp_path)
    shard.unlink()
    shard.symlink_to("/dev/zero")
    with pytest.raises(ModelFileError, match=r"pairs-000000\.npz cannot be read"):
        verify_shards(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").symlink_to("/dev/zero")
    with pytest.raises(ModelFileError, match="a device or a pipe"):
        read_manifest(tmp_path)
