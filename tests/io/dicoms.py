"""Writes DICOM with pydicom, from numbers that are known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_dicom(
    path: Path,
    pixels: npt.NDArray[Any],
    *,
    syntax: str = "1.2.840.10008.1.2.1",
    data: bytes | None = None,
    without: Sequence[str] = (),
    **declared: Any,
) -> Path:
    """Write pixels (row, column), or (frame, row, column), and whatever is declared; None leaves a default out."""
    pydicom = pytest.importorskip("pydicom")
    frames = pixels if pixels.ndim == 3 else pixels[None]
    bits = 8 * pixels.dtype.itemsize
    elements = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
        "SOPInstanceUID": pydicom.uid.generate_uid(),
        "SeriesInstanceUID": "1.2.3",
        "Rows": frames.shape[1],
        "Columns": frames.shape[2],
        "NumberOfFrames": len(frames) if pixels.ndim == 3 else None,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImagePositionPatient": [10, 20, 30],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [2, 0.5],
        "PixelData": pixels.tobytes() if data is None else data,
    } | declared
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what tests write wrongly
        for keyword, value in elements.items():
            if value is not None:
                setattr(dataset, keyword, list(value) if isinstance(value, tuple) else value)
        if "PixelData" in dataset:
            dataset["PixelData"].VR = "OB" if data is not None else "OW"
        dataset.save_as(path, enforce_file_format=True)
    return path


def item(**elements: Any) -> Any:
    """Return a ``pydicom.Dataset``; a dictionary is a sequence of one such item."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, [item(**value)] if isinstance(value, dict) else value)
    return dataset


def at(position: Sequence[float], **more: Any) -> Any:
    """Return the functional groups of a frame at a position."""
    return item(PlanePositionSequence={"ImagePositionPatient": list(position)}, **more)


def shared(orientation: Sequence[float] = AXIAL, spacing: Sequence[float] = (2, 0.5), **more: Any) -> list[Any]:
    """Return the functional groups that frames share."""
    return [
        item(
            PlaneOrientationSequence={"ImageOrientationPatient": list(orientation)},
            PixelMeasuresSequence={"PixelSpacing": list(spacing)},
            **more,
        )
    ]


def compressed(path: Path, frames: Sequence[bytes], like: npt.NDArray[Any], syntax: str, **declared: Any) -> Path:
    """Write frames that are compressed already; `like` is what they show."""
    encaps = pytest.importorskip("pydicom").encaps
    return write_dicom(path, like, syntax=syntax, data=encaps.encapsulate(list(frames)), **declared)


def numbers(*shape: int, kind: str = "u2", low: int = 0, high: int = 4096) -> npt.NDArray[Any]:
    """Return integers that differ."""
    rng = np.random.Generator(np.random.Philox(int(np.prod(shape))))
    return rng.integers(low, high, size=shape).astype(kind)
