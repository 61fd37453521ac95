"""Pairs that come back from files as they were drawn."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import ModelFileError, PairSynthesizer
from modelaug.io import ShardedPairs, write_shards
from modelaug.io.files.archives import read_archive
from tests.examples import heart_model, one_line, same_pairs, volume_model

END = 2**40

Arrays = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with pairs 3 to 13, in shards of 4."""
    write_shards(PairSynthesizer(heart_model(), seed=1), 11, tmp_path / "p", shard_size=4, first=3, threads=1)
    return tmp_path / "p"


@pytest.mark.parametrize("verify", [False, True])
def test_pairs_are_those_that_were_drawn(folder: Path, verify: bool) -> None:
    pairs, synthesizer = ShardedPairs(folder, held_out=3, verify=verify), PairSynthesizer(heart_model(), seed=1)
    assert len(pairs) == 11
    for i in range(20):
        same_pairs(pairs.draw(i), synthesizer.draw(3 + i % 8))
    for k in range(3):
        same_pairs(pairs.draw(END - 3 + k), synthesizer.draw(11 + k))
    same_pairs(pickle.loads(pickle.dumps(pairs)).draw(9), synthesizer.draw(4))


def test_volumes_in_parts(tmp_path: Path) -> None:
    synthesizer = PairSynthesizer(volume_model())
    for k in (2, 1):
        write_shards(synthesizer, 3, tmp_path, shard_size=1, part=(k, 2), threads=1)
    for i in range(3):
        same_pairs(ShardedPairs(tmp_path, held_out=0).draw(i), synthesizer.draw(i))


def test_a_pair_may_be_changed(folder: Path) -> None:
    pairs = ShardedPairs(folder, held_out=0)
    pair = pairs.draw(1)
    pair.flow[:] = 0
    pair.info["shape"] = None
    same_pairs(pairs.draw(1), PairSynthesizer(heart_model(), seed=1).draw(4))


@pytest.mark.parametrize("index", [-1, END, END - 4, END // 2, 1.0, True])
def test_bad_index(folder: Path, index: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="index is") as caught:
        ShardedPairs(folder, held_out=3).draw(index)
    one_line(caught.value)


def test_bad_arguments(folder: Path, tmp_path: Path) -> None:
    for held_out in (-1, 11, 64, 1.5):
        with pytest.raises((TypeError, ValueError), match="held_out is") as caught:
            ShardedPairs(folder, held_out=held_out)  # type: ignore[arg-type]
        one_line(caught.value)
    with pytest.raises(ModelFileError, match="does not exist"):
        ShardedPairs(tmp_path / "nowhere")
    write_shards(PairSynthesizer(heart_model()), 2, tmp_path / "t", format="tar", threads=1)
    with pytest.raises(ValueError, match="format 'tar'"):
        ShardedPairs(tmp_path / "t", held_out=0)


def test_missing_shards(folder: Path, tmp_path: Path) -> None:
    (folder / "pairs-000001.npz").unlink()
    with pytest.raises(ModelFileError, match="lacks some of its 11 pairs"):
        ShardedPairs(folder, held_out=0)
    write_shards(PairSynthesizer(heart_model()), 5, tmp_path / "q", shard_size=2, part=(1, 2), threads=1)
    with pytest.raises(ModelFileError, match="lacks some of its 5 pairs"):
        ShardedPairs(tmp_path / "q", held_out=0)


def test_damage_is_found_on_request_or_at_the_latest_when_read(folder: Path) -> None:
    path = folder / "pairs-000000.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="is not what was written"):
        ShardedPairs(folder, held_out=0, verify=True)
    with pytest.raises(ModelFileError, match="cannot be read"):
        ShardedPairs(folder, held_out=0).draw(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("flow"),
        lambda a: a.update(flow=a["flow"][:, :1]),
        lambda a: a.update(flow=a["flow"][:2]),
        lambda a: a.update(fixed=a["fixed"][:, 0]),
        lambda a: a.update(fixed=a["fixed"].astype(np.int32)),
        lambda a: a.update(flow=a["flow"].astype(a["flow"].dtype.newbyteorder())),
        lambda a: a.update(fixed=a["fixed"][:, :0], moving=a["moving"][:, :0]),
        lambda a: a.update({n: a[n][..., :0] for n in ("fixed", "moving", "flow", "weight")}),
        lambda a: a.update(weight=np.float32(1)),
        lambda a: a.update(landmarks_moving=a["landmarks_moving"][:, :1]),
        lambda a: a.update(labels_fixed=a["labels_fixed"].astype(np.float32)),
        lambda a: a.update(index=a["index"] + 1),
        lambda a: a.update(index=np.array("three")),
        lambda a: a.update(info=np.array("{")),
        lambda a: a.update(info=np.array("[" * 100_000)),
        lambda a: a.update(info=np.array(json.dumps([{}]))),
        lambda a: a.update(info=np.array(json.dumps([1, 2, 3, 4]))),
        lambda a: a.update(flow=np.array([print], dtype=object)),
    ],
)
def test_hostile_shards(folder: Path, change: Callable[[Arrays], Any]) -> None:
    path = folder / "pairs-000000.npz"
    arrays = read_archive(path)
    change(arrays)
    np.savez(path, **arrays)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["files"][0]["bytes"] = path.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=r"pairs-000000\.npz") as caught:
        ShardedPairs(folder, held_out=0).draw(0)
    one_line(caught.value)


def test_training_on_files(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from modelaug import learning
    from modelaug.synthesis.pairs import HELD_OUT

    assert HELD_OUT == END
    options = learning.TrainOptions(steps=3, batch_size=4, validation_pairs=3, validate_every=3)
    network = learning.FlowNetS(width=0.0625)
    learning.train(ShardedPairs(folder, held_out=3), network=network, options=options, out=tmp_path / "n", threads=1)
    assert learning.read_card(tmp_path / "n")["finished"]
    with pytest.raises(ValueError, match="validate on 2 pairs at most"):
        learning.train(
            ShardedPairs(folder, held_out=2), network=network, options=options, out=tmp_path / "m", threads=1
        )
