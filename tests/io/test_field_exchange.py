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

from modelaug import Cohort, ModelFileError, warp
from modelaug.io import Geometry, displacement_from_itk, displacement_to_itk, read_field, write_field, write_image
from modelaug.io.files.archives import write_atomically
from tests.cohorts import real_cohort
from tests.examples import one_line, philox, rotation

Image = npt.NDArray[np.float32]
GRIDS = [(20, 26), (12, 14, 16)]
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
    image = Cohort.load(real_cohort("sunnybrook37.npz")).images[0, 0]
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


def vectors_in_nifti(path: Path, values: Image, placed: Geometry, **entries: object) -> Path:
    """Write vectors (*grid, d) as they are, in five axes, with entries of the header as given."""
    d = values.ndim - 1
    affine = np.eye(4)
    affine[:d, :d] = placed.matrix * RAS[:d, None]
    affine[:d, 3] = placed.origin * RAS[:d]
    data = values.transpose(*range(d)[::-1], d).reshape(*values.shape[-2::-1], *(1,) * (4 - d), d)
    image = nibabel.Nifti1Image(data.astype(np.float32), affine)
    for name, value in entries.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def positions(u: Image, placed: Geometry) -> Image:
    """Where the content of each voxel lies in space, in mm and RAS: voxel by voxel, (*grid, d)."""
    d = len(u)
    there = [placed.to_space(np.array([index + u[(slice(None), *index)]]))[0] for index in np.ndindex(*u.shape[1:])]
    return (np.array(there) * RAS[:d]).reshape(*u.shape[1:], d)


NREG = {"intent_code": 1007, "intent_name": b"NREG_TRANS"}


@pytest.mark.parametrize(
    "entries",
    [
        {**NREG, "intent_p1": 0},
        {"intent_code": 1007, "intent_name": b"Mapping", "descrip": b"Deformation field"},
        {"intent_code": 0, "descrip": b"Deformation"},
        {"intent_code": 0, "descrip": b"Inverse Deformation (unknown)"},
    ],
    ids=["NiftyReg", "SPM", "SPM without intent", "SPM inverse"],
)
def test_positions_become_displacements(tmp_path: Path, grid: tuple[int, ...], entries: dict[str, object]) -> None:
    u, placed = field(grid), oblique(len(grid))
    path = vectors_in_nifti(tmp_path / "y_a.nii", positions(u, placed), placed, **entries)
    read, where = read_field(path)
    np.testing.assert_allclose(read, u, atol=2e-4)
    assert where is not None
    np.testing.assert_allclose(
        where.to_space([[1, 2, 3][: len(grid)]]), placed.to_space([[1, 2, 3][: len(grid)]]), atol=1e-4
    )
    # Into another image they lead to the same places.
    other = oblique(len(grid), seed=5)
    moved = read_field(path, moving=other)[0]
    index = (3, 4, 5)[: len(grid)]
    np.testing.assert_allclose(
        other.to_space([index + moved[(slice(None), *index)]]),
        placed.to_space([index + u[(slice(None), *index)]]),
        atol=1e-3,
    )


def test_displacements_of_niftyreg_are_in_ras(tmp_path: Path, grid: tuple[int, ...]) -> None:
    u, placed = field(grid), oblique(len(grid))
    values = displacement_to_itk(u, placed) * RAS[: len(grid)]
    path = vectors_in_nifti(tmp_path / "u.nii.gz", values, placed, **NREG, intent_p1=1)
    np.testing.assert_allclose(read_field(path)[0], u, atol=2e-4)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({**NREG, "intent_p1": 2}, "control points of a spline of NiftyReg"),
        ({**NREG, "intent_p1": 3}, "velocities of NiftyReg"),
        ({**NREG, "intent_p1": 5}, "velocities at control points of NiftyReg"),
        ({**NREG, "intent_p1": 77}, "transformations of kind 77 of NiftyReg"),
        ({**NREG, "intent_p1": np.nan}, "transformations of kind nan of NiftyReg"),
        ({"intent_code": 1007, "descrip": b"Velocity"}, "'Velocity' in its description"),
        ({"intent_code": 1007, "descrip": b"Flow Field"}, "'Flow Field' in its description"),
        ({"intent_code": 1006, "descrip": b"B-spline coefficients"}, "'coefficient' in its description"),
        ({"intent_code": 2003}, "its intent is 2003"),
        ({"intent_code": 2006}, "2006, an FSL fnirt displacement field"),
        ({"intent_code": 2016}, "2016, cubic spline coefficients of FSL topup"),
        ({"intent_code": 1008}, "1008, pointset"),
        ({"intent_code": 3}, "3, t test"),
        ({"intent_code": 0}, "5 axes"),
        ({"intent_code": 1007, "xyzt_units": 3}, "another unit than mm"),
    ],
)
def test_vectors_that_are_something_else_are_refused(
    tmp_path: Path, grid: tuple[int, ...], entries: dict[str, object], words: str
) -> None:
    path = vectors_in_nifti(tmp_path / "u.nii", np.ones((*grid, len(grid))), oblique(len(grid)), **entries)
    with pytest.raises(ModelFileError, match=rf"u\.nii .*{words}") as caught:
        read_field(path)
    one_line(caught.value)


