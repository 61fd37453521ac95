"""Pairs in files: complete, continued, and never mixed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import ModelFileError, Pair, PairSynthesizer
from modelaug.io import read_manifest, verify_shards, write_shards
from modelaug.io.shards import writing as shards
from modelaug.io.shards.formats import FORMATS
from modelaug.io.shards.writing import describe_synthesizer
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
    assert [(shard["first"], shard["count"]) for shard in read_manifest(tmp_path)["shards"]] == [(3, 2), (5, 2), (7, 1)]


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
        ({"identity": {}}, "results of seed 1, not none"),
        ({"shard_size": 3}, "shard_size 2, not 3"),
        ({"first": 1}, "first 0, not 1"),
        ({"count": 3}, "is to hold 4"),
        ({"format": "tar"}, 'file_format "npz", not "tar"'),
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
    assert first["options"]["flow"] == "composed"
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
        '{"format": "modelaug pairs", "version": 2}',
    ],
    ids=["empty", "truncated", "list", "deep", "other format", "newer", "older", "without content"],
)
def test_bad_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ModelFileError, match=r"manifest\.json") as caught:
        write_shards(Source(), 4, tmp_path, threads=1)
    one_line(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def listed(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def copied(source: Path, target: Path) -> None:
    for path in source.iterdir():
        shutil.copy(path, target)


class TestParts:
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("parts", [2, 3, 7])
    def test_union_is_that_of_one_run(self, tmp_path: Path, format: str, parts: int) -> None:
        common: dict[str, Any] = {"shard_size": 2, "first": 3, "format": format, "identity": {"seed": 1}, "threads": 1}
        synthesizer = PairSynthesizer(heart_model(), seed=1)
        write_shards(synthesizer, 9, tmp_path / "one", **common)
        expected = listed(tmp_path / "one")
        union = tmp_path / "union"
        union.mkdir()
        for k in range(parts, 0, -1):  # in any order
            manifest = write_shards(synthesizer, 9, tmp_path / f"{k}", part=(k, parts), **common)
            assert manifest.name == f"manifest-{k}-of-{parts}.json"
            assert not union.joinpath(manifest.name).exists()
            copied(tmp_path / f"{k}", union)
        one = read_manifest(tmp_path / "one")
        assert read_manifest(union) == one
        # The run of the whole recognizes the parts and draws nothing but its probe.
        source = Source() if format != "chairs" else synthesizer
        write_shards(source, 9, union, **common)
        assert getattr(source, "drawn", []) == []
        assert {name: data for name, data in listed(union).items() if "-of-" not in name} == expected
        verify_shards(union)

    def test_one_folder_for_all(self, tmp_path: Path) -> None:
        write_shards(Source(), 9, tmp_path / "one", shard_size=2)
        seen: list[tuple[int, int]] = []
        for k in (2, 1, 3):
            source = Source()
            write_shards(source, 9, tmp_path / "all", shard_size=2, part=(k, 3), progress=lambda *at: seen.append(at))
            assert source.drawn == {1: [0, 1, 6, 7], 2: [2, 3, 8], 3: [4, 5]}[k]
        assert [(done, total) for done, total in seen if done == total] == [(3, 3), (4, 4), (2, 2)]
        assert read_manifest(tmp_path / "all") == read_manifest(tmp_path / "one")
        single = read_manifest(tmp_path / "all" / "manifest-2-of-3.json")
        assert single["part"] == [2, 3]
        assert [shard["first"] for shard in single["shards"]] == [2, 8]

    def test_interrupted_part_continues_and_a_larger_one_extends_it(self, tmp_path: Path) -> None:
        with pytest.raises(Interrupted):
            write_shards(Source(limit=3), 9, tmp_path / "a", shard_size=2, part=(1, 2))
        rest = Source()
        write_shards(rest, 11, tmp_path / "a", shard_size=2, part=(1, 2))
        assert rest.drawn == [4, 5, 8, 9]
        write_shards(Source(), 11, tmp_path / "b", shard_size=2, part=(1, 2))
        assert listed(tmp_path / "a") == listed(tmp_path / "b")

    def test_whole_run_fills_the_last_shard_of_a_smaller_part(self, tmp_path: Path) -> None:
        write_shards(Source(), 3, tmp_path / "a", shard_size=2, part=(2, 2))
        source = Source()
        write_shards(source, 4, tmp_path / "a", shard_size=2)
        assert source.drawn == [0, 1, 2, 3]
        write_shards(Source(), 4, tmp_path / "b", shard_size=2)
        assert read_manifest(tmp_path / "a") == read_manifest(tmp_path / "b")
        verify_shards(tmp_path / "a")

    def test_more_parts_than_shards(self, tmp_path: Path) -> None:
        called: list[tuple[int, int]] = []
        write_shards(Source(), 2, tmp_path, shard_size=2, part=(3, 3), progress=lambda *at: called.append(at))
        assert [path.name for path in tmp_path.iterdir()] == ["manifest-3-of-3.json"]
        assert called == []
        assert read_manifest(tmp_path)["shards"] == []

    def test_part_of_something_else_is_refused(self, tmp_path: Path) -> None:
        write_shards(Source(), 4, tmp_path, shard_size=2, part=(1, 2), identity={"seed": 1})
        before = listed(tmp_path)
        for part in ((2, 2), (1, 2), (1, 1)):
            with pytest.raises(ValueError, match="results of seed 1, not 2") as caught:
                write_shards(Source(), 4, tmp_path, shard_size=2, part=part, identity={"seed": 2})
            one_line(caught.value)
        assert listed(tmp_path) == before

    @pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0), (-1, 2), (1.0, 2), (True, 2), (1,), 3, None, "1/2"])
    def test_bad_part(self, tmp_path: Path, part: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="part") as caught:
            write_shards(Source(), 4, tmp_path / "a", part=part)
        one_line(caught.value)
        assert not (tmp_path / "a").exists()


class TestLeftovers:
    """What a killed run leaves half-written is removed by the next one, except what may be another part's."""

    def leave(self, folder: Path) -> None:
        folder.mkdir()
        for name in ("pairs-000000.npz", "pairs-000001.npz", "manifest.json", "manifest-1-of-2.json", "other.npz"):
            (folder / f".{name}.x_1.tmp").write_bytes(b"half")
        for number in (0, 1):
            (folder / f".pairs-{number:06d}.y_2.tmp").mkdir()
            (folder / f".pairs-{number:06d}.y_2.tmp" / "000000000_img1.ppm").write_bytes(b"half")
        (folder / "pairs-000000.tmp").write_bytes(b"somebody's own")

    def test_of_the_whole(self, tmp_path: Path) -> None:
        self.leave(tmp_path / "a")
        write_shards(Source(), 4, tmp_path / "a", shard_size=2)
        left = {".manifest-1-of-2.json.x_1.tmp", ".other.npz.x_1.tmp", "pairs-000000.tmp"}
        assert set(listed(tmp_path / "a")) == left | {"manifest.json", "pairs-000000.npz", "pairs-000001.npz"}

    def test_of_a_part(self, tmp_path: Path) -> None:
        self.leave(tmp_path / "a")
        write_shards(Source(), 4, tmp_path / "a", shard_size=2, part=(1, 2))
        left = {path.name for path in (tmp_path / "a").iterdir()} - {"manifest-1-of-2.json", "pairs-000000.npz"}
        assert left == {
            ".manifest.json.x_1.tmp",
            ".other.npz.x_1.tmp",
            ".pairs-000001.npz.x_1.tmp",
            ".pairs-000001.y_2.tmp",
            "pairs-000000.tmp",
        }


