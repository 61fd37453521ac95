"""What others offer for the jobs of our kernels, each at its best: its own layout is prepared before the clock starts.

A contender is named package.function; one whose package cannot be imported is reported as missing. Fields are ours,
(d, *grid) float32 in voxels; others want components last, or the first axis last, or positions for displacements.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PACKAGES = {"cv2": "opencv-python-headless", "ants": "antspyx"}
"""Names to install where those to import are others."""


@dataclass(frozen=True)
class Contender:
    """run() does the job and is timed; array() brings what it returned into our layout; `close` is how far apart two
    results may be in the unit of the values, away from the border, or None where the result is another one by design.
    """

    run: Callable[[], Any]
    array: Callable[[Any], Array]
    close: float | None


Makers = Mapping[str, Callable[[], Contender]]


class Peers:
    """Those of the peers that are installed, told how many threads to use.

    ITK within antspyx asks ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS when it is loaded, BLAS and OpenMP ask OMP_NUM_THREADS:
    whoever makes this object has set both.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.modules: dict[str, Any] = {}
        self.absent: dict[str, str] = {}
        for name in ("cv2", "torch", "SimpleITK", "ants", "scipy", "numpy"):
            try:
                self.modules[name] = importlib.import_module(name)
            except ImportError as error:
                self.absent[name] = f"{error}; pip install {PACKAGES.get(name, name)}"
        if "cv2" in self.modules:
            self.modules["cv2"].setNumThreads(threads)
        if "torch" in self.modules:
            self.modules["torch"].set_num_threads(threads)
        if "SimpleITK" in self.modules:
            self.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(threads)

    def enter(self, makers: Makers) -> tuple[dict[str, Contender], dict[str, str]]:
        """Return the contenders whose package is there, and why the others are missing."""
        missing = {name: self.absent[package] for name in makers if (package := name.partition(".")[0]) in self.absent}
        return {name: make() for name, make in makers.items() if name not in missing}, missing

    def sitk_field(self, u: Array) -> Any:
        """Return a displacement field for ITK: x first, and float64 since its transforms take nothing else."""
        return self.modules["SimpleITK"].GetImageFromArray(
            np.moveaxis(u[::-1], 0, -1).astype(np.float64), isVector=True
        )

    def from_sitk_field(self, field: Any) -> Array:
        """Return our layout of such a field."""
        return np.moveaxis(self.modules["SimpleITK"].GetArrayFromImage(field), -1, 0)[::-1]


def positions(u: Array) -> Array:
    """Return x + u(x), (d, *grid) float32."""
    return u + np.indices(u.shape[1:], dtype=np.float32)


def spline(peers: Peers, sites: Array, values: Array, grid: tuple[int, ...], levels: int) -> Makers:
    """Sites (m, d) and values (m, d) -> dense field. ITK's lattices have as many cells at each level as ours."""
    d = len(grid)

    def scattered() -> Contender:
        domain = {
            "parametric_domain_origin": [0.0] * d,
            "parametric_domain_spacing": [1.0] * d,
            "parametric_domain_size": list(grid),
        }

        def run() -> Any:
            return peers.modules["ants"].fit_bspline_object_to_scattered_data(
                values, sites, number_of_fitting_levels=levels, mesh_size=1, **domain
            )

        return Contender(run, lambda image: np.moveaxis(image.numpy(), -1, 0), 0.02)

    def displacement() -> Contender:
        domain = {"origin": [0.0] * d, "spacing": [1.0] * d, "size": list(grid), "direction": np.eye(d)}

        def run() -> Any:
            return peers.modules["ants"].fit_bspline_displacement_field(
                displacement_origins=sites,
                displacements=values,
                number_of_fitting_levels=levels,
                mesh_size=1,
                enforce_stationary_boundary=False,
                **domain,
            )

        return Contender(run, lambda image: np.moveaxis(image.numpy(), -1, 0), 0.02)

    def thin_plate() -> Contender:
        from scipy.interpolate import RBFInterpolator

        voxels = np.indices(grid).reshape(d, -1).T.astype(np.float64)

        def run() -> Array:
            found: Array = RBFInterpolator(sites, values, kernel="thin_plate_spline")(voxels)
            return found

        return Contender(run, lambda dense: dense.T.reshape(d, *grid), None)

    fits: dict[str, Callable[[], Contender]] = {
        "ants.scattered_data": scattered,
        "ants.displacement_field": displacement,
    }
    return fits | ({"scipy.thin_plate": thin_plate} if d == 2 else {})  # in space the exact one takes a second and more


