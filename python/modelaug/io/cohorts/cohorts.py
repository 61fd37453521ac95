"""Reading of cohorts from ``.npz`` files or folders of images and landmarks, and writing to ``.npz``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug.data.cohort import Cohort, LandmarkObject
from modelaug.data.scans import cohort_from_scans
from modelaug.io.cohorts.scans import describe, read_described
from modelaug.io.files.archives import write_archive
from modelaug.io.files.arrays import Archive, open_archive
from modelaug.io.files.reading import parse_json, refusing


def write_cohort(path: str | Path, cohort: Cohort) -> None:
    """Write a cohort to an ``.npz`` file, under a temporary name until it is complete."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "images": cohort.images,
        "landmarks": cohort.landmarks,
        "spacing": cohort.spacing,
        "names": np.array(cohort.names),
        "objects": np.array(
            json.dumps([{"name": o.name, "kind": o.kind, "indices": o.indices} for o in cohort.objects])
        ),
    }
    if cohort.labels is not None:
        arrays["labels"] = cohort.labels
    if cohort.preparation:
        arrays["preparation"] = np.array(json.dumps(cohort.preparation))
    write_archive(path, arrays)


def read_cohort(path: str | Path) -> Cohort:
    """Read a cohort; see `modelaug.Cohort.load`."""
    if Path(path).is_dir() or Path(path).suffix.lower() == ".toml":
        try:
            description = describe(path)
            return cohort_from_scans(read_described(description), objects=description.objects)
        except (TypeError, ValueError) as error:
            if str(path) in str(error):
                raise
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{path}: {error}") from error
    with open_archive(path) as archive, refusing(path, "holds no cohort", "correct it, or pass another file"):
        return Cohort(**_read_arrays(archive))


def _read_arrays(archive: Archive) -> dict[str, Any]:
    """Return the arguments of a cohort; no array is unpacked that is too large for the images."""
    archive.require("images", "landmarks")
    images, landmarks = (archive.headers[name].shape for name in ("images", "landmarks"))
    if images[:1] != landmarks[:1]:
        raise ValueError(f"images has shape {images} but landmarks {landmarks}; pass one of each per subject")
    voxels = archive.headers["images"].size
    arguments: dict[str, Any] = {
        name: archive.read(name, most=3 * voxels)
        for name in ("images", "landmarks", "labels", "spacing")
        if name in archive.headers
    }
    if "names" in archive.headers:
        arguments["names"] = archive.read("names", most=voxels, text=True).tolist()
    if "objects" in archive.headers:
        with refusing(archive.path, "has objects that cannot be read", "write a JSON list of name, kind, indices"):
            arguments["objects"] = [
                LandmarkObject(str(o["name"]), tuple(o["indices"]), o["kind"]) for o in archive.read_json("objects")
            ]
    if "preparation" in archive.headers:
        arguments["preparation"] = parse_preparation(str(archive.read("preparation", most=1, text=True)), archive.path)
    return arguments


def parse_preparation(text: str, path: str | Path) -> dict[str, Any]:
    """Parse the ``preparation`` that a file holds as JSON, or raise ModelFileError."""
    with refusing(path, "has a preparation that cannot be read", "write a JSON object"):
        return dict(parse_json(text))
