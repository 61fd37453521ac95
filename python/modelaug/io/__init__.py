"""Files: everything that is read from or written to disk.

Nothing here imports an optional dependency before a file needs it, nor a module of this room before its names are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelaug import _storage
from modelaug._old_names import names_elsewhere
from modelaug.data.cohort import Cohort
from modelaug.data.geometry import Geometry
from modelaug.models.appearance import AppearanceModel

if TYPE_CHECKING:
    from modelaug.io.cohorts.cohorts import read_cohort
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
    from modelaug.io.shards.bits import bits_here
    from modelaug.io.shards.manifests import read_manifest, verify_shards
    from modelaug.io.shards.source import ShardedPairs
    from modelaug.io.shards.writing import write_shards

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

__getattr__ = _later = names_elsewhere(
    __name__,
    ShardedPairs="shards.source.ShardedPairs",
    bits_here="shards.bits.bits_here",
    displacement_from_flo="fields.displacement_from_flo",
    displacement_from_itk="fields.displacement_from_itk",
    displacement_to_flo="fields.displacement_to_flo",
    displacement_to_itk="fields.displacement_to_itk",
    read_cohort="cohorts.cohorts.read_cohort",
    read_field="fields.read_field",
    read_flo="fields.read_flo",
    read_image="images.read_image",
    read_landmarks="landmarks.read_landmarks",
    read_manifest="shards.manifests.read_manifest",
    read_model="models.read_model",
    read_named_landmarks="landmarks.read_named_landmarks",
    read_scans="cohorts.scans.read_scans",
    verify_shards="shards.manifests.verify_shards",
    write_cohort="cohorts.cohorts.write_cohort",
    write_field="fields.write_field",
    write_flo="fields.write_flo",
    write_image="images.write_image",
    write_landmarks="landmarks.write_landmarks",
    write_model="models.write_model",
    write_shards="shards.writing.write_shards",
)

_storage.register(
    Cohort,
    read=lambda path: _later("read_cohort")(path),
    write=lambda path, cohort: _later("write_cohort")(path, cohort),
)
_storage.register(
    AppearanceModel,
    read=lambda path: _later("read_model")(path),
    write=lambda path, model: _later("write_model")(path, model),
)