@pytest.mark.parametrize("code", [1002, 5, 1011])
def test_scalars_say_what_they_are(tmp_path: Path, code: int) -> None:
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4))
    image.header["intent_code"] = code
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ModelFileError, match=rf"a\.nii has a single number per voxel \(its intent is {code}"):
        read_field(tmp_path / "a.nii")


def test_rescaled_vectors(tmp_path: Path, grid: tuple[int, ...]) -> None:
    u, placed = field(grid), oblique(len(grid))
    path = vectors_in_nifti(tmp_path / "u.nii", displacement_to_itk(u, placed), placed, intent_code=1007)
    data = bytearray(path.read_bytes())
    data[112:120] = struct.pack("<2f", 2, 0.5)
    path.write_bytes(data)
    wanted = displacement_from_itk(2 * displacement_to_itk(u, placed) + 0.5, placed)
    np.testing.assert_allclose(read_field(path)[0], wanted, atol=1e-3)


def test_planes_that_are_not_axial_need_three_components(tmp_path: Path) -> None:
    upright = Geometry([1.0, 2.0, 3.0], [4, 5, 6], np.eye(3)[:, [0, 2, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = upright.matrix * RAS[:, None], upright.origin * RAS
    for components, read in ((2, False), (3, True)):
        image = nibabel.Nifti1Image(np.ones((4, 5, 1, 1, components), np.float32), affine)
        image.header["intent_code"] = 1007
        nibabel.save(image, tmp_path / "u.nii")
        if read:
            assert read_field(tmp_path / "u.nii")[0].shape == (3, 1, 5, 4)
        else:
            with pytest.raises(ModelFileError, match="not in the plane of x and y"):
                read_field(tmp_path / "u.nii")


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_fields_with_a_detached_header_are_read(tmp_path: Path, grid: tuple[int, ...], ending: str) -> None:
    u, placed = field(grid), oblique(len(grid))
    vectors = sitk.GetImageFromArray(displacement_to_itk(u, placed), isVector=True)
    vectors.SetSpacing(placed.spacing[::-1].tolist())
    vectors.SetOrigin(placed.origin.tolist())
    vectors.SetDirection(placed.direction.ravel().tolist())
    sitk.WriteImage(vectors, str(tmp_path / f"u{ending}"))
    np.testing.assert_allclose(read_field(tmp_path / f"u{ending}")[0], u, atol=1e-4)
    with pytest.raises(ValueError, match="no known format of fields"):
        write_field(tmp_path / f"v{ending}", u)


@pytest.mark.parametrize(
    ("row", "opens"), [((0.0, 1.0, 0.0), True), ((0.0, 0.6, 0.8), True), ((0.0, 0.0, -1.0), False)]
)
def test_what_itk_does_not_open_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, row: tuple[float, ...], opens: bool
) -> None:
    along = np.array([1.0, 0.0, 0.0])
    placed = Geometry([1.0, 2.0, 0.5], [1.0, 2.0, 3.0], np.stack([along, row, np.cross(along, row)], axis=1))
    flat = np.concatenate([np.zeros((1, 20, 26), np.float32), field((20, 26))])[:, None]
    write_field(tmp_path / "u.nii.gz", flat, geometry=placed)
    assert ("u.nii.gz: ITK does not open NIfTI of a single plane that stands upright" in caplog.text) != opens
    if opens:
        assert sitk.ReadImage(str(tmp_path / "u.nii.gz")).GetNumberOfComponentsPerPixel() == 3
    else:
        with pytest.raises(RuntimeError, match="Bad direction"):
            sitk.ReadImage(str(tmp_path / "u.nii.gz"))
    np.testing.assert_allclose(read_field(tmp_path / "u.nii.gz")[0], flat, atol=1e-5)
