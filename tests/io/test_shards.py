"""Pairs in files: complete, continued, and never mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import ModelFileError, Pair, PairSynthesizer
from modelaug.io import read_manifest, write_shards
from modelaug.io.shards import describe_synthesizer
from tests.examples import heart_model, one_line


def pairs_in(folder: Path) -> dict[int, dict[str, Any]]:
    """Return all pairs by number, checked to be there once."""
    pairs: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        infos = json.loads(str(arrays.pop("info")))
        for i, number in enumerate(arrays.pop("index").tolist()):
            assert number not in pairs
            pairs[number] = {name: array[i] for name, array in arrays.items()} | {"info": infos[i]}
    return pairs


class Interrupted(Exception):
    """Stands for the end of the process."""


class Source:
    """A synthesizer without batches that ends after some pairs."""

    def __init__(self, limit: int = 10**9) -> None:
        self._synthesizer = PairSynthesizer(heart_model(), seed=1)
        self.drawn: list[int] = []
        self._limit = limit

    def draw(self, index: int) -> Pair:
        if len(self.drawn) == self._limit:
            raise Interrupted
        self.drawn.append(index)
        return self._synthesizer.draw(index)


def test_shards_hold_the_pairs(tmp_path: Path) -> None:
    synthesizer = PairSynthesizer(heart_model(), seed=1)
    seen: list[tuple[int, int]] = []
    manifest = write_shards(
        synthesizer, 5, tmp_path, shard_size=2, first=3, threads=1, progress=lambda *at: seen.append(at)
    )
    assert manifest == tmp_path / "manifest.json"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "pairs-000000.npz",
        "pairs-000001.npz",
        "pairs-000002.npz",
    ]
    written = pairs_in(tmp_path)
    assert sorted(written) == [3, 4, 5, 6, 7]
    for index, stored in written.items():
        pair = synthesizer.draw(index)
        for name in Pair.__dataclass_fields__:
            if name != "info":
                np.testing.assert_array_equal(stored[name], getattr(pair, name))
        for key, value in pair.info.items():
            np.testing.assert_array_equal(stored["info"][key], value)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    shards = read_manifest(tmp_path)["shards"]
    assert [(shard["first"], shard["count"]) for shard in shards] == [(3, 2), (5, 2), (7, 1)]


def test_same_bytes_for_any_threads_and_with_or_without_batches(tmp_path: Path) -> None:
    synthesizer = PairSynthesizer(heart_model(), seed=1)
    write_shards(synthesizer, 6, tmp_path / "one", shard_size=4, threads=1)
    write_shards(synthesizer, 6, tmp_path / "two", shard_size=4, threads=3)
    write_shards(Source(), 6, tmp_path / "plain", shard_size=4)
    for name in ("pairs-000000.npz", "pairs-000001.npz", "manifest.json"):
        content = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() == content
        assert (tmp_path / "plain" / name).read_bytes() == content


def test_interrupted_run_continues(tmp_path: Path) -> None:
    source = Source(limit=5)
    with pytest.raises(Interrupted):
        write_shards(source, 7, tmp_path / "a", shard_size=2, threads=1)
    assert sorted(pairs_in(tmp_path / "a")) == [0, 1, 2, 3]
    rest = Source()
    write_shards(rest, 7, tmp_path / "a", shard_size=2, threads=1)
    assert rest.drawn == [4, 5, 6]
    write_shards(Source(), 7, tmp_path / "b", shard_size=2, threads=1)
    for path in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()


def test_finished_run_draws_nothing_and_a_larger_one_extends_it(tmp_path: Path) -> None:
    write_shards(Source(), 5, tmp_path, shard_size=2, threads=1)
    again = Source()
    write_shards(again, 5, tmp_path, shard_size=2, threads=1)
    assert again.drawn == []
    more = Source()
    write_shards(more, 8, tmp_path, shard_size=2, threads=1)
    assert more.drawn == [4, 5, 6, 7]
    assert sorted(pairs_in(tmp_path)) == list(range(8))


@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_lost_shard_is_written_again(tmp_path: Path, harm: str) -> None:
    write_shards(Source(), 4, tmp_path, shard_size=2, threads=1)
    path = tmp_path / "pairs-000000.npz"
    whole = path.read_bytes()
    path.unlink()
    if harm == "truncated":
        path.write_bytes(whole[:-10])
    write_shards(Source(), 4, tmp_path, shard_size=2, threads=1)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": {"seed": 2}}, "results of seed 1, not 2"),
        ({"identity": {}}, "results of seed 1, not null"),
        ({"shard_size": 3}, "shard_size 2, not 3"),
        ({"first": 1}, "first 0, not 1"),
        ({"count": 3}, "is to hold 4"),
    ],
)
def test_other_pairs_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"count": 4, "shard_size": 2, "first": 0, "identity": {"seed": 1}}
    write_shards(Source(), out=tmp_path, threads=1, **arguments)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message) as caught:
        write_shards(Source(), out=tmp_path, threads=1, **arguments | change)
    one_line(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_identity_of_a_synthesizer(tmp_path: Path) -> None:
    heart_model().save(tmp_path / "a.npz")
    first = describe_synthesizer(PairSynthesizer(heart_model(), seed=1), tmp_path / "a.npz")
    assert first["seed"] == 1
    assert first["options"]["flow"] == "direct"
    assert len(first["model_sha256"]) == 64
    with open(tmp_path / "a.npz", "ab") as file:
        file.write(b"\0")
    second = describe_synthesizer(PairSynthesizer(heart_model(), seed=1), tmp_path / "a.npz")
    assert second["model_sha256"] != first["model_sha256"]
    with pytest.raises(ModelFileError, match="does not exist"):
        describe_synthesizer(PairSynthesizer(heart_model()), tmp_path / "b.npz")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"format": "other"}',
        '{"format": "modelaug pairs", "version": 9}',
        '{"format": "modelaug pairs", "version": 1}',
        '{"format": "modelaug pairs", "version": 1, "first": 0, "count": 1, "shard_size": 1, "source": {},'
        ' "modelaug": "0", "shards": [{"file": "../pairs-000000.npz", "first": 0, "count": 1, "bytes": 1}]}',
    ],
    ids=["empty", "truncated", "list", "deep", "other format", "newer", "without content", "out of the folder"],
)
def test_bad_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ModelFileError, match=r"manifest\.json") as caught:
        write_shards(Source(), 4, tmp_path, threads=1)
    one_line(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no draw"):
        write_shards(object(), 4, tmp_path / "a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count is 0"):
        write_shards(Source(), 0, tmp_path / "a")
    with pytest.raises(ValueError, match="shard_size is 0"):
        write_shards(Source(), 1, tmp_path / "a", shard_size=0)
    assert not (tmp_path / "a").exists()
