"""Manifests of folders of shards: one for a whole run, or one for each part of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from modelaug import _checks
from modelaug.io.files.reading import ModelFileError, read_own_json, refuse_if, refusing
from modelaug.io.shards.bits import differing_bits
from modelaug.io.shards.formats import FORMATS

MANIFEST: Final = "manifest.json"
FORMAT: Final = "modelaug pairs"
VERSION: Final = 2

_PART: Final = re.compile(r"manifest-\d+-of-\d+\.json")
_NAME: Final = re.compile(r"[\w%][\w%.-]{,99}", re.ASCII)
_PLAN: Final = ("source", "modelaug", "first", "shard_size", "file_format", "intensities")


def manifest_name(part: tuple[int, int]) -> str:
    """Return the name of the manifest of part (k, K) of a run."""
    return MANIFEST if part == (1, 1) else f"manifest-{part[0]}-of-{part[1]}.json"


def has_manifest(folder: Path) -> bool:
    """Return whether a folder holds shards of pairs."""
    return bool(_manifests(folder))


def plan_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that must be the same in all manifests of a folder."""
    return {name: manifest.get(name) for name in _PLAN}


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read the manifest of a folder of shards.

    Parameters
    ----------
    path
        A folder, whose manifests, of a whole run and of its parts, are merged; or a single manifest.

    Returns
    -------
    dict
        ``source``, ``first``, ``count``, ``shard_size``, ``file_format``, ``intensities`` (the range that became 0 to
        255, of Chairs-style files only), ``modelaug`` (the version that wrote it), ``bits`` (see `bits_here`; older
        versions did not note them), ``part`` ([k, K], in the manifest of a single part only) and ``shards``, a list of
        ``{"first", "count", "files"}`` in order. Each of the files is ``{"file", "bytes", "sha256"}``; a name with
        ``%09d`` stands for one file per index, each with so many bytes; the hash is of all, one after another.

    Raises
    ------
    ModelFileError
        If there is no manifest, one is not valid, or two disagree.
    """
    path = Path(path)
    paths = [path] if path.is_file() else _manifests(path) or [path / MANIFEST]
    manifests = {each: _read_single(each) for each in paths}
    return manifests[paths[0]] if len(paths) == 1 else _merged(manifests)


def verify_shards(path: str | Path) -> dict[str, Any]:
    """Read the manifest of a folder of shards and verify every byte of the shards.

    Returns
    -------
    dict
        As in `read_manifest`.

    Raises
    ------
    ModelFileError
        As in `read_manifest`, and if a file is missing or differs from what was written.
    """
    manifest = read_manifest(path)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    for shard in manifest["shards"]:
        for file in shard["files"]:
            digest = _digest(_expanded(folder, file["file"], shard), int(file["bytes"]))
            damaged = f"{folder / file['file']} is not what was written; copy it again, or remove it"
            refuse_if(digest != file["sha256"], damaged)
    return manifest


def shard_entry(folder: Path, names: tuple[str, ...], first: int, count: int) -> dict[str, Any]:
    """Return the manifest's entry of a shard whose files have been written."""
    shard: dict[str, Any] = {"first": first, "count": count, "files": []}
    for name in names:
        size = next(_expanded(folder, name, shard)).stat().st_size
        shard["files"].append({"file": name, "bytes": size, "sha256": _digest(_expanded(folder, name, shard), size)})
    return shard


def shard_bytes(shard: Mapping[str, Any]) -> int:
    """Return the size of all files of a shard."""
    return sum(int(file["bytes"]) * (int(shard["count"]) if "%09d" in file["file"] else 1) for file in shard["files"])


def is_whole(folder: Path, shard: Mapping[str, Any]) -> bool:
    """Return whether all files of a shard exist with their sizes."""
    try:
        return all(
            path.stat().st_size == file["bytes"]
            for file in shard["files"]
            for path in _expanded(folder, file["file"], shard)
        )
    except OSError:
        return False


def _manifests(folder: Path) -> list[Path]:
    parts = sorted(path for path in folder.glob("manifest-*.json") if _PART.fullmatch(path.name))
    whole = folder / MANIFEST
    return [whole, *parts] if whole.exists() else parts


