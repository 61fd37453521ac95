"""Displacement fields in files mean the same to nibabel, SimpleITK and ANTs as here."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

pytest.importorskip("SimpleITK")
pytest.importorskip("nibabel")

import nibabel
import SimpleITK as sitk

from modelaug import Cohort, warp
from modelaug.io import Geometry, displacement_to_itk, read_field, write_field, write_image
from modelaug.io.archives import write_atomically
from tests.examples import philox, rotation

Image = npt.NDArray[np.float32]
GRIDS = [(20, 26), (12, 14, 16)]
HEARTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "sunnybrook37.npz"
RAS = np.array([-1.0, -1.0, 1.0])


def oblique(d: int, seed: int = 1) -> Geometry:
    rng = philox(seed)
    return Geometry(rng.uniform(0.5, 2.5, size=d), rng.normal(scale=20, size=d), rotation(rng, d))


def smooth(seed: int, grid: tuple[int, ...], scale: float) -> Image:
    return np.asarray(scale * ndimage.gaussian_filter(philox(seed).normal(size=grid), 2), dtype=np.float32)


def field(grid: tuple[int, ...]) -> Image:
    return np.stack([smooth(10 + k, grid, 12) for k in range(len(grid))])


@pytest.fixture(params=GRIDS, ids=["2d", "3d"])
def grid(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def resampled(image: Path, fixed: Path, vectors: Path) -> Image:
    """What SimpleITK makes of the moving image, all from files."""
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(vectors), sitk.sitkVectorFloat64))
    moving = sitk.ReadImage(str(image))
    return sitk.GetArrayFromImage(sitk.Resample(moving, sitk.ReadImage(str(fixed)), transform, sitk.sitkLinear, -1e4))


def agree(theirs: Image, image: Image, u: Image, tolerance: float) -> None:
    ours = warp(image, u, border="constant", fill=-1e4)
    both = (theirs > -1e3) & (ours > -1e3)
    assert both.mean() > 0.5
    assert np.abs(ours - image)[both].max() > 100 * tolerance  # which a field that does nothing would not be
    np.testing.assert_allclose(theirs[both], ours[both], atol=tolerance)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_simpleitk_resamples_by_our_files_as_warp_does(tmp_path: Path, grid: tuple[int, ...], ending: str) -> None:
    image, u, placed = smooth(3, grid, 500), field(grid), oblique(len(grid))
    write_image(tmp_path / "i.nrrd", image, geometry=placed)
    write_field(tmp_path / f"u{ending}", u, geometry=placed)
    agree(resampled(tmp_path / "i.nrrd", tmp_path / "i.nrrd", tmp_path / f"u{ending}"), image, u, 0.01)


def test_real_hearts_are_resampled_as_warp_does(tmp_path: Path) -> None:
    if not HEARTS.exists():
        pytest.skip("needs the hearts")
    image = Cohort.load(HEARTS).images[0, 0]
    u, fixed, moving = field(image.shape), oblique(2), oblique(2, seed=2)
    write_image(tmp_path / "fixed.nii.gz", image, geometry=fixed)
    write_image(tmp_path / "moving.nii.gz", image, geometry=moving)
    write_field(tmp_path / "u.nii.gz", u, geometry=fixed, moving=moving)
    theirs = resampled(tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz", tmp_path / "u.nii.gz")
    agree(theirs, image, u, 1e-3 * float(np.ptp(image)))


def test_nifti_of_volumes_says_that_it_holds_displacements(tmp_path: Path) -> None:
    grid, placed = (3, 4, 5), oblique(3)
    u = field(grid)
    for name in ("u.nii", "u.nii.gz"):
        write_field(tmp_path / name, u, geometry=placed)
        stored = nibabel.load(tmp_path / name)
        assert stored.shape == (5, 4, 3, 1, 3)
        assert int(stored.header["intent_code"]) == 1006
        assert stored.header.get_xyzt_units()[0] == "mm"
        assert (int(stored.header["qform_code"]), int(stored.header["sform_code"])) == (1, 1)
        np.testing.assert_allclose(stored.get_qform(), stored.get_sform(), atol=1e-4)
        # In RAS a voxel's position and its vector lead to the voxel that it comes from.
        vectors = np.asarray(stored.dataobj)[:, :, :, 0]
        for index in np.ndindex(grid):
            there = stored.affine[:3, :3] @ index[::-1] + stored.affine[:3, 3] + vectors[index[::-1]]
            voxel = np.linalg.solve(stored.affine[:3, :3], there - stored.affine[:3, 3])[::-1]
            np.testing.assert_allclose(voxel, index + u[(slice(None), *index)], atol=1e-4)
    write_field(tmp_path / "again.nii.gz", u, geometry=placed)
    assert (tmp_path / "again.nii.gz").read_bytes() == (tmp_path / "u.nii.gz").read_bytes()


def test_nifti_of_planes_holds_vectors(tmp_path: Path) -> None:
    write_field(tmp_path / "u.nii", field((4, 5)), geometry=oblique(2))
    stored = nibabel.load(tmp_path / "u.nii")
    assert stored.shape == (5, 4, 1, 1, 2)
    assert int(stored.header["intent_code"]) == 1007


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("intent", [1006, 1007])
def test_both_kinds_of_vectors_in_nifti_are_read(
    tmp_path: Path, grid: tuple[int, ...], intent: int, ending: str
) -> None:
    d, u, placed = len(grid), field(grid), oblique(len(grid))
    vectors = displacement_to_itk(u, placed) * (RAS[:d] if intent == 1006 else 1)
    affine = np.eye(4)
    affine[:d, :d] = placed.direction * placed.spacing[::-1] * RAS[:d, None]
    affine[:d, 3] = placed.origin * RAS[:d]
    data = np.moveaxis(vectors.T, 0, -1)
    data = data.reshape(*grid[::-1], *(1,) * (4 - d), d).astype(np.float32)
    other = nibabel.Nifti1Image(data, affine)
    other.header.set_intent(intent)
    nibabel.save(other, tmp_path / f"u{ending}")
    read, where = read_field(tmp_path / f"u{ending}")
    np.testing.assert_allclose(read, u, atol=1e-4)
    assert where is not None
    np.testing.assert_allclose(where.spacing, placed.spacing, rtol=1e-5)


def test_intents_are_not_only_read_off_names(tmp_path: Path) -> None:
    """A volume's vectors whose intent is changed but not their signs mean something else."""
    u, placed = field(GRIDS[1]), oblique(3)
    write_field(tmp_path / "u.nii", u, geometry=placed)
    data = bytearray((tmp_path / "u.nii").read_bytes())
    data[68:70] = struct.pack("<h", 1007)
    write_atomically(tmp_path / "u.nii", lambda file: file.write(data))
    assert np.abs(read_field(tmp_path / "u.nii")[0] - u).max() > 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_ants_resamples_by_our_files_as_warp_does(tmp_path: Path, grid: tuple[int, ...], ending: str) -> None:
    ants = pytest.importorskip("ants")
    image, u, placed = smooth(3, grid, 500), field(grid), oblique(len(grid))
    write_image(tmp_path / "i.nii.gz", image, geometry=placed)
    write_field(tmp_path / f"u{ending}", u, geometry=placed)
    theirs = ants.image_read(str(tmp_path / "i.nii.gz"))
    moved = ants.apply_transforms(
        theirs, theirs, [str(tmp_path / f"u{ending}")], interpolator="linear", defaultvalue=-1e4
    )
    agree(moved.numpy().T.astype(np.float32), image, u, 0.01)
