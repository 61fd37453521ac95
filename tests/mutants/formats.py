"""Formats of pictures and volumes, archives, and runs in folders."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MUTANTS: Final = (
    Mutant(
        "thumbnails count as planes",
        "io/formats/tiff.py",
        "if not int(page.subfiletype) & _REDUCED_OR_MASK]",
        "if not int(page.subfiletype) & 4]",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "zero stays black where it is white",
        "io/formats/tiff.py",
        "np.asarray(2**page.bitspersample - 1 - array, array.dtype)",
        "np.asarray(array, array.dtype)",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "what is missing of a page is zeros",
        "io/formats/tiff.py",
        "start < 1 or count < 1 or start + count > length for start, count in pieces",
        "start + count > length for start, count in pieces",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "transparency is counted from the first sample",
        "io/formats/tiff.py",
        "        first = page.samplesperpixel - len(page.extrasamples)\n",
        "        first = 0\n",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "palettes of 8 bits are taken as they are",
        "io/formats/tiff.py",
        "    for step in (257, 256):\n",
        "    for step in (257,):\n",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "ImageJ's resolution is a length",
        "io/formats/tiff_descriptions.py",
        "return units / pixels if pixels else None",
        "return pixels / units if units else None",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "all axes have ImageJ's common unit",
        "io/formats/tiff_descriptions.py",
        'str(said.get(f"{axis.lower()}unit", unit))',
        "unit",
        ("io/test_tiff.py",),
    ),
    Mutant(
        "ImageJ's calibration has no intercept",
        "io/formats/tiff_descriptions.py",
        'float(said.get("c1", 1.0)), float(said.get("c0", 0.0))',
        'float(said.get("c1", 1.0)), 0.0',
        ("io/test_tiff.py",),
    ),
    Mutant(
        "a picture's orientation mirrors the wrong axis",
        "io/formats/pictures.py",
        "rows = -1 if orientation in (3, 4, 7, 8) else 1",
        "rows = -1 if orientation in (3, 4, 5, 6) else 1",
        ("io/test_pictures.py",),
    ),
    Mutant(
        "damaged chunks of PNG are read",
        "io/formats/pictures.py",
        'zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big")',
        "False",
        ("io/test_pictures.py",),
    ),
    Mutant(
        "rescaled values lose what is added",
        "io/formats/headers.py",
        "array.astype(np.float64) * header.slope + header.intercept",
        "array.astype(np.float64) * header.slope",
        ("io/test_nifti.py", "io/test_metaimage.py"),
    ),
    Mutant(
        "components stay where the file has them",
        "io/formats/headers.py",
        "array = np.moveaxis(array, header.components_axis, -1)",
        "array = np.moveaxis(array, 0, -1)",
        ("io/test_nrrd.py", "io/test_nifti.py"),
    ),
    Mutant(
        "label maps are taken for images",
        "io/formats/volumes.py",
        'intensities = labels is False and kind == "labels"',
        "intensities = False",
        ("io/test_volumes.py", "io/test_nifti.py"),
    ),
    Mutant(
        "a link in place of a lock is followed",
        "io/files/locks.py",
        "        if path.is_symlink():",
        "        if False:",
        ("io/test_locks.py",),
    ),
    Mutant(
        "labels beyond 63 bits wrap",
        "_checks.py",
        "if labels.size and (int(labels.min()) < limits.min or int(labels.max()) > limits.max):",
        "if False:",
        ("test_checks.py",),
    ),
    Mutant(
        "pictures of 16 bits lose the upper ones",
        "cli/_moved.py",
        "most = 255 if image.max() <= 255 else 65535",
        "most = 255",
        ("cli/test_apply.py::test_pictures_of_16_bits_keep_them",),
    ),
    Mutant(
        "what lies nowhere lies at the origin",
        "cli/_pictures.py",
        "return cls(fixed, moving, fixed.geometry or moving.geometry, _common_geometry(fixed, moving))",
        "return cls(fixed, moving, fixed.geometry, _common_geometry(fixed, moving))",
        ("cli/test_places.py",),
    ),
    Mutant(
        "a slice of DICOM loses its place",
        "cli/_registration.py",
        "return read_in_space(job.fixed), read_in_space(job.moving)",
        "return io.read_image(job.fixed), io.read_image(job.moving)",
        ("cli/test_places.py",),
    ),
    Mutant(
        "RAS is taken for LPS",
        "io/formats/nrrd.py",
        '"right-anterior-superior": (-1.0, -1.0, 1.0)',
        '"right-anterior-superior": (1.0, 1.0, 1.0)',
        ("io/test_nrrd.py",),
    ),
    Mutant(
        "MetaImage's directions are the rows of its matrix",
        "io/formats/metaimage.py",
        "geometry_of(path, matrix.T * np.maximum(spacing, 0) * mm",
        "geometry_of(path, matrix * np.maximum(spacing, 0) * mm",
        ("io/test_metaimage.py", "io/test_volumes.py"),
    ),
    Mutant(
        "data of nobody are left out",
        "io/cohorts/matching.py",
        "        _check_unmatched(unmatched, found)\n",
        "",
        ("io/test_matching.py",),
    ),
)
