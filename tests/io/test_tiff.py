"""TIFF: what a page declares is returned exactly, or refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import ModelFileError
from modelaug.io import read_image
from modelaug.io.images import read_labels, read_voxels
from tests.examples import one_line, philox

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

DEPTHS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
EXACT = (None, "zlib", "lzw", "packbits", "lzma", "zstd")


def numbers(*shape: int, kind: str = "u2") -> npt.NDArray[Any]:
    """Return numbers over the whole range of a type."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return philox(0).normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return philox(0).integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def write(path: Path, array: npt.NDArray[Any], **options: Any) -> None:
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(path, array, metadata=None, **options)


def shown(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return pixels as viewers show them, by the words of the standard: where the first row and column belong."""
    first_row, first_column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    h, w = array.shape
    upright = first_row in ("top", "bottom")
    result = np.empty((h, w) if upright else (w, h), array.dtype)
    for i in range(h):
        for j in range(w):
            sides = {first_row: i, first_column: j}
            lengths = {first_row: h, first_column: w}
            row = sides["top"] if "top" in sides else lengths["bottom"] - 1 - sides["bottom"]
            column = sides["left"] if "left" in sides else lengths["right"] - 1 - sides["right"]
            result[row, column] = array[i, j]
    return result


@given(
    kind=st.sampled_from(DEPTHS),
    order=st.sampled_from("<>"),
    compression=st.sampled_from(EXACT),
    layout=st.sampled_from(["strips", "tiles", "stack"]),
    predicted=st.booleans(),
)
def test_every_depth_and_layout(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    order: str,
    compression: str | None,
    layout: str,
    predicted: bool,
) -> None:
    path = tmp_path_factory.mktemp("depth") / "a.tif"
    array = numbers(*((3, 21, 35) if layout == "stack" else (21, 35)), kind=kind)
    options: dict[str, Any] = {"tile": (16, 16)} if layout == "tiles" else {"rowsperstrip": 4}
    if predicted and compression in ("zlib", "lzw", "zstd") and kind not in ("f2", "u8", "i8"):
        options["predictor"] = True
    write(path, array, compression=compression, byteorder=order, **options)
    read, geometry = read_voxels(path)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert (geometry is None) == (layout != "stack")
    if kind[0] in "iu":
        labels, _ = read_labels(path)
        np.testing.assert_array_equal(labels, array)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
def test_samples_are_channels(tmp_path: Path, planar: str, kind: str) -> None:
    channels = numbers(5, 6, 7, kind=kind)
    stored = np.moveaxis(channels, 0, -1) if planar == "contig" else channels
    write(tmp_path / "five.tif", stored, planarconfig=planar, extrasamples=["unspecified"] * 4)
    np.testing.assert_array_equal(read_voxels(tmp_path / "five.tif")[0], channels)
    pages = numbers(4, 3, 6, 7, kind=kind)
    stored = np.moveaxis(pages, 1, -1) if planar == "contig" else pages
    write(tmp_path / "stack.tif", stored, planarconfig=planar, photometric="rgb")
    read, geometry = read_voxels(tmp_path / "stack.tif")
    np.testing.assert_array_equal(read, np.moveaxis(pages, 1, 0))
    assert geometry is not None
    assert geometry.spacing.tolist() == [1, 1, 1]


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_transparency_is_dropped_and_other_samples_are_kept(tmp_path: Path, planar: str) -> None:
    four = numbers(4, 6, 7)
    stored = np.moveaxis(four, 0, -1) if planar == "contig" else four
    for extra, kept in (("unassalpha", 3), ("assocalpha", 3), ("unspecified", 4)):
        write(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=[extra])
        np.testing.assert_array_equal(read_voxels(tmp_path / "a.tif")[0], four[:kept])
    two = stored[..., :2] if planar == "contig" else stored[:2]
    write(tmp_path / "a.tif", two, planarconfig=planar, extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_voxels(tmp_path / "a.tif")[0], four[0])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif")[0], four[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pages(tmp_path: Path, orientation: int) -> None:
    array = numbers(3, 5, 8, kind="i2")
    tag = [(274, "H", 1, orientation, True)]
    write(tmp_path / "page.tif", array[0], extratags=tag)
    np.testing.assert_array_equal(read_voxels(tmp_path / "page.tif")[0], shown(array[0], orientation))
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for page in array:
            file.write(page, extratags=tag, metadata=None, photometric="minisblack")
    expected = np.stack([shown(page, orientation) for page in array])
    np.testing.assert_array_equal(read_voxels(tmp_path / "stack.tif")[0], expected)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
def test_where_zero_is_white(tmp_path: Path, kind: str) -> None:
    array = numbers(3, 5, 8, kind=kind)
    for stored in (array[0], array):
        write(tmp_path / "a.tif", stored, photometric="miniswhite")
        np.testing.assert_array_equal(read_voxels(tmp_path / "a.tif")[0], np.iinfo(kind).max - stored)
    pil = pytest.importorskip("PIL.Image")
    fax = array[0] > array[0].mean()
    pil.fromarray(fax).save(tmp_path / "fax.tif", compression="group4")
    np.testing.assert_array_equal(read_voxels(tmp_path / "fax.tif")[0], fax)
    write(tmp_path / "a.tif", array[0].astype(np.int16), photometric="miniswhite")
    with pytest.raises(ModelFileError, match="zero is white, of int16"):
        read_voxels(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [4, 10, 12])
def test_fewer_bits(tmp_path: Path, bits: int) -> None:
    array = numbers(5, 8) >> (16 - bits)
    write(tmp_path / "a.tif", array.astype(np.uint8 if bits == 4 else np.uint16), bitspersample=bits)
    np.testing.assert_array_equal(read_voxels(tmp_path / "a.tif")[0], array)


def test_palettes(tmp_path: Path) -> None:
    index = numbers(5, 8, kind="u1")
    for step, kind in ((257, np.uint8), (256, np.uint8), (1, np.uint16)):
        colours = philox(1).integers(0, 255, size=(3, 256), dtype=np.uint16)
        write(tmp_path / "a.tif", index, photometric="palette", colormap=colours * np.uint16(step))
        read, _ = read_voxels(tmp_path / "a.tif")
        assert read.dtype == kind
        np.testing.assert_array_equal(read, colours[:, index])
        np.testing.assert_array_equal(read_labels(tmp_path / "a.tif")[0], index)


def test_reduced_pages_and_masks_are_left_out(tmp_path: Path) -> None:
    array = numbers(3, 6, 8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in array:
            file.write(page[::2, ::2], subfiletype=1, metadata=None, photometric="minisblack")
            file.write(page, metadata=None, photometric="minisblack")
            file.write(page > 9, subfiletype=4, metadata=None, photometric="mask")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0], array)
    write(tmp_path / "only.tif", array[0], subfiletype=1)
    with pytest.raises(ModelFileError, match=r"only\.tif holds no page of full size"):
        read_image(tmp_path / "only.tif")


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        (numbers(5, 8), {}, "page 1 of .* has the shape"),
        (numbers(6, 8, kind="i2"), {}, "page 1 of .* has the dtype int16 but the first one uint16"),
        (numbers(6, 8), {"photometric": "miniswhite"}, "page 1 of .* has the photometric"),
        (numbers(6, 8), {"extratags": [(274, "H", 1, 3, True)]}, "page 1 of .* is turned otherwise"),
        (numbers(6, 8, 3), {"photometric": "rgb"}, "page 1 of .* has the shape"),
    ],
)
def test_pages_that_are_no_stack_are_refused(
    tmp_path: Path, second: npt.NDArray[Any], options: dict[str, Any], message: str
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(numbers(6, 8), metadata=None, photometric="minisblack")
        file.write(second, metadata=None, **{"photometric": "minisblack", **options})
    with pytest.raises(ModelFileError, match=message) as caught:
        read_image(tmp_path / "a.tif")
    one_line(caught.value)


def test_what_cannot_be_returned_exactly_is_refused(tmp_path: Path) -> None:
    colour = numbers(16, 16, 3, kind="u1")
    four = numbers(16, 16, 4, kind="u1")
    for name, array, options, message in (
        ("cmyk", four, {"photometric": "separated"}, "is in .*SEPARATED"),
        ("lab", colour, {"photometric": "cielab"}, "is in .*CIELAB"),
        ("complex", numbers(4, 4, kind="f4") * np.complex64(1j), {}, "sample format"),
    ):
        write(tmp_path / f"{name}.tif", array, **options)
        with pytest.raises(ModelFileError, match=message) as caught:
            read_image(tmp_path / f"{name}.tif")
        assert f"{name}.tif" in one_line(caught.value)
    write(tmp_path / "nan.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(ModelFileError, match=r"nan\.tif holds no image"):
        read_image(tmp_path / "nan.tif")


def test_labels_are_neither_colours_nor_lossy(tmp_path: Path) -> None:
    colour = numbers(16, 16, 3, kind="u1")
    write(tmp_path / "colour.tif", colour, photometric="rgb")
    write(tmp_path / "lossy.tif", colour[..., 0], compression="jpeg")
    with pytest.raises(ModelFileError, match=r"colour\.tif holds colours, not labels"):
        read_labels(tmp_path / "colour.tif")
    with pytest.raises(ModelFileError, match=r"lossy\.tif is compressed by .*JPEG.*, which may change the numbers"):
        read_labels(tmp_path / "lossy.tif")
    assert read_image(tmp_path / "lossy.tif")[0].shape == (16, 16)


@pytest.mark.parametrize("compression", EXACT)
def test_missing_pixels_are_not_made_up(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    write(path, numbers(48, 40), rowsperstrip=8, compression=compression)
    whole = path.read_bytes()
    for tag, value in ((273, 0), (279, 0), (273, len(whole)), (279, len(whole))):  # start and length of a strip
        path.write_bytes(whole)
        with tifffile.TiffFile(path, mode="r+b") as file:
            entry = file.pages[0].tags[tag]
            entry.overwrite([*entry.value[:1], value, *entry.value[2:]])
        with pytest.raises(ModelFileError, match="lacks some of its pixels") as caught:
            read_image(path)
        one_line(caught.value)


def test_a_page_that_promises_too_much_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, numbers(8, 8, kind="u1"), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[tag].overwrite(60000)
    with pytest.raises(ModelFileError, match="promises 3600000000 bytes of pixels in"):
        read_image(path)


def test_imagej_says_how_large_voxels_are(tmp_path: Path) -> None:
    array = numbers(4, 6, 7)
    options: dict[str, Any] = {"imagej": True, "resolution": (4.0, 2.0)}  # pixels per unit along x and y
    tifffile.imwrite(tmp_path / "stack.tif", array, metadata={"axes": "ZYX", "spacing": 3.0, "unit": "mm"}, **options)
    read, geometry = read_voxels(tmp_path / "stack.tif")
    np.testing.assert_array_equal(read, array)
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [3.0, 0.5, 0.25])
    tifffile.imwrite(tmp_path / "page.tif", array[0], metadata={"axes": "YX", "unit": "micron"}, **options)
    _, geometry = read_voxels(tmp_path / "page.tif")
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [0.0005, 0.00025])
    tifffile.imwrite(tmp_path / "gaps.tif", array, metadata={"axes": "ZYX", "unit": "micron"}, **options)
    _, geometry = read_voxels(tmp_path / "gaps.tif")
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [1.0, 0.0005, 0.00025])  # it does not say how far apart planes are
    tifffile.imwrite(tmp_path / "none.tif", array[0], metadata={"axes": "YX", "unit": "pixel"}, **options)
    assert read_voxels(tmp_path / "none.tif")[1] is None


@pytest.mark.parametrize(("axes", "what"), [("TYX", "4 moments"), ("CYX", "4 channels")])
@pytest.mark.parametrize("flavour", ["imagej", "ome"])
def test_moments_and_channels_are_no_planes(tmp_path: Path, axes: str, what: str, flavour: str) -> None:
    path = tmp_path / f"a.{'ome.' if flavour == 'ome' else ''}tif"
    tifffile.imwrite(path, numbers(4, 6, 7), metadata={"axes": axes}, photometric="minisblack", **{flavour: True})
    with pytest.raises(ModelFileError, match=f"{what} as pages") as caught:
        read_image(path)
    one_line(caught.value)


def test_ome_says_how_large_voxels_are_and_how_many_planes(tmp_path: Path) -> None:
    array = numbers(4, 6, 7)
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", array, metadata={"axes": "ZYX", **sizes}, photometric="minisblack", ome=True
    )
    read, geometry = read_voxels(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(read, array)
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [2.0, 0.0005, 0.00025])
    data = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(data.replace(b'SizeZ="4"', b'SizeZ="9"'))  # the others lie in other files
    with pytest.raises(ModelFileError, match="promises 9 planes but has 4 pages"):
        read_image(tmp_path / "a.ome.tif")


def test_a_stack_of_imagej_without_pages_of_its_own_is_refused(tmp_path: Path) -> None:
    array = numbers(4, 6, 7)
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "ZYX"}, truncate=True)
    with pytest.raises(ModelFileError, match="promises 4 planes but has 1 page"):
        read_image(tmp_path / "a.tif")


def test_pages_that_run_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, numbers(4, 5))
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * count, start)  # the next page is the first one
    path.write_bytes(bytes(data))
    with pytest.raises(ModelFileError, match="pages without an end"):
        read_image(path)


@pytest.mark.parametrize(
    ("unit", "millimetres"),
    [
        ("mm", 1.0),
        ("millimeters", 1.0),
        ("MM", 1.0),
        ("centimeter", 10.0),
        ("inches", 25.4),
        ("meter", 1e3),
        ("\\u00B5m", 1e-3),
        ("microns", 1e-3),
    ],
)
def test_units_of_imagej(tmp_path: Path, unit: str, millimetres: float) -> None:
    noted = {"axes": "ZYX", "spacing": 3.0, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", numbers(4, 6, 7), imagej=True, resolution=(4.0, 2.0), metadata=noted)
    _, geometry = read_voxels(tmp_path / "a.tif")
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, np.array([3.0, 0.5, 0.25]) * millimetres)


def test_units_of_single_axes_and_unknown_ones(tmp_path: Path) -> None:
    options: dict[str, Any] = {"imagej": True, "resolution": (4.0, 2.0)}
    noted = {"axes": "ZYX", "spacing": 3000.0, "unit": "mm", "yunit": "cm", "zunit": "micron"}
    tifffile.imwrite(tmp_path / "a.tif", numbers(4, 6, 7), metadata=noted, **options)
    _, geometry = read_voxels(tmp_path / "a.tif")
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [3.0, 5.0, 0.25])
    tifffile.imwrite(tmp_path / "a.tif", numbers(4, 6, 7), metadata={"axes": "ZYX", "unit": "furlong"}, **options)
    with pytest.raises(ModelFileError, match=r"a\.tif gives lengths in 'furlong'; save it in mm"):
        read_voxels(tmp_path / "a.tif")


@pytest.mark.parametrize(("intercept", "slope"), [(-32768.0, 1.0), (-1024.0, 1.0), (0.5, 0.25)])
def test_values_that_imagej_calibrates(tmp_path: Path, intercept: float, slope: float) -> None:
    array = numbers(4, 6, 7)
    noted = {"axes": "ZYX", "cf": 0, "c0": intercept, "c1": slope, "vunit": "HU"}
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata=noted)
    read, _ = read_voxels(tmp_path / "a.tif")
    np.testing.assert_array_equal(read, intercept + slope * array.astype(np.float64))
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={**noted, "cf": 3})
    with pytest.raises(ModelFileError, match="calibrated by ImageJ's function 3"):
        read_voxels(tmp_path / "a.tif")


@pytest.mark.parametrize("axes", ["CZYX", "TZYX"])
def test_axes_that_tifffile_notes(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers(2, 5, 6, 7), metadata={"axes": axes}, photometric="minisblack")
    with pytest.raises(ModelFileError, match=f"pages along axis '{axes[0]}', which are no planes"):
        read_voxels(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", numbers(5, 6, 7), metadata={"axes": "ZYX"}, photometric="minisblack")
    np.testing.assert_array_equal(read_voxels(tmp_path / "a.tif")[0], numbers(5, 6, 7))


def test_planes_of_ome_in_another_order_are_refused(tmp_path: Path) -> None:
    array = numbers(3, 6, 7)
    options: dict[str, Any] = {"photometric": "minisblack", "ome": True}
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": "ZYX"}, **options)
    with tifffile.TiffFile(tmp_path / "a.ome.tif", mode="r+b") as file:
        tag = file.pages[0].tags["ImageDescription"]
        turned = "".join(f'<TiffData IFD="{2 - k}" FirstZ="{k}" PlaneCount="1"/>' for k in range(3))
        tag.overwrite(tag.value.replace('<TiffData IFD="0" PlaneCount="3"/>', turned))
    with pytest.raises(ModelFileError, match="in another order than its pages"):
        read_voxels(tmp_path / "a.ome.tif")


def test_pages_of_several_palettes_are_refused(tmp_path: Path) -> None:
    palette = philox(2).integers(0, 255, size=(3, 256), dtype=np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for step in (257, 1):
            colours = palette * np.uint16(step)
            file.write(numbers(5, 8, kind="u1"), photometric="palette", colormap=colours, metadata=None)
    with pytest.raises(ModelFileError, match=r"page 1 of .* has another palette"):
        read_voxels(tmp_path / "a.tif")
