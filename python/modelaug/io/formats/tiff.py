"""TIFF: one page, or the pages of a stack, of every depth; what a page declares is checked before it is decoded."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.reading import ModelFileError, reading, refuse_if
from modelaug.io.formats.pictures import as_shown, grey_or_colour
from modelaug.io.formats.tiff_descriptions import read_tiff_description

TIFF_SUFFIXES: Final = (".tif", ".tiff")

_REDUCED_OR_MASK: Final = 1 | 4  # bits of NewSubfileType
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG: Final = 7
_ALPHA: Final = (1, 2)  # kinds of extra samples that are transparency
_ORIENTATION: Final = 274
_EXACT: Final = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that keep every value: none, fax, LZW, deflate, PackBits, LZMA, Zstandard."""
_DENSEST: Final = 4096
"""Bytes that a byte of the file may become when decoded."""
Array = npt.NDArray[Any]


def read_tiff(path: str | Path, *, labels: bool = False) -> tuple[Array, Geometry | None]:
    """Read the page, or the stack of pages, of a TIFF, turned as viewers show it.

    Pages of a reduced size and masks of transparency are left out. Where zero is white, values of every depth are
    inverted, as viewers do.

    Parameters
    ----------
    path
        The file.
    labels
        Whether the image is a label map: then values are the indices of a palette, which otherwise become red, green
        and blue.

    Returns
    -------
    array : ndarray, (h, w), (c, h, w), (n, h, w) or (c, n, h, w)
        The pixels of one or n pages in the file's type, without channels of transparency; one grey channel where red,
        green and blue are equal. Values that ImageJ calibrates are float64.
    geometry : Geometry or None
        For several pages, and where ImageJ or OME give sizes of pixels; 1 mm along an axis without one. Resolutions
        for printing are ignored.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, or holds what cannot be returned exactly: pages of several sizes or kinds, the
        channels or time points of a hyperstack, colours other than red, green and blue; with `labels` also if it holds
        colours or a compression that changes values.
    """
    import tifffile

    with reading(path, "TIFF", "copy it again") as place, _quiet("tifffile"), tifffile.TiffFile(place) as file:
        full = [page for page in _pages(path, file) if not int(page.subfiletype) & _REDUCED_OR_MASK]
        refuse_if(not full, f"{path} holds no page of full size; save it again")
        for page in full:
            _check_page(path, page, full[0], labels=labels)
        _check_size(path, full)
        description = read_tiff_description(path, file, len(full))
        arrays = [_decode(page, numbers=labels) for page in full]
    channels = arrays[0].ndim == 3
    array = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1 if channels else 0)
    colours = labels and channels
    refuse_if(colours, f"{path} holds colours, not labels; save the number of each structure as grey")
    if description.slope is not None:
        array = description.slope * array.astype(np.float64) + description.intercept
    if description.sizes is None and len(arrays) == 1:
        return array, None
    return array, Geometry(description.sizes or np.ones(3))


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a library's log; errors say all that matters."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _pages(path: str | Path, file: Any) -> Iterator[Any]:
    """Yield the pages of a file, or refuse one whose pages are linked in a circle."""
    seen = set()
    for page in file.pages:
        refuse_if(page.offset in seen, f"{path} has pages without an end; copy it again")
        seen.add(page.offset)
        yield page.aspage()


def _check_page(path: str | Path, page: Any, first: Any, *, labels: bool) -> None:
    """Raise ModelFileError if a page cannot be returned exactly, or differs in kind from the first one."""
    where = f"page {page.index} of {path}"
    for name in ("shape", "dtype", "photometric", "planarconfig", "extrasamples"):
        own, others = _name(getattr(page, name)), _name(getattr(first, name))
        refuse_if(own != others, f"{where} has the {name} {own} but the first one {others}; save them apart")
    palettes = np.array_equal(page.colormap, first.colormap)
    refuse_if(not palettes, f"{where} has another palette than the first one; save them apart")
    turned = _orientation(page) != _orientation(first)
    refuse_if(turned, f"{where} is turned otherwise than the first one; save them apart")
    flat = page.imagedepth == 1 and page.ndim - (page.samplesperpixel > 1) == 2
    refuse_if(not flat, f"{where} is no plane but {page.shape}; save each plane as a page")
    if labels and int(page.compression) not in _EXACT:
        raise ModelFileError(
            f"{where} is compressed by {_name(page.compression)}, which may change the numbers of labels; save it "
            "without"
        )
    _check_samples(where, page)


