"""Pairs in files, many to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug.io.archives import ModelFileError, write_archive
from modelaug.io.provenance import as_json, file_digest, read_json, refuse_other, write_json
from modelaug.synthesis import Pair, PairSource, PairSynthesizer, stack_pairs

__all__ = ["MANIFEST", "describe_synthesizer", "read_manifest", "write_shards"]

MANIFEST: Final = "manifest.json"
_FORMAT: Final = "modelaug pairs"
_VERSION: Final = 1


def describe_synthesizer(synthesizer: PairSynthesizer, model_file: str | Path) -> dict[str, Any]:
    """Return what the pairs of a synthesizer depend on: the SHA-256 of its model's file, the seed and the options."""
    return {
        "model_sha256": file_digest(model_file),
        "seed": synthesizer.seed,
        "options": asdict(synthesizer.options),
    }


def write_shards(
    source: PairSource,
    count: int,
    out: str | Path,
    *,
    shard_size: int = 64,
    first: int = 0,
    identity: Mapping[str, Any] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write pairs to ``pairs-000000.npz``, ``pairs-000001.npz``, ... and a ``manifest.json``.

    A shard holds the arrays of `Pair`, stacked along a first axis, ``index`` (n,), the pairs' numbers, and ``info``, a
    JSON list with an entry per pair. The manifest lists the shards with the index range of each; every file is written
    under a temporary name until it is complete. A run on a folder that already holds shards of the same source adds
    what is missing, so an interrupted run continues and a larger `count` extends it; a last shard that is not full is
    written anew.

    Parameters
    ----------
    source
        Where the pairs come from. If it has ``batch(indices, threads=None)``, a stacked `Pair`, that is used instead of
        ``draw``.
    count
        Number of pairs.
    out
        The folder, made if need be.
    shard_size
        Pairs per shard; the last one may have fewer.
    first
        Index of the first pair.
    identity
        What the pairs depend on, e.g. of `describe_synthesizer`; must be JSON. It is noted in the manifest, and a
        folder whose manifest notes something else is refused.
    threads
        Threads for the source's ``batch``; None means all cores.
    progress
        Called with (pairs done, pairs in all).

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `out` holds other pairs or more of them.
    ModelFileError
        If the manifest in `out` cannot be read.
    """
    if not callable(getattr(source, "draw", None)):
        raise TypeError(f"source is {type(source).__name__}, which has no draw(index); pass a source of pairs")
    count = _checks.integer("count", count, minimum=1)
    size = _checks.integer("shard_size", shard_size, minimum=1)
    first = _checks.integer("first", first, minimum=0)
    workers = _checks.thread_count(threads)
    folder = Path(out)
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "modelaug": _core.build_config()["version"],
        "source": as_json(identity or {}),
        "first": first,
        "count": count,
        "shard_size": size,
        "shards": [],
    }
    finished = _finished_shards(folder, manifest)
    write_json(folder / MANIFEST, manifest | {"shards": list(finished.values())})

    done = 0
    for number, start in enumerate(range(0, count, size)):
        indices = range(first + start, first + min(start + size, count))
        path = folder / f"pairs-{number:06d}.npz"
        if _is_whole(path, finished.get(path.name), indices):
            done += len(indices)
            if progress is not None:
                progress(done, count)
            continue
        parts: list[Pair] = []
        for part in _draw(source, indices, workers):
            parts.append(part)
            done += len(part.fixed)
            if progress is not None:
                progress(done, count)
        write_archive(path, _arrays(indices, parts))
        shard = {"file": path.name, "first": indices[0], "count": len(indices), "bytes": path.stat().st_size}
        finished[path.name] = shard
        write_json(folder / MANIFEST, manifest | {"shards": list(finished.values())})
    return folder / MANIFEST


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read the manifest of a folder of shards.

    Returns
    -------
    dict
        ``source``, ``first``, ``count``, ``shard_size``, ``modelaug`` (the version that wrote it) and ``shards``, a
        list of ``{"file", "first", "count", "bytes"}``.

    Raises
    ------
    ModelFileError
        If the manifest is missing or is not one.
    """
    path = Path(folder) / MANIFEST
    manifest = read_json(path, format=_FORMAT, version=_VERSION)
    try:
        for name in ("first", "count", "shard_size"):
            _checks.integer(name, manifest[name], minimum=0)
        if not isinstance(manifest["source"], dict) or not isinstance(manifest["modelaug"], str):
            raise TypeError("source and modelaug must be an object and a version")
        for shard in manifest["shards"]:
            # Names of files elsewhere would let a manifest point out of its folder.
            if Path(shard["file"]).name != shard["file"]:
                raise ValueError(f"file is {shard['file']!r}; shards lie beside the manifest")
            for name in ("first", "count", "bytes"):
                _checks.integer(name, shard[name], minimum=0)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path} is no valid manifest ({error!r}); write the pairs again") from error
    return manifest


def _finished_shards(folder: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of the shards that a folder holds, by file, or refuse it."""
    if not (folder / MANIFEST).exists():
        return {}
    before = read_manifest(folder)
    same = ("modelaug", "first", "shard_size")
    refuse_other(folder, {name: before[name] for name in same}, {name: manifest[name] for name in same})
    refuse_other(folder, before["source"], manifest["source"])
    if before["count"] > manifest["count"]:
        raise ValueError(f"count is {manifest['count']} but {folder} is to hold {before['count']}; pass another folder")
    return {shard["file"]: shard for shard in before["shards"]}


def _is_whole(path: Path, shard: Mapping[str, Any] | None, indices: Sequence[int]) -> bool:
    """Return whether the shard of these pairs is there, as long as the manifest says."""
    if shard is None or (shard["first"], shard["count"]) != (indices[0], len(indices)):
        return False
    return path.exists() and path.stat().st_size == int(shard["bytes"])


def _draw(source: PairSource, indices: Sequence[int], threads: int) -> Iterator[Pair]:
    """Yield the pairs at `indices` a few at a time, stacked."""
    batch = getattr(source, "batch", None)
    step = 4 * threads
    for start in range(0, len(indices), step):
        some = indices[start : start + step]
        yield stack_pairs([source.draw(i) for i in some]) if batch is None else batch(some, threads=threads)


def _arrays(indices: Sequence[int], parts: Sequence[Pair]) -> dict[str, npt.NDArray[Any]]:
    """Return what a shard holds."""
    infos = [{key: values[i] for key, values in part.info.items()} for part in parts for i in range(len(part.fixed))]
    arrays: dict[str, npt.NDArray[Any]] = {
        "index": np.array(indices, dtype=np.uint64),
        "info": np.array(json.dumps(infos, default=lambda value: np.asarray(value).tolist())),
    }
    for name in Pair.__dataclass_fields__:
        if name != "info" and getattr(parts[0], name) is not None:
            arrays[name] = np.concatenate([getattr(part, name) for part in parts])
    return arrays
