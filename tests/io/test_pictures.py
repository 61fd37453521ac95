"""PNG and JPEG: what the header declares is returned exactly, or refused; what is written is what was computed."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError
from modelaug.io import read_image, write_image
from modelaug.io.images import read_labels, read_voxels
from tests.examples import one_line, philox

pil = pytest.importorskip("PIL.Image")
pytest.importorskip("imagecodecs")

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: npt.NDArray[Any], kind: int, depth: int, *, before: bytes = b"", palette: bytes = b"") -> bytes:
    """Return a PNG of pixels (h, w, samples), packed by the standard's rules alone."""
    h, w, samples = pixels.shape
    assert samples == SAMPLES[kind]
    rows = b""
    for row in pixels.reshape(h, -1):
        bits = "".join(f"{value:0{depth}b}" for value in row.tolist())
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    head = struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, 0)
    colours = chunk(b"PLTE", palette) if palette else b""
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + colours + body


def numbers(depth: int, *shape: int) -> npt.NDArray[np.int64]:
    return philox(depth).integers(0, 2**depth, size=shape)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_every_depth_is_returned_as_stored(tmp_path: Path, depth: int) -> None:
    values = numbers(depth, 5, 9, 1)
    (tmp_path / "a.png").write_bytes(png(values, GREY, depth))
    for read in (read_voxels, read_labels):
        array, geometry = read(tmp_path / "a.png")
        np.testing.assert_array_equal(array, values[..., 0])
        assert array.dtype == (np.uint16 if depth == 16 else np.uint8)
        assert geometry is None


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", [RGB, GREY_ALPHA, RGB_ALPHA])
def test_colour_and_transparency_of_every_depth(tmp_path: Path, kind: int, depth: int) -> None:
    values = numbers(depth, 5, 9, SAMPLES[kind])
    (tmp_path / "a.png").write_bytes(png(values, kind, depth))
    kept = values[..., 0] if kind == GREY_ALPHA else np.moveaxis(values[..., :3], -1, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], kept)
    if kind == GREY_ALPHA:
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png")[0], kept)
    else:
        with pytest.raises(ModelFileError, match=r"a\.png holds colours, not labels") as caught:
            read_labels(tmp_path / "a.png")
        one_line(caught.value)
    # Colours that are all grey are grey, and may be labels.
    values[..., :3] = values[..., :1]
    if kind != GREY_ALPHA:
        (tmp_path / "a.png").write_bytes(png(values, kind, depth))
        for read in (read_image, read_labels):
            np.testing.assert_array_equal(read(tmp_path / "a.png")[0], values[..., 0])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_give_colours_or_their_numbers(tmp_path: Path, depth: int) -> None:
    index = numbers(depth, 5, 9, 1)
    colours = numbers(8, 2**depth, 3)
    (tmp_path / "a.png").write_bytes(png(index, PALETTE, depth, palette=bytes(colours.ravel().tolist())))
    expected = np.moveaxis(colours[index[..., 0]], -1, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], expected)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png")[0], index[..., 0])


def test_transparency_of_a_palette_is_dropped(tmp_path: Path) -> None:
    index = numbers(2, 5, 9, 1)
    colours = numbers(8, 4, 3)
    data = png(index, PALETTE, 2, palette=bytes(colours.ravel().tolist()))
    place = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:place] + chunk(b"tRNS", bytes([0, 128, 255])) + data[place:])
    expected = np.moveaxis(colours[index[..., 0]], -1, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], expected)


def test_a_pixel_without_a_colour_is_refused(tmp_path: Path) -> None:
    index = np.array([[[0], [1], [5]]])
    (tmp_path / "a.png").write_bytes(png(index, PALETTE, 8, palette=bytes(9)))
    with pytest.raises(ModelFileError, match=r"a\.png has a pixel of colour 5, but a palette of 3"):
        read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png")[0], index[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("ending", "depth"), [("png", 8), ("png", 16), ("jpg", 8)])
