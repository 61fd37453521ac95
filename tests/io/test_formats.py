"""The files of shards, read by what they are meant for."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import Pair, PairSynthesizer
from modelaug.io import read_flo, read_manifest, write_shards
from modelaug.io.shards.formats import FORMATS
from tests.examples import arrays_of, ellipsoids, heart_model, one_line, plane_model, volume_model


class Coloured:
    """Pairs with three channels, some intensities beyond 0 to 10."""

    def draw(self, index: int) -> Pair:
        images = np.random.Generator(np.random.Philox(index)).uniform(-1, 11, (2, 3, 4, 6)).astype(np.float32)
        images[0, :, 0, :2] = [[0.0, 10.0], [-1.0, 11.0], [5.0, 2.5]]
        flow = np.arange(48, dtype=np.float32).reshape(2, 4, 6) + index
        points = np.ones((1, 2))
        return Pair(images[0], images[1], flow, np.ones((4, 6), np.float32), points, points, info={"i": index})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("format", FORMATS)
def test_same_bytes_for_any_threads_and_at_any_time(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesizer = PairSynthesizer(heart_model(), seed=1)
    write_shards(synthesizer, 6, tmp_path / "a", shard_size=4, threads=1, format=format)
    monkeypatch.setattr("time.time", lambda: 1.7e9)
    write_shards(synthesizer, 6, tmp_path / "b", shard_size=4, threads=3, format=format)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("format", FORMATS)
def test_lost_file_is_written_again(tmp_path: Path, format: str) -> None:
    synthesizer = PairSynthesizer(heart_model(), seed=1)
    write_shards(synthesizer, 4, tmp_path, shard_size=2, threads=1, format=format)
    before = contents(tmp_path)
    victims = [name for name in sorted(before) if name != "manifest.json"]
    for victim in (victims[0], victims[-1]):
        (tmp_path / victim).write_bytes(before[victim][:-1])
        write_shards(synthesizer, 4, tmp_path, shard_size=2, threads=1, format=format)
        assert contents(tmp_path) == before
        (tmp_path / victim).unlink()
        write_shards(synthesizer, 4, tmp_path, shard_size=2, threads=1, format=format)
        assert contents(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_failure_leaves_nothing_half_written(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_shards(PairSynthesizer(heart_model()), 2, tmp_path, threads=1, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [heart_model, volume_model])
def test_tar(tmp_path: Path, model: Any) -> None:
    synthesizer = PairSynthesizer(model(), seed=2)
    write_shards(synthesizer, 3, tmp_path, shard_size=2, first=7, threads=1, format="tar")
    assert sorted(contents(tmp_path)) == ["manifest.json", "pairs-000000.tar", "pairs-000001.tar"]
    found: dict[str, bytes] = {}
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                file = tar.extractfile(member)
                assert file is not None
                assert member.name not in found
                found[member.name] = file.read()
    keys = [name.split(".")[0] for name in found]
    assert keys == sorted(keys)
    assert set(keys) == {f"{i:09d}" for i in (7, 8, 9)}
    for i in (7, 8, 9):
        pair = synthesizer.draw(i)
        info = json.loads(found.pop(f"{i:09d}.json"))
        assert info.keys() == pair.info.keys()
        assert info.pop("rejected") == pair.info["rejected"]
        for name, value in arrays_of(pair).items():
            if name in info:
                np.testing.assert_array_equal(info[name], value)
            elif name != "rejected":
                stored = np.load(io.BytesIO(found.pop(f"{i:09d}.{name}.npy")), allow_pickle=False)
                assert stored.dtype == value.dtype
                np.testing.assert_array_equal(stored, value)
    assert found == {}


@pytest.mark.skipif(importlib.util.find_spec("webdataset") is None, reason="needs webdataset")
def test_webdataset_reads_tars(tmp_path: Path) -> None:
    synthesizer = PairSynthesizer(heart_model(), seed=2)
    write_shards(synthesizer, 5, tmp_path, shard_size=3, threads=1, format="tar")
    # In a process of its own, for it leaves files to be closed by the collector of garbage.
    code = """
import sys, json, hashlib, webdataset
for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False).decode():
    digests = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in sample.items() if key.endswith("npy")}
    print(json.dumps([sample["__key__"], digests, sample["json"]["attempts"]]))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "pairs-{000000..000001}.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    samples = [json.loads(line) for line in done.stdout.splitlines()]
    assert [key for key, _, _ in samples] == [f"{i:09d}" for i in range(5)]
    for i, (_, digests, attempts) in enumerate(samples):
        pair = synthesizer.draw(i)
        assert attempts == pair.info["attempts"]
        arrays = {name: value for name, value in arrays_of(pair).items() if name not in pair.info}
        assert digests == {f"{name}.npy": hashlib.sha256(value.tobytes()).hexdigest() for name, value in arrays.items()}