def warp(peers: Peers, images: Array, fields: Array, order: int) -> Makers:
    """Images (b, *grid) and fields (b, d, *grid) -> (b, *grid)."""
    d = fields.shape[1]
    makers: dict[str, Callable[[], Contender]] = {
        "scipy.map_coordinates": lambda: _warp_scipy(images, fields, order),
        "SimpleITK.Warp" if order == 1 else "SimpleITK.Resample": lambda: _warp_sitk(peers, images, fields, order),
    }
    if d == 2 or order == 1:
        makers["torch.grid_sample"] = lambda: _warp_torch(peers, images, fields, order)
    if d == 2:
        makers["cv2.remap"] = lambda: _warp_cv2(peers, images, fields, order)
    return makers


# Keys' cubic convolution is not the cubic B-spline: what cv2 and torch compute differs from it by design.
def _warp_cv2(peers: Peers, images: Array, fields: Array, order: int) -> Contender:
    cv2 = peers.modules["cv2"]
    maps = [np.ascontiguousarray(positions(u)) for u in fields]
    method = cv2.INTER_LINEAR if order == 1 else cv2.INTER_CUBIC
    outs = np.empty_like(images)

    def run() -> Array:
        for image, (rows, columns), out in zip(images, maps, outs, strict=True):
            cv2.remap(image, columns, rows, method, dst=out, borderMode=cv2.BORDER_REPLICATE)
        return outs

    return Contender(run, np.array, 1e-4 if order == 1 else None)


def _warp_torch(peers: Peers, images: Array, fields: Array, order: int) -> Contender:
    torch = peers.modules["torch"]
    batch = torch.from_numpy(images)[:, None]
    grid = torch.from_numpy(np.stack([_normalized(u) for u in fields]))
    options = {"mode": "bilinear" if order == 1 else "bicubic", "padding_mode": "border", "align_corners": True}

    def run() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.grid_sample(batch, grid, **options)

    return Contender(run, lambda out: out[:, 0].numpy(), 1e-3 if order == 1 else None)


def _normalized(u: Array) -> Array:
    """Return positions in [-1, 1], the last axis first: (*grid, d)."""
    at = positions(u)
    scaled = [2 * x / (n - 1) - 1 for x, n in zip(at, at.shape[1:], strict=True)]
    return np.stack(scaled[::-1], axis=-1).astype(np.float32)


def _warp_scipy(images: Array, fields: Array, order: int) -> Contender:
    from scipy import ndimage

    at = [positions(u) for u in fields]
    outs = np.empty_like(images)

    def run() -> Array:
        for image, x, out in zip(images, at, outs, strict=True):
            ndimage.map_coordinates(image, x, out, order=order, mode="mirror" if order == 3 else "nearest")
        return outs

    return Contender(run, np.array, 1e-4)


def _warp_sitk(peers: Peers, images: Array, fields: Array, order: int) -> Contender:
    sitk = peers.modules["SimpleITK"]
    moving = [sitk.GetImageFromArray(image) for image in images]
    displacements = [peers.sitk_field(u) for u in fields]
    if order == 3:
        transforms = [sitk.DisplacementFieldTransform(sitk.Image(u)) for u in displacements]

        def run() -> list[Any]:
            return [
                sitk.Resample(image, image, transform, sitk.sitkBSpline3)
                for image, transform in zip(moving, transforms, strict=True)
            ]
    else:
        warping = sitk.WarpImageFilter()
        warping.SetInterpolator(sitk.sitkLinear)
        warping.SetOutputParameteresFromImage(moving[0])

        def run() -> list[Any]:
            return [warping.Execute(image, u) for image, u in zip(moving, displacements, strict=True)]

    return Contender(run, lambda outs: np.stack([sitk.GetArrayFromImage(out) for out in outs]), 1e-4)


