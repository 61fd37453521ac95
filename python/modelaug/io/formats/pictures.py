"""PNG and JPEG, whose headers are checked before they are decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.files.archives import write_atomically
from modelaug.io.files.reading import ModelFileError, read_bytes, reading, refuse_if

JPEG_SUFFIXES: Final = (".jpg", ".jpeg")
PICTURE_SUFFIXES: Final = (".png", *JPEG_SUFFIXES)
"""Formats of one or three channels without geometry; PNG has 8 or 16 bits, JPEG 8."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_ORIENTATION: Final = 0x0112
_DENSEST: Final = 1100
"""Bytes that a byte compressed by zlib can become, at most."""

Array = npt.NDArray[Any]


def read_picture(path: str | Path, *, labels: bool = False) -> Array:
    """Read a PNG or JPEG, turned as viewers show it.

    Parameters
    ----------
    path
        The file; its first bytes tell the format.
    labels
        Whether the picture is a label map: then values are the indices of a palette, which otherwise become red, green
        and blue.

    Returns
    -------
    ndarray, (h, w) or (3, h, w), uint8 or uint16
        Grey values as stored, also where they have fewer than 8 bits; three channels where these differ.
        Transparency is dropped.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, animated, or of a kind that cannot be returned exactly; with `labels` also if
        it is a JPEG or holds colours.
    """
    data = read_bytes(path, "a picture")
    if data.startswith(_PNG):
        depth, kind = _check_png(path, data)
    elif data.startswith(_JPEG):
        depth, kind = 8, None
        if labels:
            raise ModelFileError(f"{path} is a JPEG, which changes the numbers of labels; save them as .png or .nii.gz")
    else:
        raise ModelFileError(f"{path} is neither a PNG nor a JPEG; save it as one")
    pixels, orientation = _decode(path, data, depth, kind, numbers=labels)
    channels = grey_or_colour(as_shown(pixels if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0), orientation))
    if labels and channels.ndim == 3:
        raise ModelFileError(
            f"{path} holds colours, not labels; save the number of each structure as grey, or with a palette"
        )
    return channels


def as_shown(array: Array, orientation: Any) -> Array:
    """Turn an array (..., h, w) as viewers show it, by the orientation 1 to 8 of EXIF and TIFF; others are ignored."""
    turned = np.swapaxes(array, -1, -2) if orientation in (5, 6, 7, 8) else array
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(turned[..., ::rows, ::columns])


def grey_or_colour(channels: Array) -> Array:
    """Return grey pixels (h, w) where the colours (3, h, w) are all grey, else the pixels as they are."""
    return channels[0] if channels.ndim == 3 and (channels == channels[0]).all() else channels


def _check_png(path: str | Path, data: bytes) -> tuple[int, int]:
    """Check the chunks and the size of a PNG; return its bit depth and colour type."""
    place, kinds = len(_PNG), []
    while place + 12 <= len(data) and b"IEND" not in kinds:
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data) or zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ModelFileError(f"{path} is damaged at byte {place}; copy it again")
        kinds.append(kind)
        place = end
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or data[8:12] != b"\0\0\0\r":
        raise ModelFileError(f"{path} ends before its picture does; copy it again")
    refuse_if(b"acTL" in kinds, f"{path} is animated; save the picture that is meant")
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 0)
    refuse_if(samples == 0, f"{path} has the unknown kind of colour {kind}; copy it again")
    dense = width * height * samples * depth // 8 > _DENSEST * len(data)
    refuse_if(dense, f"{path} cannot hold {width} x {height} pixels in {len(data)} bytes; copy it again")
    return depth, kind


def _decode(path: str | Path, data: bytes, depth: int, kind: int | None, *, numbers: bool) -> tuple[Array, Any]:
    """Decode pixels (h, w) or (h, w, 3), and the orientation of EXIF."""
    from PIL import Image

    with reading(path, "a picture", "copy it again"), warnings.catch_warnings():
        for each in ("Corrupt EXIF", "Image size"):
            warnings.filterwarnings("error", each)
        warnings.filterwarnings("ignore", "Palette images with Transparency")  # which is dropped
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "MPO")) as picture:
            mode, orientation = picture.mode, picture.getexif().get(_ORIENTATION)
            if kind is None and mode not in ("L", "RGB"):
                raise ModelFileError(f"{path} is a JPEG in {mode}; save it as grey or as red, green and blue")
            if depth == 16:  # Pillow keeps 8 bits of colours
                import imagecodecs

                pixels = np.asarray(imagecodecs.png_decode(data))
            elif mode == "P" and not numbers:
                colours, highest = len(picture.getpalette() or ()) // 3, int(np.asarray(picture).max())
                beyond = f"{path} has a pixel of colour {highest}, but a palette of {colours}; save it again"
                refuse_if(highest >= colours, beyond)
                pixels = np.asarray(picture.convert("RGB"))
            else:
                pixels = np.asarray(picture)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    elif kind == 0 and depth in (2, 4):
        pixels = pixels // (255 // (2**depth - 1))  # Pillow spreads them over 8 bits
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]
    return pixels, orientation


def write_picture(path: str | Path, image: Array, window: tuple[float, float] | None) -> None:
    """Write an image (h, w), (1, h, w) or (3, h, w) as PNG or JPEG, under a temporary name until it is complete.

    Integers are written as they are, with 8 bits or, in PNG, 16; masks as 0 and 255; other numbers, and all with a
    window, with 8 bits, where 0 and 255 are the window's ends, by default the image's minimum and maximum.

    Raises
    ------
    ValueError
        If the image has another shape, holds integers that the format cannot, or the window is invalid.
    """
    from PIL import Image

    deepest = 255 if str(path).lower().endswith(JPEG_SUFFIXES) else 65535
    channels = _as_pixels(path, image, window, deepest)
    pixels = np.ascontiguousarray(channels[0] if len(channels) == 1 else np.moveaxis(channels, 0, -1))
    if pixels.dtype == np.uint16:
        import imagecodecs

        write_atomically(path, imagecodecs.png_encode(pixels))
    else:
        picture = Image.fromarray(pixels)
        write_atomically(path, lambda file: picture.save(file, format="PNG" if deepest > 255 else "JPEG"))


def _as_pixels(path: str | Path, image: Array, window: tuple[float, float] | None, deepest: int) -> Array:
    """Convert an image to pixels (c, h, w), uint8 or uint16."""
    channels = image[None] if image.ndim == 2 else image
    if channels.ndim != 3 or len(channels) not in (1, 3):
        raise ValueError(f"image has shape {image.shape}; pictures take (h, w), (1, h, w) or (3, h, w)")
    low, high = channels.min(), channels.max()
    if window is None and channels.dtype.kind in "iu":
        if low < 0 or high > deepest:
            remedy = ".nii.gz" if low < 0 or high > 65535 else ".png"
            raise ValueError(
                f"{path} cannot hold the integers from {low} to {high}; write {remedy}, or pass a window of intensities"
            )
        return channels.astype(np.uint8 if high <= 255 else np.uint16)
    if window is None and channels.dtype.kind == "b":
        return channels.astype(np.uint8) * 255
    darkest, brightest = window or (float(low), float(high))
    if not (np.isfinite(darkest) and np.isfinite(brightest) and darkest <= brightest):
        raise ValueError(f"window is {window}; pass two finite intensities, the lower one first")
    scaled = (channels.astype(np.float64) - darkest) / (brightest - darkest if brightest > darkest else 1.0)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
