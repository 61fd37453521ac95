"""Warping of images, labels and points by a displacement field."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug._arrays import Field, Image
from modelaug.transforms.fields import check_field


def warp(
    image: npt.ArrayLike,
    displacement: npt.ArrayLike,
    *,
    order: Literal[0, 1, 3] = 1,
    border: Literal["edge", "constant"] = "edge",
    fill: float = 0.0,
    threads: int | None = None,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Warp images by a pull displacement field: ``out(x) = image(x + displacement(x))``.

    Parameters
    ----------
    image : array_like, (*grid), (c, *grid) or (b, c, *grid)
        One image, or a batch of them.
    displacement : array_like, (d, *out_grid) or (b, d, *out_grid)
        Displacement in voxels, components in array-axis order; one field per image of a batch, or one for all. The
        output has its grid, which may differ from the image's. (3, 2, h, w) for an image (3, c, h, w) are three fields
        in the plane for three images; one in space for a volume with three channels is (1, 3, 2, h, w).
    order
        0: nearest voxel, half rounded up, the type of `image` is kept (for labels); 1: linear; 3: interpolating cubic
        B-spline, mirrored about the centres of the border voxels.
    border
        Beyond the centres of the outermost voxels, by more than a thousandth of a voxel: ``"edge"`` continues the
        border, ``"constant"`` gives `fill`.
    fill
        The value outside with ``border="constant"``.
    threads
        Threads to use; None means all cores.
    out : ndarray, optional
        Contiguous array of the result's shape and type to write to and return; a new one by default. It must not
        overlap the others.

    Returns
    -------
    ndarray, (*out_grid), (c, *out_grid) or (b, c, *out_grid)
        float32 with order 1 and 3.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import warp
    >>> image = np.array([[0, 10, 20, 30], [40, 50, 60, 70]], dtype=np.float32)
    >>> right = np.zeros((2, 2, 4))
    >>> right[1] = 1.5  # each pixel shows what lies a pixel and a half to its right
    >>> warp(image, right)
    array([[15., 25., 30., 30.],
           [55., 65., 70., 70.]], dtype=float32)
    >>> warp(image.astype(np.uint8), right, order=0, border="constant")  # labels
    array([[20, 30,  0,  0],
           [60, 70,  0,  0]], dtype=uint8)
    """
    if order not in (0, 1, 3):
        raise ValueError(f"order is {order!r}; pass 0 (nearest), 1 (linear) or 3 (cubic B-spline)")
    constant = _checks.choice("border", border, ("edge", "constant")) == "constant"
    fill = _checks.number("fill", fill)
    count = _checks.thread_count(threads)
    fields = _checks.finite("displacement", displacement, ndim=(3, 4, 5), dtype=np.float32, threads=count)
    three_in_plane = fields.shape[1] == 2 and np.ndim(image) == 4 and np.shape(image)[0] == 3
    batched = fields.ndim == 5 or (fields.ndim == 4 and (fields.shape[0] != 3 or three_in_plane))
    d = fields.ndim - 1 - batched
    if fields.shape[int(batched)] != d:
        raise ValueError(f"displacement has shape {fields.shape}; pass (d, *grid) or (b, d, *grid), components first")
    fields = fields if batched else fields[None]

    kept_type = order == 0
    pixels = np.asarray(image)
    dtype = pixels.dtype if kept_type else np.dtype(np.float32)
    images = _checks.finite("image", pixels, ndim=(d, d + 1, d + 2), dtype=dtype, threads=count)
    leading = images.ndim - d
    images = images.reshape((1,) * (2 - leading) + images.shape)
    shape = (*images.shape[2 - leading : 2], *fields.shape[2:])
    if len(fields) not in (1, len(images)):
        raise ValueError(f"displacement holds {len(fields)} fields for {len(images)} images; pass as many, or one")
    if kept_type:
        if images.itemsize > 8:
            raise TypeError(f"image has dtype {images.dtype}; convert it to a type of at most 8 bytes")
        raw = np.dtype(f"u{images.itemsize}")
        with np.errstate(invalid="ignore"):
            filler = np.array([fill]).astype(images.dtype)
        if constant and filler[0] != fill:
            raise ValueError(f"fill is {fill:g}, which {images.dtype} cannot hold; pass another value or convert image")
    target = _target(out, shape, dtype, images, fields)
    shaped = target.reshape(*images.shape[:2], *fields.shape[2:])
    if kept_type:
        filled = int(filler.view(raw)[0])
        _core.warp_nearest(images.view(raw), fields, constant, filled, count, shaped.view(raw))
    else:
        _core.warp(images, fields, order == 3, constant, fill, count, shaped)
    return target


def _target(
    out: npt.NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any], *others: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return the checked array of the caller for a result, or a new one."""
    if out is None:
        return np.empty(shape, dtype)
    _checks.output("out", out, shape, dtype)
    if any(np.may_share_memory(out, other) for other in others):
        raise ValueError("out overlaps image or displacement; pass an array of its own")
    return out


def pull(image: Image, displacement: Field, out: Image, fill: float | None = None) -> None:
    """Warp an image (*grid) linearly by a field (d, *grid) into `out`; outside it continues its border, or is `fill`.

    As `warp`, but on one thread and unchecked, for contiguous finite arrays of float32.
    """
    constant = fill is not None
    _core.warp(image[None, None], displacement[None], False, constant, fill or 0.0, 1, out[None, None])


def pull_nearest(labels: npt.NDArray[Any], displacement: Field, out: npt.NDArray[Any], *, edge: bool = False) -> None:
    """Warp a label map (*grid) by a field (d, *grid) into `out`, by nearest neighbour and unchecked.

    Outside it is 0, or continues its border with `edge`.
    """
    raw = f"u{labels.itemsize}"
    _core.warp_nearest(labels.view(raw)[None, None], displacement[None], not edge, 0, 1, out.view(raw)[None, None])


def warp_points(points: npt.ArrayLike, displacement: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Move points by a displacement field: p + u(p), u linear between voxels and continued beyond the border.

    By the field that pulls a moving image onto a fixed one, points of the fixed image move to those of the moving one.

    Parameters
    ----------
    points : array_like, (m, d)
        Voxels, components in array-axis order.
    displacement : array_like, (d, *grid)
        Displacement in voxels.

    Returns
    -------
    ndarray, (m, d), float64

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import warp_points
    >>> right = np.zeros((2, 4, 6))
    >>> right[1] = 1.5
    >>> warp_points([[2, 3]], right)  # what row 2, column 3 of the fixed image shows is there in the moving one
    array([[2. , 4.5]])
    """
    field = check_field("displacement", displacement)
    checked = _checks.finite("points", points, ndim=2, dtype=np.float64)
    if checked.shape[1] != len(field):
        raise ValueError(f"points has shape {checked.shape}; pass {len(field)} coordinates each, as displacement has")
    return checked + _core.sample_field(field, checked, 1)