def test_pictures_are_turned_as_viewers_show_them(tmp_path: Path, ending: str, depth: int, orientation: int) -> None:
    ops = pytest.importorskip("PIL.ImageOps")
    array = np.zeros((24, 40), np.uint16 if depth == 16 else np.uint8)
    array[2:9, 4:20] = 200
    exif = pil.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    pil.fromarray(array).save(path, exif=exif)
    with pil.open(path) as picture:
        shown = np.asarray(ops.exif_transpose(picture))
    np.testing.assert_array_equal(read_image(path)[0], shown)
    if ending == "png":
        np.testing.assert_array_equal(read_labels(path)[0], shown)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_unknown_orientation_says_nothing(tmp_path: Path, orientation: int) -> None:
    exif = pil.Exif()
    exif[0x0112] = orientation
    array = numbers(8, 5, 9).astype(np.uint8)
    pil.fromarray(array).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], array)


def test_what_is_no_single_picture_is_refused(tmp_path: Path) -> None:
    grey = numbers(8, 5, 9, 1)
    whole = png(grey, GREY, 8)
    first = pil.fromarray(grey[..., 0].astype(np.uint8))
    first.save(tmp_path / "moving.png", save_all=True, append_images=[first.point(lambda v: 255 - v)])
    first.save(tmp_path / "other.gif")
    damaged = bytearray(whole)
    damaged[60] ^= 1
    wrong = bytearray(whole)
    wrong[25] = 7
    wrong[29:33] = struct.pack(">I", zlib.crc32(bytes(wrong[12:29])))
    huge = bytearray(whole)
    huge[16:20] = struct.pack(">I", 10**6)
    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    for name, data, message in (
        ("animated.png", (tmp_path / "moving.png").read_bytes(), "is animated"),
        ("gif.png", (tmp_path / "other.gif").read_bytes(), "is neither a PNG nor a JPEG"),
        ("cut.png", whole[:-12], "ends before its picture does"),
        ("damaged.png", bytes(damaged), "is damaged at byte"),
        ("kind.png", bytes(wrong), "has the unknown kind of colour 7"),
        ("huge.png", bytes(huge), "cannot hold 1000000 x 5 pixels"),
        ("empty.png", b"", "is neither"),
    ):
        (tmp_path / name).write_bytes(data)
        for read in (read_image, read_labels):
            with pytest.raises(ModelFileError, match=message) as caught:
                read(tmp_path / name)
            assert name in one_line(caught.value)


def test_a_jpeg_of_printers_colours_or_under_another_name_is_no_label_map(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(20, 220, 32), (24, 1)).astype(np.uint8)
    pil.fromarray(smooth).save(tmp_path / "a.jpg")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.jpg").read_bytes())
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[0], smooth, atol=6)
    with pytest.raises(ModelFileError, match=r"a\.png is a JPEG, which changes the numbers of labels"):
        read_labels(tmp_path / "a.png")
    pil.fromarray(smooth).convert("CMYK").save(tmp_path / "b.jpg")
    with pytest.raises(ModelFileError, match=r"b\.jpg is a JPEG in CMYK"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "i4", "u4", "i8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_integers_are_written_as_they_are_or_refused(tmp_path: Path, kind: str, channels: int) -> None:
    for most in (1, 127, 255, 256, 65535, 65536):
        if most > np.iinfo(kind).max:
            continue
        array = philox(most).integers(0, most, size=(channels, 6, 7), endpoint=True).astype(kind)
        array.flat[:2] = (0, most)
        if most > 65535:
            with pytest.raises(ValueError, match=r"cannot hold the integers from 0 to 65536; write \.nii\.gz"):
                write_image(tmp_path / "a.png", array)
            continue
        write_image(tmp_path / "a.png", array)
        np.testing.assert_array_equal(read_voxels(tmp_path / "a.png")[0], array[0] if channels == 1 else array)
        if most > 255:
            with pytest.raises(ValueError, match=r"cannot hold the integers from 0 to \d+; write \.png"):
                write_image(tmp_path / "a.jpg", array)
    if np.dtype(kind).kind == "i":
        with pytest.raises(ValueError, match=r"cannot hold the integers from -1 to 1; write \.nii\.gz"):
            write_image(tmp_path / "a.png", np.array([[-1, 0, 1]], kind))


def test_masks_are_black_and_white(tmp_path: Path) -> None:
    for mask in (np.array([[True, False]]), np.array([[True, True]])):
        write_image(tmp_path / "a.png", mask)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], 255 * mask)
