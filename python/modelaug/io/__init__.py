"""Files: everything that is read from or written to disk.

Nothing here imports an optional dependency before a file needs it.
"""

from __future__ import annotations

from modelaug import _storage
from modelaug.data.cohort import Cohort
from modelaug.data.geometry import Geometry
from modelaug.io.cohorts.cohorts import read_cohort, write_cohort
from modelaug.io.cohorts.scans import read_scans
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
from modelaug.io.images import read_image, write_image
from modelaug.io.landmarks import read_landmarks, read_named_landmarks, write_landmarks
from modelaug.io.models import read_model, write_model
from modelaug.io.shards.bits import bits_here
from modelaug.io.shards.manifests import read_manifest, verify_shards
from modelaug.io.shards.source import ShardedPairs
from modelaug.io.shards.writing import write_shards
from modelaug.models.appearance import AppearanceModel

__all__ = [
    "Geometry",
    "ShardedPairs",
    "bits_here",
    "displacement_from_flo",
    "displacement_from_itk",
    "displacement_to_flo",
    "displacement_to_itk",
    "read_cohort",
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

_storage.register(Cohort, read=read_cohort, write=write_cohort)
_storage.register(AppearanceModel, read=read_model, write=write_model)