def compose(peers: Peers, u: Array, v: Array) -> Makers:
    """Fields u and v -> v(x) + u(x + v(x)). Adding v is part of the job, adding x is not."""

    def by_cv2() -> Contender:
        cv2 = peers.modules["cv2"]
        rows, columns = np.ascontiguousarray(positions(v))
        out = np.empty_like(u)

        def run() -> Array:
            # One component at a time is faster than both, and exact.
            for component, added, target in zip(u, v, out, strict=True):
                cv2.remap(component, columns, rows, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)
                cv2.add(target, added, dst=target)
            return out

        return Contender(run, np.array, 1e-3)

    def by_torch() -> Contender:
        torch = peers.modules["torch"]
        image, grid, added = (torch.from_numpy(x.copy())[None] for x in (u, _normalized(v), v))

        def run() -> Any:
            with torch.inference_mode():
                further = torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=True)
                return further.add_(added)

        return Contender(run, lambda w: w[0].numpy(), 1e-3)

    def by_sitk() -> Contender:
        sitk = peers.modules["SimpleITK"]
        both = sitk.CompositeTransform([sitk.DisplacementFieldTransform(peers.sitk_field(w)) for w in (u, v)])
        size, d = u.shape[:0:-1], len(u)

        def run() -> Any:
            return sitk.TransformToDisplacementField(both, sitk.sitkVectorFloat32, size, [0.0] * d, [1.0] * d)

        return Contender(run, peers.from_sitk_field, 1e-3)

    makers: dict[str, Callable[[], Contender]] = {
        "torch.grid_sample": by_torch,
        "SimpleITK.CompositeTransform": by_sitk,
    }
    return makers | ({"cv2.remap": by_cv2} if len(u) == 2 else {})


def invert(peers: Peers, u: Array, tolerance: float) -> Makers:
    """Field u -> v with v(x) = -u(x + v(x)) to the tolerance: ITK's filter, and the plain fixed point."""

    def by_sitk() -> Contender:
        sitk = peers.modules["SimpleITK"]
        inversion = sitk.InvertDisplacementFieldImageFilter()
        inversion.SetMaximumNumberOfIterations(50)
        inversion.SetMaxErrorToleranceThreshold(tolerance)
        inversion.SetMeanErrorToleranceThreshold(tolerance / 10)
        inversion.SetEnforceBoundaryCondition(False)
        field = sitk.Cast(peers.sitk_field(u), sitk.sitkVectorFloat32)
        return Contender(lambda: inversion.Execute(field), peers.from_sitk_field, 10 * tolerance)

    def by_cv2() -> Contender:
        cv2 = peers.modules["cv2"]
        start = positions(np.zeros_like(u))

        def run() -> Array:
            v = -u
            for _ in range(50):
                rows, columns = cv2.add(start, v)
                pulled = np.stack(
                    [cv2.remap(w, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for w in u]
                )
                if cv2.norm(cv2.add(v, pulled), cv2.NORM_INF) <= tolerance:
                    break
                v = -pulled
            return v

        return Contender(run, np.asarray, 10 * tolerance)

    def by_torch() -> Contender:
        torch = peers.modules["torch"]
        image, start = torch.from_numpy(u.copy())[None], torch.from_numpy(_normalized(np.zeros_like(u)))[None]
        scale = torch.tensor([2.0 / (n - 1) for n in u.shape[:0:-1]])

        def run() -> Any:
            with torch.inference_mode():
                v = -image
                for _ in range(50):
                    at = start + v.flip(1).movedim(1, -1) * scale
                    pulled = torch.nn.functional.grid_sample(image, at, padding_mode="border", align_corners=True)
                    if (v + pulled).abs().max() <= tolerance:
                        break
                    v = -pulled
                return v

        return Contender(run, lambda v: v[0].numpy(), 10 * tolerance)

    makers: dict[str, Callable[[], Contender]] = {"SimpleITK.Invert": by_sitk, "torch.fixed_point": by_torch}
    return makers | ({"cv2.fixed_point": by_cv2} if len(u) == 2 else {})


def jacobian_determinant(peers: Peers, u: Array) -> Makers:
    """Field u -> det(I + grad u), (*grid)."""

    def by_sitk() -> Contender:
        sitk = peers.modules["SimpleITK"]
        field = sitk.Cast(peers.sitk_field(u), sitk.sitkVectorFloat32)

        def run() -> Any:
            return sitk.DisplacementFieldJacobianDeterminant(field)

        return Contender(run, sitk.GetArrayFromImage, 1e-4)

    def by_numpy() -> Contender:
        def run() -> Array:
            m = [list(np.gradient(component)) for component in u]
            for k, row in enumerate(m):
                row[k] = row[k] + 1
            if len(u) == 2:
                return m[0][0] * m[1][1] - m[0][1] * m[1][0]
            (a, b, c), (d, e, f), (g, h, i) = m
            return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)

        return Contender(run, np.asarray, 1e-4)

    return {"SimpleITK.JacobianDeterminant": by_sitk, "numpy.gradient": by_numpy}
