"""Images in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError
from modelaug.io import Geometry, read_image, write_image
from modelaug.io.images import read_labels, read_voxels
from tests.examples import one_line, philox

PLACED = Geometry([2.0, 0.5], [3.0, -4.0], [[0.0, 1.0], [-1.0, 0.0]])


def pixels(*shape: int) -> npt.NDArray[np.uint8]:
    return philox(0).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("ending", [".npy", ".png", ".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("shape", [(9, 13), (3, 9, 13)], ids=["grey", "channels"])
def test_round_trip(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    if ending != ".npy":
        pytest.importorskip("SimpleITK")
    path = tmp_path / f"a{ending}"
    write_image(path, pixels(*shape), geometry=PLACED)
    image, geometry = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, pixels(*shape))
    if ending in (".npy", ".png"):
        assert geometry is None
    else:
        assert geometry is not None
        np.testing.assert_allclose(geometry.spacing, PLACED.spacing, rtol=1e-6)
        np.testing.assert_allclose(geometry.origin, PLACED.origin, atol=1e-5)
        np.testing.assert_allclose(geometry.direction, PLACED.direction, atol=1e-6)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_volumes_and_masks(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    volume = pixels(4, 5, 6)
    write_image(tmp_path / "a.nii.gz", volume)
    image, geometry = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image, volume)
    assert geometry is not None
    assert geometry.spacing.shape == (3,)
    write_image(tmp_path / "m.nii.gz", volume > 100)
    np.testing.assert_array_equal(read_image(tmp_path / "m.nii.gz")[0], volume > 100)


def test_pictures_are_scaled_to_their_window(tmp_path: Path) -> None:
    ramp = np.array([[-100.0, 0.0, 50.0, 100.0, 300.0]])
    write_image(tmp_path / "a.png", ramp, window=(0, 100))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], [[0, 0, 128, 255, 255]])
    write_image(tmp_path / "a.png", ramp)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], [[0, 64, 96, 128, 255]])
    write_image(tmp_path / "a.png", np.full((2, 2), 7.0))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], np.zeros((2, 2)))


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    grey = pixels(6, 7)
    colour = pil.fromarray(np.dstack([grey, grey, 255 - grey]))
    for mode, shape in {
        "1": (6, 7),
        "L": (6, 7),
        "LA": (6, 7),
        "I;16": (6, 7),
        "RGB": (3, 6, 7),
        "RGBA": (3, 6, 7),
        "P": (3, 6, 7),
    }.items():
        source = colour if mode[0] in "RP" else pil.fromarray(grey)
        source.convert(mode).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png")[0].shape == shape, mode
    deep = np.array([[0, 300, 65535]], dtype=np.uint16)
    pil.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], deep)


def test_equal_channels_become_grey(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    grey = pixels(6, 7)
    pil.fromarray(np.dstack([grey] * 3)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], grey)


def test_jpeg(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    smooth = np.tile(np.linspace(20, 220, 32), (24, 1)).astype(np.uint8)
    write_image(tmp_path / "a.jpg", smooth)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[0], smooth, atol=6)


def test_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", whatever=pixels(4, 5))
    np.savez(tmp_path / "named.npz", image=pixels(4, 5), mask=np.zeros(3))
    np.savez(tmp_path / "two.npz", a=pixels(4, 5), b=pixels(4, 5))
    for name in ("one", "named"):
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.npz")[0], pixels(4, 5))
    with pytest.raises(ModelFileError, match=r"\['a', 'b'\]"):
        read_image(tmp_path / "two.npz")


@pytest.mark.parametrize("ending", [".npy", ".npz", ".png", ".jpg", ".nii", ".nii.gz", ".mha", ".nrrd"])
def test_missing_truncated_and_alien_files_are_refused(tmp_path: Path, ending: str) -> None:
    if ending not in (".npy", ".npz"):
        pytest.importorskip("SimpleITK")
    path = tmp_path / f"a{ending}"
    with pytest.raises(ModelFileError, match="does not exist"):
        read_image(path)
    if ending == ".npz":
        np.savez(path, pixels(40, 50))
    else:
        write_image(path, pixels(40, 50))
    data = path.read_bytes()
    for content in (b"", data[:9], data[: len(data) // 2], b"hello" * 50):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="a") as caught:
            read_image(path)
        one_line(caught.value)


def test_hostile_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000, 1000), }\n"
    huge = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(80)
    (tmp_path / "huge.npy").write_bytes(huge)
    np.save(tmp_path / "nan.npy", np.full((4, 5), np.nan))
    np.save(tmp_path / "line.npy", np.zeros(4))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    for name in ("objects", "huge", "nan", "line", "text"):
        with pytest.raises(ModelFileError, match=name) as caught:
            read_image(tmp_path / f"{name}.npy")
        one_line(caught.value)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    with pytest.raises(ValueError, match="no known format"):
        read_image(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no known format"):
        write_image(tmp_path / "a.txt", pixels(4, 5))
    with pytest.raises(ValueError, match="pictures take"):
        write_image(tmp_path / "a.png", pixels(2, 4, 5))
    with pytest.raises(ValueError, match="window is"):
        write_image(tmp_path / "a.png", pixels(4, 5), window=(1.0, 0.0))
    with pytest.raises(ValueError, match="pass a geometry, which says how many axes are of space"):
        write_image(tmp_path / "a.nii", pixels(2, 3, 4, 5))
    with pytest.raises(ValueError, match="geometry 2 dimensions"):
        write_image(tmp_path / "a.nii", pixels(2, 3, 4, 5), geometry=PLACED)
    assert not list(tmp_path.iterdir())


def test_tiff_of_every_depth(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    deep = philox(1).integers(0, 2**16, size=(6, 7), dtype=np.uint16)
    for array in (
        pixels(6, 7),
        deep,
        deep.astype(np.float32) / 7,
        np.dstack([pixels(6, 7)] * 2 + [255 - pixels(6, 7)]),
    ):
        pil.fromarray(array).save(tmp_path / "a.tif")
        image, geometry = read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image, array if array.ndim == 2 else np.moveaxis(array, -1, 0))
        assert geometry is None
    pil.fromarray(deep.astype(">u2").view(">u2")).save(tmp_path / "a.TIFF")
    np.testing.assert_array_equal(read_image(tmp_path / "a.TIFF")[0], deep)


def test_pages_of_tiff_are_planes(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    pytest.importorskip("SimpleITK")
    volume = pixels(3, 6, 7)
    first, *rest = map(pil.fromarray, volume)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, dpi=(300, 300))
    image, geometry = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, volume)
    assert geometry is not None
    assert geometry.spacing.tolist() == [1, 1, 1]
    data = (tmp_path / "a.tif").read_bytes()
    for kept in (0, 9, len(data) // 8):
        (tmp_path / "a.tif").write_bytes(data[:kept])
        with pytest.raises(ModelFileError, match="a") as caught:
            read_image(tmp_path / "a.tif")
        one_line(caught.value)


def dicom(path: Path, values: npt.NDArray[np.int16], orientation: str, *, place: int = 30, series: str = "") -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(values[None])
    image.SetSpacing([0.5, 2.0, 8.0])
    tags = {"0008|0060": "MR", "0020|0032": f"10\\20\\{place}", "0020|0037": orientation, "0018|0050": "8"}
    tags |= {"0020|000e": series} if series else {}
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def test_slices_of_dicom_are_planes(tmp_path: Path) -> None:
    values = philox(2).integers(-1000, 1000, size=(6, 7), dtype=np.int16)
    dicom(tmp_path / "a.dcm", values, "0\\1\\0\\-1\\0\\0")
    image, geometry = read_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image, values)
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [2.0, 0.5])
    np.testing.assert_allclose(geometry.origin, [10, 20])
    np.testing.assert_allclose(geometry.direction, [[0, -1], [1, 0]], atol=1e-12)
    # What stands upright has no x and y in its plane; it gets coordinates of its own.
    dicom(tmp_path / "b.dcm", values, "1\\0\\0\\0\\0\\-1")
    _, geometry = read_image(tmp_path / "b.dcm")
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [2.0, 0.5])
    np.testing.assert_array_equal(geometry.origin, [0, 0])
    np.testing.assert_array_equal(geometry.direction, np.eye(2))
    (tmp_path / "c.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:300])
    with pytest.raises(ModelFileError, match="c"):
        read_image(tmp_path / "c.dcm")


def test_a_series_of_dicom_is_a_volume(tmp_path: Path) -> None:
    volume = philox(5).integers(-1000, 1000, size=(4, 6, 7), dtype=np.int16)
    across = "1\\0\\0\\0\\1\\0"
    folder = tmp_path / "series.5"
    folder.mkdir()
    for k, name in enumerate(("c.dcm", "a.dcm", "IM0001", "b.dcm")):  # in the order of their positions
        dicom(tmp_path / "one.dcm", volume[k], across, place=30 + 8 * k, series="1.2.3.4")
        (tmp_path / "one.dcm").rename(folder / name)
    image, geometry = read_image(folder)
    np.testing.assert_array_equal(image, volume)
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [8.0, 2.0, 0.5])
    np.testing.assert_allclose(geometry.origin, [10, 20, 30])
    dicom(folder / "d.dcm", volume[0], across, series="1.2.3.5")
    with pytest.raises(ModelFileError, match="holds 2 series of DICOM"):
        read_image(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="holds 0 series of DICOM"):
        read_image(tmp_path / "empty")


@pytest.mark.parametrize("ending", [".npy", ".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("kind", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i2", ">f4"])
def test_every_type_is_written_with_its_values(tmp_path: Path, ending: str, kind: str) -> None:
    pytest.importorskip("SimpleITK")
    array = np.zeros((3, 4), kind)
    limits = np.iinfo(kind) if array.dtype.kind in "iu" else np.finfo(kind) if array.dtype.kind == "f" else None
    array.flat[:3] = (1, 0, 1) if limits is None else (limits.max, limits.min, 3)
    write_image(tmp_path / f"a{ending}", array)
    np.testing.assert_array_equal(read_voxels(tmp_path / f"a{ending}")[0], array)


def test_a_type_that_no_format_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass float64"):
        write_image(tmp_path / "a.nii", np.ones((2, 3), np.longdouble))


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(e, k) for e in (".npy", ".nii.gz", ".mha", ".nrrd") for k in (np.uint8, np.int16, np.int32, np.float32)]
    + [(".png", np.uint8)],
)
def test_labels_are_integers(tmp_path: Path, ending: str, kind: type[np.generic]) -> None:
    pytest.importorskip("SimpleITK")
    labels = philox(3).integers(0, 200, size=(6, 7)).astype(kind)
    write_image(tmp_path / f"a{ending}", labels)
    read, _ = read_labels(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == (np.int64 if kind == np.float32 else kind)


def test_labels_of_pictures(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    numbers = philox(4).integers(0, 3, size=(6, 7), dtype=np.uint8)
    picture = pil.fromarray(numbers).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png")[0], numbers)
    pil.fromarray((numbers > 1).astype(bool)).save(tmp_path / "b.png")
    read, _ = read_labels(tmp_path / "b.png")
    np.testing.assert_array_equal(read != 0, numbers > 1)
    np.save(tmp_path / "c.npy", numbers > 1)
    np.testing.assert_array_equal(read_labels(tmp_path / "c.npy")[0], numbers > 1)
    assert read_labels(tmp_path / "c.npy")[0].dtype == np.uint8


def test_what_is_no_label_map_is_refused(tmp_path: Path) -> None:
    for values in (np.full((2, 2), 0.5), np.full((2, 2), np.nan), np.full((2, 2), 1e300), np.array([["a"]])):
        np.save(tmp_path / "a.npy", values)
        with pytest.raises(ModelFileError, match="holds no labels") as caught:
            read_labels(tmp_path / "a.npy")
        one_line(caught.value)
    with pytest.raises(ValueError, match="JPEG changes values"):
        read_labels(tmp_path / "a.jpg")