def test_manifest_is_not_saved_after_every_shard_but_always_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved = [0.0], []
    save = shards.write_json

    def slow(path: Path, values: dict[str, Any]) -> None:
        now[0] += 1.0
        saved.append(len(values["shards"]))
        save(path, values)

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    class Slow(Source):
        def draw(self, index: int) -> Pair:
            now[0] += 6.0
            return super().draw(index)

    monkeypatch.setattr(shards, "write_json", slow)
    monkeypatch.setattr(shards, "time", Clock)
    with pytest.raises(Interrupted):
        write_shards(Slow(limit=9), 12, tmp_path, shard_size=1)
    assert saved == [0, 3, 7, 9]
    assert len(read_manifest(tmp_path)["shards"]) == 9


@pytest.mark.parametrize(
    "identity", [5, [], "seed", {"a": np.float32(1)}, {"a": float("nan")}, {(1, 2): 3}, {"a": {1, 2}}]
)
def test_identities_that_are_no_json_are_refused(tmp_path: Path, identity: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^identity .*; pass ") as caught:
        write_shards(Source(), 2, tmp_path / "a", identity=identity)
    one_line(caught.value)
    assert not (tmp_path / "a").exists()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no draw"):
        write_shards(object(), 4, tmp_path / "a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count is 0"):
        write_shards(Source(), 0, tmp_path / "a")
    with pytest.raises(ValueError, match=r"^first is 18446744073709551614 and count 3; "):
        write_shards(Source(), 3, tmp_path / "a", first=2**64 - 2)
    with pytest.raises(ValueError, match="shard_size is 0"):
        write_shards(Source(), 1, tmp_path / "a", shard_size=0)
    assert not (tmp_path / "a").exists()
