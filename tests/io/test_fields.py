"""Displacement fields in files and in the conventions of other programs."""

from __future__ import annotations

import importlib
import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError, warp, warp_points
from modelaug.io import (
    Geometry,
    displacement_from_flo,
    displacement_from_itk,
    displacement_to_flo,
    displacement_to_itk,
    read_field,
    read_flo,
    write_field,
    write_flo,
)
from modelaug.io.files.archives import write_archive
from tests.examples import one_line, philox, rotation

Field = npt.NDArray[np.float32]
GRIDS = [(11, 14), (6, 9, 7)]


def field(grid: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> Field:
    return philox(seed).normal(scale=scale, size=(len(grid), *grid)).astype(np.float32)


def geometry(d: int, seed: int = 1) -> Geometry:
    rng = philox(seed)
    return Geometry(rng.uniform(0.5, 2.5, size=d), rng.normal(scale=20, size=d), rotation(rng, d))


@pytest.fixture(params=GRIDS, ids=["2d", "3d"])
def grid(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def test_names_are_looked_up_on_demand() -> None:
    module = importlib.import_module("modelaug.io")
    assert all(getattr(module, name).__doc__ for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


class TestFlo:
    def test_round_trip_is_exact(self, tmp_path: Path) -> None:
        u = field((5, 8))
        write_flo(tmp_path / "a.flo", u)
        np.testing.assert_array_equal(read_flo(tmp_path / "a.flo"), u)

    def test_bytes_are_those_of_the_format(self, tmp_path: Path) -> None:
        # One row of two pixels: the first moves 1 to the right and 2 down, the second 3 and 4.
        write_flo(tmp_path / "a.flo", [[[2.0, 4.0]], [[1.0, 3.0]]])
        assert (tmp_path / "a.flo").read_bytes() == struct.pack("<f2i4f", 202021.25, 2, 1, 1, 2, 3, 4)

    def test_conversions_are_inverse(self) -> None:
        u = field((5, 8))
        flo = displacement_to_flo(u)
        assert flo.shape == (5, 8, 2)
        np.testing.assert_array_equal(flo[..., 0], u[1])
        np.testing.assert_array_equal(displacement_from_flo(flo), u)

    @pytest.mark.parametrize("unknown", [1.7e9, np.nan, np.inf])
    def test_unknown_displacements_become_nan(self, tmp_path: Path, unknown: float) -> None:
        data = struct.pack("<f2i4f", 202021.25, 2, 1, unknown, 2, 3, 4)
        (tmp_path / "a.flo").write_bytes(data)
        read = read_flo(tmp_path / "a.flo")
        assert np.isnan(read[:, 0, 0]).all()
        np.testing.assert_array_equal(read[:, 0, 1], [4, 3])
        with pytest.raises(ModelFileError, match=r"a\.flo does not know the displacement of 1 pixel"):
            read_field(tmp_path / "a.flo")

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"PIEH",
            b"\x89PNG" + bytes(40),
            struct.pack("<f2i3f", 202021.25, 2, 1, 1, 2, 3),
            struct.pack("<f2i", 202021.25, 2**30, 2**30),
            struct.pack("<f2i2f", 202021.25, -1, -1, 1, 2),
            struct.pack("<f2i", 202021.25, 0, 0),
        ],
        ids=["empty", "header only", "other format", "truncated", "huge", "negative", "no pixels"],
    )
    def test_bad_files_are_refused(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.flo").write_bytes(data)
        with pytest.raises(ModelFileError, match=r"a\.flo") as caught:
            read_flo(tmp_path / "a.flo")
        one_line(caught.value)

    def test_a_large_file_is_not_read_to_be_refused(self, tmp_path: Path) -> None:
        with open(tmp_path / "a.flo", "wb") as file:
            file.write(struct.pack("<f2i", 202021.25, 2, 2))
            file.truncate(2**40)  # which takes no place on the disk
        with pytest.raises(ModelFileError, match="1099511627776 bytes, which is no field of 2 x 2"):
            read_flo(tmp_path / "a.flo")

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="does not exist"):
            read_flo(tmp_path / "a.flo")
        with pytest.raises(ModelFileError, match="cannot be read"):
            read_flo(tmp_path)

    def test_fields_in_space_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"\.flo holds fields of shape \(2, h, w\) only"):
            write_flo(tmp_path / "a.flo", field((3, 4, 5)))


