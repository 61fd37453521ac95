"""Shards from a cluster: the same bytes as those of one process, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

import distributed as dask

from modelaug import ModelFileError, PairOptions, PairSynthesizer, __version__
from modelaug.io import read_manifest, write_shards
from modelaug.io.shards import distributed
from modelaug.io.shards.writing import ShardPlan, describe_synthesizer
from tests.examples import heart_model, one_line, plane_model
from tests.processes import start

COUNT = 11


@pytest.fixture(scope="module")
def cluster() -> Iterator[dask.LocalCluster]:
    options = {"processes": True, "dashboard_address": ":0", "host": "127.0.0.1"}
    with dask.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster:
        yield cluster


@pytest.fixture
def model(tmp_path: Path) -> Path:
    heart_model().save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


def synthesizer(**options: Any) -> PairSynthesizer:
    return PairSynthesizer(heart_model(), seed=4, options=PairOptions(**options))


def locally(model: Path, out: Path, **arguments: Any) -> dict[str, bytes]:
    """Return what one process writes, by name."""
    identity = describe_synthesizer(synthesizer(), model)
    arguments = {"count": COUNT, "shard_size": 2} | arguments
    write_shards(synthesizer(), out=out, identity=identity, threads=1, **arguments)
    return contents(out)


def remotely(cluster: dask.LocalCluster, model: Path, out: Path, **arguments: Any) -> Path:
    arguments = {"count": COUNT, "shard_size": 2} | arguments
    return distributed.write_shards_remotely(cluster.scheduler_address, synthesizer(), model, out=out, **arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("format", ["npz", "tar", "chairs"])
def test_same_bytes_as_of_one_process(cluster: dask.LocalCluster, model: Path, tmp_path: Path, format: str) -> None:
    seen: list[tuple[int, int]] = []
    manifest = remotely(cluster, model, tmp_path / "a", format=format, progress=lambda *at: seen.append(at))
    assert manifest == tmp_path / "a" / "manifest.json"
    assert contents(tmp_path / "a") == locally(model, tmp_path / "b", format=format)
    assert seen[-1] == (COUNT, COUNT)
    assert len(seen) == 6


def test_parts_and_continuation(cluster: dask.LocalCluster, model: Path, tmp_path: Path) -> None:
    expected = locally(model, tmp_path / "b")
    out = tmp_path / "a"
    assert remotely(cluster, model, out, part=(2, 3)).name == "manifest-2-of-3.json"
    assert sorted(path.name for path in out.glob("*.npz")) == ["pairs-000001.npz", "pairs-000004.npz"]
    kept = (out / "pairs-000004.npz").stat().st_mtime_ns
    (out / "pairs-000001.npz").write_bytes(b"half")
    (out / ".pairs-000003.npz.abc.tmp").write_bytes(b"half")
    remotely(cluster, model, out)
    (out / "manifest-2-of-3.json").unlink()
    assert contents(out) == expected
    assert (out / "pairs-000004.npz").stat().st_mtime_ns == kept
    # A finished run needs no cluster.
    distributed.write_shards_remotely("nowhere", synthesizer(), model, COUNT, out, shard_size=2)


def test_lost_worker(cluster: dask.LocalCluster, model: Path, tmp_path: Path) -> None:
    """A worker is killed when the first shard is done; the others' shards and its own are made by who is left."""
    with dask.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        victims = sorted(client.run(os.getpid).values())

    def kill(done: int, total: int) -> None:
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)
            victims.clear()

    size = {"count": 200, "shard_size": 20}
    remotely(cluster, model, tmp_path / "a", progress=kill, **size)
    assert not victims
    assert contents(tmp_path / "a") == locally(model, tmp_path / "b", **size)


def test_killed_clients(cluster: dask.LocalCluster, model: Path, tmp_path: Path) -> None:
    """The command is killed while workers write for it; what they still write is what the next command expects."""
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    from tests.cli.test_cli import succeeds

    size = {"count": 400, "shard_size": 4}
    command = ["sample", model, "-n", 400, "--shard-size", 4, "-o", tmp_path / "a", "--seed", 4]
    command += ["--scheduler", cluster.scheduler_address]
    for wanted in (1, 10, 25, 40):
        process = start(*command)
        while process.is_alive() and len(list(tmp_path.glob("a/pairs-*"))) < wanted:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        read_manifest(tmp_path / "a")
    succeeds(*command)
    assert contents(tmp_path / "a") == locally(model, tmp_path / "b", **size)


def test_shard_that_kills_its_workers(
    cluster: dask.LocalCluster, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        os._exit(1)

    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    monkeypatch.setattr(distributed, "_write", die)
    with pytest.raises(ConnectionError, match="several workers were lost") as caught:
        remotely(cluster, model, tmp_path / "a")
    one_line(caught.value)


def test_interrupted_client_leaves_what_is_done(cluster: dask.LocalCluster, model: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remotely(cluster, model, tmp_path / "a", progress=interrupt)
    assert len(read_manifest(tmp_path / "a")["shards"]) == 2
    remotely(cluster, model, tmp_path / "a")
    assert contents(tmp_path / "a") == locally(model, tmp_path / "b")


def test_worker_that_sees_another_model(
    cluster: dask.LocalCluster, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = distributed._connected

    def swap(address: str) -> dask.Client:
        plane_model().save(model)
        return connect(address)

    monkeypatch.setattr(distributed, "_connected", swap)
    with pytest.raises(ModelFileError, match=r"a worker sees another .*model\.npz") as caught:
        remotely(cluster, model, tmp_path / "a")
    one_line(caught.value)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["manifest.json"]


def test_worker_elsewhere_or_of_another_version(model: Path, tmp_path: Path) -> None:
    identity = describe_synthesizer(synthesizer(), model)
    plan = ShardPlan(tmp_path / "a", 1, 1, 0, "npz", (1, 1), None, identity)
    synthesis = (model, 4, PairOptions())
    with pytest.raises(ModelFileError, match=r"does not see .*manifest\.json"):
        distributed._write(plan, synthesis, __version__, 0)
    with pytest.raises(ModelFileError, match=r"has modelaug .*, not 0\.0\.7"):
        distributed._write(plan, synthesis, "0.0.7", 0)
    assert not (tmp_path / "a").exists()


def test_lost_scheduler(model: Path, tmp_path: Path) -> None:
    options = {"processes": True, "dashboard_address": ":0", "host": "127.0.0.1"}
    with dask.LocalCluster(n_workers=1, threads_per_worker=1, **options) as doomed:

        def end(done: int, total: int) -> None:
            if done == 2:
                doomed.close()

        with pytest.raises(ConnectionError, match="scheduler is lost") as caught:
            remotely(doomed, model, tmp_path / "a", progress=end)
    one_line(caught.value)
    assert len(read_manifest(tmp_path / "a")["shards"]) >= 1


def test_no_scheduler(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_TIMEOUT", 0.5)
    for address in ("tcp://127.0.0.1:9", "no address:x"):
        with pytest.raises(ConnectionError, match="does not answer") as caught:
            distributed.write_shards_remotely(address, synthesizer(), model, COUNT, tmp_path / "a")
        one_line(caught.value)