def _expanded(folder: Path, name: str, shard: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that a name in a manifest stands for."""
    indices = range(shard["first"], shard["first"] + (shard["count"] if "%09d" in name else 1))
    return (folder / name.replace("%09d", f"{index:09d}") for index in indices)


def _digest(paths: Iterator[Path], size: int) -> str:
    """Return the SHA-256 of files of one size, one after another."""
    total = hashlib.sha256()
    for path in paths:
        with refusing(path, "cannot be read", "write the pairs again"):
            if not path.is_file():  # nor a device, which may have no end
                raise FileNotFoundError("no such file")
            with open(path, "rb") as file:
                found = os.fstat(file.fileno()).st_size
                refuse_if(found != size, f"{path} has {found} bytes, not {size}; copy it again, or remove it")
                left = size
                while left and (chunk := file.read(min(left, 1 << 20))):
                    total.update(chunk)
                    left -= len(chunk)
    return total.hexdigest()


def _read_single(path: Path) -> dict[str, Any]:
    manifest = read_own_json(path, format=FORMAT, version=VERSION)
    with refusing(path, "is no valid manifest", "write the pairs again"):
        for name, minimum in (("first", 0), ("count", 1), ("shard_size", 1)):
            _checks.integer(name, manifest[name], minimum=minimum)
        if not isinstance(manifest["source"], dict) or not isinstance(manifest["modelaug"], str):
            raise TypeError("source and modelaug must be an object and a version")
        if not isinstance(manifest.get("bits", {}), dict):
            raise TypeError("bits must be an object")
        _checks.choice("file_format", manifest["file_format"], FORMATS)
        if "part" in manifest:
            k, parts = manifest["part"]
            _checks.integer("part[0]", k, minimum=1, maximum=_checks.integer("part[1]", parts, minimum=1))
        if "intensities" in manifest:
            lowest, highest = manifest["intensities"]
            _checks.number("intensities[1]", highest, above=_checks.number("intensities[0]", lowest))
        if not isinstance(manifest["shards"], list):
            raise TypeError("shards is no list")
        for shard in manifest["shards"]:
            _check_shard(shard, manifest)
        if len({shard["first"] for shard in manifest["shards"]}) < len(manifest["shards"]):
            raise ValueError("a shard is listed twice")
    return manifest


def _check_shard(shard: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    first = _checks.integer("first", shard["first"], minimum=manifest["first"]) - manifest["first"]
    count = _checks.integer("count", shard["count"], minimum=1, maximum=manifest["shard_size"])
    if first % manifest["shard_size"] or first + count > manifest["count"]:
        raise ValueError(f"a shard begins at {shard['first']} and has {count} pairs; that is not as planned")
    if not shard["files"]:
        raise ValueError("a shard has no files")
    for file in shard["files"]:
        # Names of files elsewhere would let a manifest point out of its folder.
        if not _NAME.fullmatch(file["file"]):
            raise ValueError(f"file is {file['file']!r}; shards lie beside the manifest")
        _checks.integer("bytes", file["bytes"], minimum=0)
        if not isinstance(file["sha256"], str):
            raise TypeError(f"sha256 is {file['sha256']!r}; it must be hexadecimal")


def _merged(manifests: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """Merge manifests into one with the shards of all."""
    (first, union), *others = manifests.items()
    for path, manifest in others:
        before, now = plan_of(union), plan_of(manifest)
        other = next((name for name in _PLAN if before[name] != now[name]), None)
        if other is not None:
            raise ModelFileError(f"{path} and {first.name} differ in {other}; keep what does not belong together apart")
    shards: dict[int, dict[str, Any]] = {}
    for path, manifest in manifests.items():
        for shard in manifest["shards"]:
            known = shards.setdefault(shard["first"], shard)
            if shard["count"] > known["count"]:  # a run of more pairs filled the last shard of a smaller one
                shards[shard["first"]] = shard
            elif shard["count"] == known["count"] and shard != known:
                raise ModelFileError(
                    f"{path} has another hash of the pairs from {shard['first']} on; remove one of both"
                )
    count = max(manifest["count"] for manifest in manifests.values())
    bits = _common_bits(manifests)
    merged = {name: value for name, value in union.items() if name not in ("part", "bits")}
    merged |= {} if bits is None else {"bits": bits}
    return merged | {"count": count, "shards": [shards[start] for start in sorted(shards)]}


def _common_bits(manifests: Mapping[Path, dict[str, Any]]) -> dict[str, Any] | None:
    """Return the bits that all manifests note, None where one does not note them."""
    noted = [(path, manifest["bits"]) for path, manifest in manifests.items() if "bits" in manifest]
    for path, bits in noted[1:]:
        differing = differing_bits(noted[0][1], bits)
        if differing is not None:
            raise ModelFileError(f"{noted[0][0]} and {path.name} were made with {differing}")
    return noted[0][1] if len(noted) == len(manifests) else None
