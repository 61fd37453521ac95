"""Checked training data: images with landmarks in correspondence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _storage
from modelaug._arrays import Labels
from modelaug._checked import Checked

ObjectKind = Literal["closed", "open", "points"]


def _indices(name: str, value: Iterable[int]) -> tuple[int, ...]:
    return tuple(_checks.integer(name, i, minimum=0) for i in value)


@dataclass(frozen=True)
class LandmarkObject(Checked):
    """A group of landmarks on one anatomical object.

    Parameters
    ----------
    name
        Name of the object, e.g. ``"lv_endocardium"``.
    indices
        The landmarks of the object, in order along its contour where it has one.
    kind
        ``"closed"``: consecutive landmarks are neighbours and the last is next to the first; ``"open"``: a curve with
        two ends; ``"points"``: no order.

    Examples
    --------
    >>> from modelaug import LandmarkObject
    >>> LandmarkObject("wall", indices=range(4), kind="closed")
    LandmarkObject(name='wall', indices=(0, 1, 2, 3), kind='closed')
    """

    name: str
    indices: Annotated[tuple[int, ...], _indices]
    kind: ObjectKind

    def _field_name(self, name: str) -> str:
        return "name of an object" if name == "name" else name

    def _check(self) -> None:
        if not self.indices:
            raise ValueError(f"indices of object {self.name!r} is empty; name at least one landmark")


class Cohort:
    """Images of several subjects with corresponding landmarks, checked once and read-only from then on.

    Parameters
    ----------
    images : array_like, (n, *grid) or (n, c, *grid)
        One image per subject on a common grid, 2D or 3D; stored as float32. With landmarks in d = 2 coordinates, four
        axes mean channels; with d = 3, five do.
    landmarks : array_like, (n, m, d)
        Corresponding landmarks in voxels, components in array-axis order; (0, 0) is the centre of the first pixel.
    labels : array_like of integers, (n, *grid), optional
        Label maps, moved along with the images by nearest neighbour.
    objects : sequence of LandmarkObject, optional
        Groups of landmarks; every landmark belongs to exactly one. By default all landmarks form one object of kind
        ``"points"``.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.
    names : sequence of str, optional
        The subjects' names; their numbers by default.
    preparation : mapping, optional
        Processing steps of the images since they were read from files, by subject, in the types of JSON; kept with the
        cohort.

    Attributes
    ----------
    images : ndarray, (n, c, *grid), float32
    landmarks : ndarray, (n, m, d), float64
    labels : ndarray, (n, *grid), integer, or None
    objects : tuple of LandmarkObject
    spacing : ndarray, (d,), float64
    names : tuple of str
    preparation : dict
    grid : tuple of int
        Shape of the images' grid.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong type or shape, holds a value that is not finite, an image is constant, a landmark lies
        outside the images or coincides with another of the same subject, or the objects do not partition the landmarks.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import Cohort
    >>> images = np.arange(2 * 8 * 10.0).reshape(2, 8, 10)  # 2 subjects, 8 rows, 10 columns
    >>> landmarks = [[[2, 3], [5, 7], [6, 1]], [[2, 4], [5, 8], [6, 2]]]  # row before column
    >>> cohort = Cohort(images, landmarks, spacing=(1.5, 1.5), names=["ann", "bob"])
    >>> cohort
    Cohort(2 subjects, 1 channel(s), grid (8, 10), 3 landmarks: landmarks (3 points))
    >>> cohort.subset([1]).names
    ('bob',)
    """

    images: npt.NDArray[np.float32]
    landmarks: npt.NDArray[np.float64]
    labels: npt.NDArray[np.integer[Any]] | None
    objects: tuple[LandmarkObject, ...]
    spacing: npt.NDArray[np.float64]
    names: tuple[str, ...]
    preparation: dict[str, Any]

    def __init__(
        self,
        images: npt.ArrayLike,
        landmarks: npt.ArrayLike,
        *,
        labels: npt.ArrayLike | None = None,
        objects: Sequence[LandmarkObject] | None = None,
        spacing: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
        preparation: Mapping[str, Any] | None = None,
    ) -> None:
        self.landmarks = _checks.landmarks("landmarks", landmarks)
        n, m, d = self.landmarks.shape
        pixels = _checks.finite("images", images, ndim=(d + 1, d + 2), dtype=np.float32)
        self.images = pixels[:, None] if pixels.ndim == d + 1 else pixels
        if len(self.images) != n:
            raise ValueError(f"images holds {len(self.images)} subjects but landmarks {n}; pass one each per subject")
        self.spacing = _checks.spacing("spacing", spacing, d)
        self.names = subject_names(names, n)
        if (different := len(set(self.names))) != n:
            raise ValueError(f"names holds {different} different names for {n} subjects; pass one per subject")
        self.preparation = _preparation(preparation)
        self.labels = None if labels is None else label_map("labels", labels, (n, *self.grid))
        self.objects = (LandmarkObject("landmarks", tuple(range(m)), "points"),) if objects is None else tuple(objects)
        self._check_landmarks()
        self._check_images()
        # Copies: the caller's arrays are not frozen, and cannot change the checked ones.
        for name in ("images", "landmarks", "labels", "spacing"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name).copy())
                getattr(self, name).setflags(write=False)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the images' grid."""
        return self.images.shape[2:]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        n, c = self.images.shape[:2]
        kinds = ", ".join(f"{o.name} ({len(o.indices)} {o.kind})" for o in self.objects)
        return f"Cohort({n} subjects, {c} channel(s), grid {self.grid}, {self.landmarks.shape[1]} landmarks: {kinds})"

    def _check_landmarks(self) -> None:
        for o in self.objects:
            if not isinstance(o, LandmarkObject):
                raise TypeError(f"objects holds {o!r}; pass LandmarkObjects")
        names = [o.name for o in self.objects]
        if len(set(names)) < len(names):
            raise ValueError(f"objects is {names}; give each object a name of its own")
        members = sorted(i for o in self.objects for i in o.indices)
        m = self.landmarks.shape[1]
        if members != list(range(m)):
            wrong = next(i for i in (*range(m), *members[-1:]) if i >= m or members.count(i) != 1)
            count = members.count(wrong)
            raise ValueError(f"objects name landmark {wrong} {count} times; each of 0..{m - 1} belongs to one object")
        upper = np.array(self.grid) - 1
        outside = ((self.landmarks < 0) | (self.landmarks > upper)).any(axis=2)
        if outside.any():
            i, j = (int(k) for k in np.argwhere(outside)[0])
            raise ValueError(
                f"landmarks[{i}, {j}] is {self.landmarks[i, j].tolist()}, outside the grid {self.grid} of subject "
                f"{self.names[i]!r}; pass voxels in array-axis order, or crop the images less"
            )
        for i, shape in enumerate(self.landmarks):
            unique, first = np.unique(shape, axis=0, return_index=True)
            if len(unique) < m:
                j = next(k for k in range(m) if k not in set(first.tolist()))
                raise ValueError(
                    f"landmarks[{i}, {j}] of subject {self.names[i]!r} coincides with another landmark at "
                    f"{shape[j].tolist()}; move or drop one of the two"
                )

    def _check_images(self) -> None:
        flat = self.images.reshape(len(self), -1)
        constant = flat.max(axis=1) == flat.min(axis=1)
        if constant.any():
            i = int(np.argmax(constant))
            raise ValueError(f"images[{i}] of subject {self.names[i]!r} is constant ({flat[i, 0]:g}); drop the subject")

    def subset(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Cohort:
        """Return the cohort of the subjects at `indices`, in that order."""
        chosen = [_checks.integer("indices", i, minimum=0, maximum=len(self) - 1) for i in indices]
        if not chosen:
            raise ValueError("indices is empty; choose at least one subject")
        return Cohort(
            self.images[chosen],
            self.landmarks[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            objects=self.objects,
            spacing=self.spacing,
            names=[self.names[i] for i in chosen],
            preparation=self.preparation,
        )

    def save(self, path: str | Path) -> None:
        """Write the cohort to an ``.npz`` file, which has a temporary name until it is complete."""
        _storage.save(path, self, Cohort)

    @classmethod
    def load(cls, path: str | Path) -> Cohort:
        """Read a cohort from an ``.npz`` file, a folder of images and landmarks, or a ``cohort.toml``.

        Folders are read by `modelaug.io.read_scans`. An ``.npz`` file holds ``images`` and ``landmarks``, and
        optionally ``labels``, ``spacing``, ``names``, ``objects`` (JSON: a list of ``{"name", "kind", "indices"}``) and
        ``preparation`` (JSON: an object). Other arrays in it are ignored.

        Raises
        ------
        ModelFileError
            If a file cannot be read, lacks an array, or its arrays do not make a cohort.
        TypeError, ValueError
            If the files of a folder do not make a cohort.
        """
        return _storage.load(Cohort, path)


def subject_names(names: Iterable[object] | None, count: int, of: str = "subjects") -> tuple[str, ...]:
    """Return one name for each of `count` subjects; without names, their numbers from 000 on."""
    if isinstance(names, str):
        raise TypeError(f"names is {names!r}; pass one name per subject")
    given = tuple(f"{i:03d}" for i in range(count)) if names is None else tuple(map(str, names))
    if len(given) != count:
        raise ValueError(f"names holds {len(given)} names for {count} {of}; pass one each")
    return given


def _preparation(preparation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the processing steps in the types of JSON, as files hold them."""
    try:
        copy = json.loads(json.dumps(dict(preparation or {}), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"preparation cannot be kept as JSON ({error}); pass a mapping of plain values") from None
    return dict(copy)


def label_map(name: str, labels: npt.ArrayLike, shape: tuple[int, ...]) -> Labels:
    """Return labels as a checked contiguous array of integers of a shape."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; pass integers")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; pass one label map per image, shape {shape}")
    return np.ascontiguousarray(_checks.label_range(name, array))
