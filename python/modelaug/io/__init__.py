"""Files: everything that is read from or written to disk.

Nothing here imports an optional dependency before a file needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelaug.io.bits import bits_here
    from modelaug.io.fields import (
        displacement_from_flo,
        displacement_from_itk,
        displacement_to_flo,
        displacement_to_itk,
        read_field,
        read_flo,
        write_field,
        write_flo,
    )
    from modelaug.io.geometry import Geometry
    from modelaug.io.images import read_image, write_image
    from modelaug.io.landmarks import read_landmarks, read_named_landmarks, write_landmarks
    from modelaug.io.manifests import read_manifest, verify_shards
    from modelaug.io.scans import read_scans
    from modelaug.io.sharded import ShardedPairs
    from modelaug.io.shards import write_shards

__all__ = [
    "Geometry",
    "ShardedPairs",
    "bits_here",
    "displacement_from_flo",
    "displacement_from_itk",
    "displacement_to_flo",
    "displacement_to_itk",
    "read_field",
    "read_flo",
    "read_image",
    "read_landmarks",
    "read_manifest",
    "read_named_landmarks",
    "read_scans",
    "verify_shards",
    "write_field",
    "write_flo",
    "write_image",
    "write_landmarks",
    "write_shards",
]

# Looked up on demand: the modules below import the package's core, which itself reads and writes archives.
_MODULES = {
    "Geometry": "geometry",
    "ShardedPairs": "sharded",
    "bits_here": "bits",
    "read_image": "images",
    "write_image": "images",
    "read_landmarks": "landmarks",
    "read_named_landmarks": "landmarks",
    "read_scans": "scans",
    "write_landmarks": "landmarks",
    "read_manifest": "manifests",
    "verify_shards": "manifests",
    "write_shards": "shards",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"modelaug.io.{_MODULES.get(name, 'fields')}"), name)
    raise AttributeError(f"module 'modelaug.io' has no attribute {name!r}")