def read_like_flownet(folder: Path) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return (image 1, image 2, flow) of all triplets, by names, bytes and order of components of FlyingChairs."""
    triplets = []
    for path in sorted(folder.glob("*_flow.flo")):
        images = [ppm(path.parent / (path.name[: -len("_flow.flo")] + ending)) for ending in ("_img1.ppm", "_img2.ppm")]
        data = path.read_bytes()
        magic, w, h = struct.unpack("<fii", data[:12])
        assert magic == 202021.25
        triplets.append((*images, np.frombuffer(data[12:], "<f4").reshape(h, w, 2)))
    return triplets


def ppm(path: Path) -> npt.NDArray[np.uint8]:
    magic, size, depth, pixels = path.read_bytes().split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255")
    w, h = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(h, w, 3)


def test_chairs_are_read_by_flownet_code(tmp_path: Path) -> None:
    synthesizer = PairSynthesizer(heart_model(), seed=2)
    write_shards(synthesizer, 5, tmp_path, shard_size=2, first=9, threads=1, format="chairs")
    names = [f"{i:09d}_{kind}" for i in range(9, 14) for kind in ("flow.flo", "img1.ppm", "img2.ppm")]
    assert sorted(contents(tmp_path)) == [*names, "manifest.json"]
    model = synthesizer.model
    lowest, highest = float(model.intensities.min()), float(model.intensities.max())
    assert read_manifest(tmp_path)["intensities"] == [lowest, highest]
    for i, (image1, image2, flow) in enumerate(read_like_flownet(tmp_path), start=9):
        pair = synthesizer.draw(i)
        for image, expected in ((image1, pair.fixed), (image2, pair.moving)):
            assert (image[..., :1] == image).all()
            np.testing.assert_allclose(image[..., 0], (expected[0] - lowest) * 255 / (highest - lowest), atol=0.501)
        np.testing.assert_array_equal(flow[..., 0], pair.flow[1])  # to the right
        np.testing.assert_array_equal(flow[..., 1], pair.flow[0])  # downwards
        np.testing.assert_array_equal(read_flo(tmp_path / f"{i:09d}_flow.flo"), pair.flow)


@pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="needs pillow")
def test_pillow_reads_chairs(tmp_path: Path) -> None:
    from PIL import Image

    write_shards(Coloured(), 1, tmp_path, format="chairs", intensities=(0, 10))
    with Image.open(tmp_path / "000000000_img2.ppm") as image:
        np.testing.assert_array_equal(np.asarray(image), ppm(tmp_path / "000000000_img2.ppm"))


def test_intensities_of_chairs_are_scaled_by_one_rule(tmp_path: Path) -> None:
    write_shards(Coloured(), 3, tmp_path, shard_size=2, format="chairs", intensities=(0, 10))
    assert read_manifest(tmp_path)["intensities"] == [0.0, 10.0]
    for i in range(3):
        image = ppm(tmp_path / f"{i:09d}_img1.ppm")
        assert image.shape == (4, 6, 3)
        assert image[0, :2].tolist() == [[0, 0, 128], [255, 255, 64]]
        moving = np.moveaxis(Coloured().draw(i).moving, 0, -1)
        np.testing.assert_allclose(ppm(tmp_path / f"{i:09d}_img2.ppm"), (moving * 25.5).clip(0, 255), atol=0.501)
    with pytest.raises(ValueError, match="intensities"):
        write_shards(Coloured(), 3, tmp_path, shard_size=2, format="chairs", intensities=(0, 9))


def test_range_of_a_model_covers_all_channels_and_the_background(tmp_path: Path) -> None:
    from modelaug import AppearanceModel

    model = AppearanceModel.fit(ellipsoids(4, (20, 24), (1.0, 1.0), channels=3))
    write_shards(PairSynthesizer(model), 1, tmp_path, threads=1, format="chairs")
    everything = [*model.intensities.ravel(), *model.background]
    assert read_manifest(tmp_path)["intensities"] == [min(everything), max(everything)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "zip"}, "format is 'zip'; pass one of 'npz', 'tar', 'chairs'"),
        ({"format": "npz", "intensities": (0, 1)}, "format 'npz' keeps images as they are"),
        ({"format": "chairs"}, "intensities is None"),
        ({"format": "chairs", "intensities": (1, 1)}, r"intensities\[1\] is 1"),
        ({"format": "chairs", "intensities": (0, np.inf)}, r"intensities\[1\] is inf"),
        ({"format": "chairs", "intensities": 5}, "intensities is 5"),
        ({"format": "chairs", "intensities": (1, 2, 3)}, "intensities is"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        write_shards(Coloured(), 1, tmp_path / "a", **arguments)
    one_line(caught.value)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("model", [plane_model, volume_model])
def test_chairs_are_flat_and_grey_or_coloured(tmp_path: Path, model: Any) -> None:
    with pytest.raises(ValueError, match="format is 'chairs' but images have shape") as caught:
        write_shards(PairSynthesizer(model()), 1, tmp_path / "a", format="chairs")
    one_line(caught.value)
    assert not (tmp_path / "a").exists()