def _check_samples(where: str, page: Any) -> None:
    """Raise ModelFileError if the meaning of a page's samples is unknown or contradictory."""
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise ModelFileError(
            f"{where} has {page.bitspersample} bits of the sample format {page.sampleformat}; save it as integers or "
            "floating point"
        )
    kind, colours = int(page.photometric), page.samplesperpixel - len(page.extrasamples)
    if kind not in (_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE) and not (kind == _YCBCR and int(page.compression) == _JPEG):
        raise ModelFileError(f"{where} is in {_name(page.photometric)}; save it as grey or as red, green and blue")
    inverted = kind == _WHITE_IS_ZERO and page.dtype.kind in "if"
    refuse_if(inverted, f"{where} says that zero is white, of {page.dtype}; save it with zero as black")
    partial = kind in (_RGB, _YCBCR) and colours != 3
    refuse_if(partial, f"{where} has {colours} samples of red, green and blue; save it again")
    bare = kind == _PALETTE and (page.colormap is None or page.samplesperpixel != 1)
    refuse_if(bare, f"{where} has no palette; save it again")


def _check_size(path: str | Path, pages: Sequence[Any]) -> None:
    """Raise ModelFileError if the file cannot hold the pixels of its pages, before memory is allocated for them."""
    length = Path(path).stat().st_size
    promised = sum(page.nbytes for page in pages)
    dense = promised > _DENSEST * length
    refuse_if(dense, f"{path} promises {promised} bytes of pixels in {length} bytes; copy it again")
    for page in pages:  # whose missing pixels tifffile would take for zeros
        pieces = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        outside = any(start < 1 or count < 1 or start + count > length for start, count in pieces)
        lacking = outside or len(pieces) != math.prod(page.chunked)
        refuse_if(lacking, f"{path} lacks some of its pixels (page {page.index}); copy it again")


def _name(value: Any) -> Any:
    """Return the name of a member of an enum; other values as they are."""
    return getattr(value, "name", value)


def _orientation(page: Any) -> Any:
    tag = page.tags.get(_ORIENTATION)
    return 1 if tag is None else tag.value


def _decode(page: Any, *, numbers: bool) -> Array:
    """Return a page as viewers show it, (h, w) or (c, h, w)."""
    array: Array = np.asarray(page.asarray())
    if page.samplesperpixel > 1:
        array = array if int(page.planarconfig) == 2 else np.moveaxis(array, -1, 0)
        first = page.samplesperpixel - len(page.extrasamples)
        transparent = [first + k for k, extra in enumerate(page.extrasamples) if int(extra) in _ALPHA]
        array = np.delete(array, transparent, axis=0)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    kind = int(page.photometric)
    if kind == _WHITE_IS_ZERO:
        array = np.asarray(2**page.bitspersample - 1 - array, array.dtype)
    elif kind == _PALETTE and not numbers:
        array = _colours(page.colormap)[:, array]
    shown: Array = as_shown(array, _orientation(page))
    if shown.ndim == 3 and len(shown) == 1:
        return np.asarray(shown[0])
    return grey_or_colour(shown) if kind in (_RGB, _PALETTE, _YCBCR) and len(shown) == 3 else shown


def _colours(palette: Array) -> Array:
    """Return the colours (3, n) of a palette of 16 bits, with 8 bits where they hold no more."""
    for step in (257, 256):
        if (palette % step == 0).all():
            return (palette // step).astype(np.uint8)
    return palette