class TestItk:
    def test_vectors_by_hand(self) -> None:
        # Rows are 3 mm apart and columns 2 mm; ITK's first axis, the column, points down in space, its second one left.
        placed = Geometry([3.0, 2.0], [5.0, 7.0], [[0.0, -1.0], [1.0, 0.0]])
        u = np.zeros((2, 1, 2), np.float32)
        u[:, 0, 1] = 10, 1  # ten rows down, one column to the right
        vectors = displacement_to_itk(u, placed)
        assert vectors.shape == (1, 2, 2)
        np.testing.assert_allclose(vectors[0], [[0, 0], [-30, 2]], atol=1e-12)

    def test_round_trip(self, grid: tuple[int, ...]) -> None:
        u, fixed, moving = field(grid), geometry(len(grid)), geometry(len(grid), seed=2)
        np.testing.assert_allclose(displacement_from_itk(displacement_to_itk(u, fixed), fixed), u, atol=1e-6)
        vectors = displacement_to_itk(u, fixed, moving=moving)
        np.testing.assert_allclose(displacement_from_itk(vectors, fixed, moving=moving), u, atol=1e-6)

    def test_without_geometry_vectors_are_reversed_voxels(self, grid: tuple[int, ...]) -> None:
        u = field(grid)
        np.testing.assert_allclose(displacement_to_itk(u), np.moveaxis(u[::-1], 0, -1), atol=1e-6)

    @pytest.mark.parametrize("same", [True, False], ids=["one geometry", "two geometries"])
    def test_simpleitk_resamples_as_warp_does(self, grid: tuple[int, ...], same: bool) -> None:
        sitk = pytest.importorskip("SimpleITK")
        d = len(grid)
        fixed = geometry(d)
        moving = fixed if same else geometry(d, seed=2)
        u, image = field(grid, scale=0.7), philox(3).uniform(size=grid).astype(np.float32)

        def place(array: npt.NDArray[np.generic], where: Geometry, *, vector: bool) -> object:
            placed = sitk.GetImageFromArray(array, isVector=vector)
            placed.SetSpacing(where.spacing[::-1].tolist())
            placed.SetOrigin(where.origin.tolist())
            placed.SetDirection(where.direction.ravel().tolist())
            return placed

        vectors = place(displacement_to_itk(u, fixed, moving=moving), fixed, vector=True)
        transform = sitk.DisplacementFieldTransform(vectors)
        resampled = sitk.Resample(
            place(image, moving, vector=False), place(image, fixed, vector=False), transform, sitk.sitkLinear, -1.0
        )
        ours = warp(image, u, border="constant", fill=-1.0)
        inside = sitk.GetArrayFromImage(resampled) >= 0
        assert inside.mean() > 0.5
        # ITK's points inside the buffer include half a voxel around it; compare where both interpolate.
        both = inside & (ours >= 0)
        np.testing.assert_allclose(sitk.GetArrayFromImage(resampled)[both], ours[both], atol=1e-5)

    def test_itk_transforms_points_as_warp_points_does(self, grid: tuple[int, ...]) -> None:
        sitk = pytest.importorskip("SimpleITK")
        d = len(grid)
        fixed, u = geometry(d), field(grid, scale=0.7)
        vectors = sitk.GetImageFromArray(displacement_to_itk(u, fixed), isVector=True)
        vectors.SetSpacing(fixed.spacing[::-1].tolist())
        vectors.SetOrigin(fixed.origin.tolist())
        vectors.SetDirection(fixed.direction.ravel().tolist())
        transform = sitk.DisplacementFieldTransform(sitk.Image(vectors))
        index = philox(4).uniform(1, np.array(grid) - 2, size=(5, d))
        there = [
            transform.TransformPoint(vectors.TransformContinuousIndexToPhysicalPoint(p[::-1].tolist())) for p in index
        ]
        back = [vectors.TransformPhysicalPointToContinuousIndex(p)[::-1] for p in there]
        np.testing.assert_allclose(back, warp_points(index, u), atol=1e-5)

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (np.zeros((4, 5, 3)), "2 components last for 2 axes"),
            (np.full((4, 5, 2), np.nan), "not finite"),
            (np.zeros(4), "3 or 4 axes"),
        ],
    )
    def test_bad_vectors_are_refused(self, vectors: npt.NDArray[np.float64], message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            displacement_from_itk(vectors)
        one_line(caught.value)

    def test_geometry_of_another_dimension_is_refused(self) -> None:
        with pytest.raises(ValueError, match="moving has 3 dimensions but the field 2"):
            displacement_to_itk(field((4, 5)), moving=geometry(3))


class TestGeometry:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1.0, -1.0],), "spacing"),
            (([1.0, 1.0], [0.0, 0.0, 0.0]), "origin has shape"),
            (([1.0, 1.0], None, np.eye(3)), "direction is"),
            (([1.0, 1.0], None, [[1.0, 0.1], [0.0, 1.0]]), "orthonormal"),
        ],
    )
    def test_bad_arguments_are_refused(self, arguments: tuple[npt.ArrayLike, ...], message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            Geometry(*arguments)
        one_line(caught.value)


class TestFiles:
    @pytest.mark.parametrize("ending", [".npz", ".nii", ".nii.gz", ".mha", ".nrrd"])
    def test_round_trip(self, tmp_path: Path, grid: tuple[int, ...], ending: str) -> None:
        if ending != ".npz":
            pytest.importorskip("SimpleITK")
        u, placed = field(grid), geometry(len(grid))
        write_field(tmp_path / f"u{ending}", u, geometry=placed)
        read, where = read_field(tmp_path / f"u{ending}")
        np.testing.assert_allclose(read, u, atol=0 if ending == ".npz" else 1e-5)
        assert where is not None
        for name in ("spacing", "origin", "direction"):
            np.testing.assert_allclose(getattr(where, name), getattr(placed, name), rtol=1e-6, atol=1e-6)
        assert [path.name for path in tmp_path.iterdir()] == [f"u{ending}"]

    def test_flo_through_the_general_functions(self, tmp_path: Path) -> None:
        u = field((5, 8))
        write_field(tmp_path / "u.FLO", u)
        read, where = read_field(tmp_path / "u.FLO")
        np.testing.assert_array_equal(read, u)
        assert where is None

    def test_archive_names_its_convention(self, tmp_path: Path) -> None:
        write_field(tmp_path / "u.npz", field((5, 8)))
        with np.load(tmp_path / "u.npz", allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
        assert header["format"] == "modelaug displacement field"
        assert header["convention"]["unit"] == "voxel"
        assert header["spacing"] == [1.0, 1.0]

    def test_files_for_two_geometries(self, tmp_path: Path) -> None:
        pytest.importorskip("SimpleITK")
        u, fixed, moving = field((5, 8)), geometry(2), geometry(2, seed=2)
        write_field(tmp_path / "u.mha", u, geometry=fixed, moving=moving)
        read, _ = read_field(tmp_path / "u.mha", moving=moving)
        np.testing.assert_allclose(read, u, atol=1e-4)

    def test_unknown_formats_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no known format"):
            write_field(tmp_path / "u.txt", field((5, 8)))
        with pytest.raises(ValueError, match="no known format"):
            read_field(tmp_path / "u.txt")

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd", ".npz"])
    @pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.995])
    def test_truncated_files_are_refused(self, tmp_path: Path, ending: str, kept: float) -> None:
        if ending != ".npz":
            pytest.importorskip("SimpleITK")
        path = tmp_path / f"u{ending}"
        write_field(path, field((12, 16)))
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data))])
        with pytest.raises(ModelFileError, match="u") as caught:
            read_field(path)
        one_line(caught.value)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "something else"}, "pass a displacement field"),
            ({"version": 2}, "format version 2"),
            ({"spacing": [1.0]}, "no valid displacement field"),
            ({"direction": "north"}, "no valid displacement field"),
        ],
    )
    def test_archives_with_another_header_are_refused(
        self, tmp_path: Path, change: dict[str, object], message: str
    ) -> None:
        path = tmp_path / "u.npz"
        write_field(path, field((5, 8)))
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        arrays["header"] = np.array(json.dumps(json.loads(str(arrays["header"])) | change))
        write_archive(path, arrays)
        with pytest.raises(ModelFileError, match=message) as caught:
            read_field(path)
        one_line(caught.value)

    def test_archives_with_another_array_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "u.npz"
        write_field(path, field((5, 8)))
        with np.load(path, allow_pickle=False) as archive:
            header = archive["header"]
        for wrong in (np.zeros((3, 5, 8)), np.full((2, 5, 8), np.nan), np.array("text")):
            write_archive(path, {"header": header, "displacement": wrong})
            with pytest.raises(ModelFileError, match="no valid displacement field"):
                read_field(path)

    def test_hostile_headers_of_archives_are_refused(self, tmp_path: Path) -> None:
        for header in ("[" * 100_000, "{", "[1]", "null", '{"format": 1}', '{"spacing": 1e999}', "\x00"):
            write_archive(tmp_path / "u.npz", {"header": np.array(header), "displacement": np.zeros((2, 3, 4))})
            with pytest.raises(ModelFileError, match=r"u\.npz") as caught:
                read_field(tmp_path / "u.npz")
            one_line(caught.value)

    def test_large_numbers_in_headers_of_archives_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "u.npz"
        write_field(path, field((5, 8)))
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        header = json.loads(str(arrays["header"]))
        for name, value in (("spacing", [10**400, 1]), ("origin", [1e400, 0]), ("direction", [[1, 0], [0, 10**400]])):
            arrays["header"] = np.array(json.dumps(header | {name: value}))
            write_archive(path, arrays)
            with pytest.raises(ModelFileError, match=r"u\.npz") as caught:
                read_field(path)
            one_line(caught.value)

    def test_images_are_no_fields(self, tmp_path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.float32)), str(tmp_path / "a.nii"))
        with pytest.raises(ModelFileError, match="1 component"):
            read_field(tmp_path / "a.nii")


def test_a_field_in_mm_that_leads_beyond_single_precision_is_refused(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    vectors = np.zeros((4, 5, 2))
    vectors[1, 2, 0] = 3e38
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing((0.01, 1.0))
    sitk.WriteImage(image, str(tmp_path / "u.mha"))
    with pytest.raises(ModelFileError, match=r"u\.mha is no valid displacement field \(vectors lead farther") as caught:
        read_field(tmp_path / "u.mha")
    one_line(caught.value)
