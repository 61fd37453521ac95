"""NIfTI, MetaImage and NRRD as SimpleITK writes them, and what becomes of damaged ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("SimpleITK")
pytest.importorskip("nibabel")

import SimpleITK as sitk

from modelaug import Cohort, ModelFileError
from modelaug.io import Geometry, read_image, write_image
from modelaug.io.formats.itk import ITK_READ_SUFFIXES, ITK_SUFFIXES
from modelaug.io.formats.volumes import read_volume
from modelaug.io.images import IMAGE_SUFFIXES, read_labels
from tests.examples import one_line, philox, rotation

# Axes of space, and channels if there are any.
SHAPES = [((4, 5), 0), ((3, 4, 5), 0), ((1, 4, 5), 0), ((4, 5, 1), 0), ((4, 5), 3), ((3, 4, 5), 2), ((3, 4, 5), 3)]


@given(
    ending=st.sampled_from(ITK_READ_SUFFIXES),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    shape=st.sampled_from(SHAPES),
    packed=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=150, deadline=None)
def test_what_simpleitk_writes_is_read_as_it_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    dtype: str,
    shape: tuple[tuple[int, ...], int],
    packed: bool,
    seed: int,
) -> None:
    rng, (grid, channels) = philox(seed), shape
    d = len(grid)
    ends = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    values = rng.choice(np.array([ends.min, ends.max, 0, 1, 100], dtype), size=(*grid, *[channels][: channels > 0]))
    image = sitk.GetImageFromArray(values, isVector=channels > 0)
    image.SetSpacing(rng.uniform(0.5, 3, size=d).tolist())
    image.SetOrigin(rng.normal(scale=50, size=d).tolist())
    axes = rotation(rng, d) * (rng.choice([-1, 1], size=d) if seed % 2 else 1)
    image.SetDirection(axes.ravel().tolist())
    path = tmp_path_factory.mktemp("a") / f"a{ending}"
    sitk.WriteImage(image, str(path), packed)
    read, where = read_volume(path)
    np.testing.assert_array_equal(read, np.moveaxis(values, -1, 0) if channels else values)
    assert read.dtype == np.dtype(dtype)
    theirs = sitk.ReadImage(str(path))
    np.testing.assert_allclose(where.spacing[::-1], theirs.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(where.origin, theirs.GetOrigin(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(where.direction.ravel(), theirs.GetDirection(), atol=1e-6)


def test_only_single_files_are_written(tmp_path: Path) -> None:
    assert set(ITK_READ_SUFFIXES) - set(ITK_SUFFIXES) == {".mhd", ".nhdr"}
    assert set(ITK_READ_SUFFIXES) <= set(IMAGE_SUFFIXES)
    for ending in (".mhd", ".nhdr"):
        with pytest.raises(ValueError, match="no known format"):
            write_image(tmp_path / f"a{ending}", np.zeros((3, 4)))


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_subjects_with_a_detached_header_are_in_the_cohort(tmp_path: Path, ending: str) -> None:
    for k, name in enumerate(("anna", "bert", "cora")):
        image = sitk.GetImageFromArray(philox(k).normal(size=(12, 14)).astype(np.float32))
        sitk.WriteImage(image, str(tmp_path / f"{name}{ending if name == 'cora' else '.nrrd'}"), name == "cora")
        labels = sitk.GetImageFromArray(np.full((12, 14), k, np.uint8))
        sitk.WriteImage(labels, str(tmp_path / f"{name}_labels{ending if name != 'bert' else '.nii.gz'}"))
        (tmp_path / f"{name}.csv").write_text("row,column\n1,2\n3,9\n8,4\n")
    cohort = Cohort.load(tmp_path)
    assert cohort.names == ("anna", "bert", "cora")
    np.testing.assert_array_equal(cohort.images[2, 0], philox(2).normal(size=(12, 14)).astype(np.float32))
    assert cohort.labels is not None
    np.testing.assert_array_equal(np.unique(cohort.labels[2]), [2])


@pytest.mark.parametrize("ending", ITK_READ_SUFFIXES)
def test_missing_files_devices_and_folders_are_named(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"link{ending}").symlink_to("/dev/zero")
    (tmp_path / f"loop{ending}").symlink_to(f"loop{ending}")
    for name in ("none", "folder", "link", "loop"):
        for read in (read_image, read_labels):
            with pytest.raises(ModelFileError, match=f"{name}{ending}") as caught:
                read(tmp_path / f"{name}{ending}")
            one_line(caught.value)


# Bytes of headers are turned into others, in a process that must live, and say nothing of its own.
_DAMAGE = """
import sys, warnings
from pathlib import Path
import numpy as np
from modelaug import ModelFileError
from modelaug.io import read_field
from modelaug.io.images import read_image, read_labels
warnings.simplefilter("error")
rng = np.random.Generator(np.random.Philox(5))
for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.suffix in (".raw", ".zraw"):
        continue
    data, counts = path.read_bytes(), {"read": 0, "refused": 0}
    for k in range(0, min(len(data), 560), 3):
        byte = rng.choice(np.array([0, 0x7F, 0x80, 0xFF, 0x0A, 0x30], np.uint8)).tobytes()
        path.write_bytes(data[:k] + byte + data[k + 1 :])
        for read in (read_field,) if path.stem.startswith("u") else (read_image, read_labels):
            try:
                read(path)
                counts["read"] += 1
            except ModelFileError as error:
                assert path.name in str(error) and "\\n" not in str(error), str(error)
                counts["refused"] += 1
    print(path.name, counts["read"], counts["refused"])
"""


def test_damaged_headers_are_read_or_refused(tmp_path: Path) -> None:
    for ending in ITK_READ_SUFFIXES:
        field = sitk.GetImageFromArray(philox(0).normal(size=(3, 4, 5, 3)).astype(np.float32), isVector=True)
        image = sitk.GetImageFromArray(philox(0).integers(0, 9, size=(3, 4, 5), dtype=np.int16))
        for name, each in (("u", field), ("a", image)):
            each.SetSpacing([1.5, 2.0, 2.5])
            sitk.WriteImage(each, str(tmp_path / f"{name}_{ending[1:]}{ending}"), ending == ".nrrd")
    done = subprocess.run([sys.executable, "-c", _DAMAGE, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    counts = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in done.stdout.splitlines()}
    assert len(counts) == 2 * len(ITK_READ_SUFFIXES)
    assert all(refused > 5 for _, refused in counts.values())
    assert all(read > 10 for name, (read, _) in counts.items() if not name.endswith(".gz"))


def test_geometries_of_files_are_those_that_were_written(tmp_path: Path) -> None:
    placed = Geometry([3.0, 2.0, 1.5], [10, 20, -30], rotation(philox(3), 3))
    for ending in ITK_SUFFIXES:
        write_image(tmp_path / f"a{ending}", np.zeros((3, 4, 5), np.float32), geometry=placed)
        where = read_image(tmp_path / f"a{ending}")[1]
        assert where is not None
        np.testing.assert_allclose(where.to_space([[1, 2, 3]]), placed.to_space([[1, 2, 3]]), atol=1e-4)
