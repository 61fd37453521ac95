"""Normalization: images pulled onto the mean shape, sharp and without overshoot, and the commonest labels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from modelaug import Cohort, procrustes
from modelaug.models.normalization import borders, normalize
from modelaug.transforms.diffeomorphic import fit_map
from modelaug.transforms.splines import SplineOptions
from tests.examples import directions, plane


def steps(n: int = 5) -> Cohort:
    """Return ellipses whose edges are as sharp as voxels can be, in two channels of other ranges."""
    rng, grid = np.random.Generator(np.random.Philox(4)), (44, 38)
    voxels = np.moveaxis(np.indices(grid), 0, -1)
    images, landmarks, labels = [], [], []
    for _ in range(n):
        radii, centre = rng.uniform(9, 13, size=2), np.array(grid) / 2 + rng.uniform(-2, 2, size=2)
        inside = np.linalg.norm((voxels - centre) / radii, axis=-1) <= 1
        images.append([np.where(inside, 100.0, 20.0), np.where(inside, -1.0, 3.0)])
        landmarks.append(centre + directions(2, 16) * radii)
        labels.append(inside.astype(np.uint8))
    return Cohort(np.array(images), landmarks, labels=np.array(labels))


def reference_of(cohort: Cohort) -> np.ndarray:
    return np.asarray(procrustes(cohort.landmarks).mean)


def test_cubic_interpolation_does_not_ring() -> None:
    """Against scipy's cubic spline, which overshoots at the edges: clamped to the range of each image's channel."""
    cohort, spline = steps(), SplineOptions()
    reference = reference_of(cohort)
    found = normalize(cohort, reference, spline, threads=1)
    overshoot = 0.0
    for i, image in enumerate(cohort.images):
        closely = SplineOptions(max_residual=spline.tolerance)
        field = fit_map(reference, cohort.landmarks[i], closely, cohort.grid).displacement()
        at = np.indices(cohort.grid) + field
        inside = ((at >= 0) & (at <= np.array(cohort.grid).reshape(2, 1, 1) - 1)).all(axis=0)
        # At the border of what the image shows it fades into others' textures.
        deep = ndimage.distance_transform_edt(inside) > max(cohort.grid) / 32 + 1
        for channel, texture in zip(image, found.textures[i], strict=True):
            cubic = ndimage.map_coordinates(channel.astype(np.float64), at, order=3, mode="mirror")
            low, high = channel.min(), channel.max()
            overshoot = max(
                overshoot, (cubic[deep].max() - high) / (high - low), (low - cubic[deep].min()) / (high - low)
            )
            np.testing.assert_allclose(texture[deep], np.clip(cubic, low, high)[deep], atol=1e-3 * (high - low))
            assert low <= texture.min() <= texture.max() <= high
    assert overshoot > 0.05  # there was something to be cut off


def test_labels_are_the_commonest() -> None:
    cohort, spline = steps(), SplineOptions()
    reference = reference_of(cohort)
    found = normalize(cohort, reference, spline, threads=2)
    votes = np.zeros(cohort.grid)
    assert cohort.labels is not None
    for i, labels in enumerate(cohort.labels):
        field = fit_map(reference, cohort.landmarks[i], SplineOptions(max_residual=0.05), cohort.grid).displacement()
        at = np.floor(np.indices(cohort.grid) + field + 0.5).astype(int)
        rows, columns = (np.clip(each, 0, n - 1) for each, n in zip(at, cohort.grid, strict=True))
        votes += labels[rows, columns]
    assert found.labels is not None
    clear = np.abs(votes - 2.5) > 1  # halfway between voxels rounding may decide
    np.testing.assert_array_equal(found.labels[clear], (votes > 2.5)[clear])
    assert clear.mean() > 0.8


def test_where_a_map_looks_beyond_its_frame_the_others_fill_in() -> None:
    """Two pixels shown by one subject only are that subject's; the others' there are its values, too."""
    cohort = plane()
    shifted = cohort.landmarks.copy()
    shifted[0, :, 0] += 6  # this subject lies lower, so that its map looks beyond its frame at the bottom
    images = cohort.images.copy()
    images[0] = np.roll(images[0], 6, axis=1)
    moved = Cohort(images, shifted, objects=cohort.objects, spacing=cohort.spacing)
    reference = np.asarray((procrustes(moved.landmarks * moved.spacing).shapes / moved.spacing).mean(axis=0))
    found = normalize(moved, reference, SplineOptions(), threads=1)
    fields = [
        fit_map(reference, x, SplineOptions(max_residual=0.05), moved.grid).displacement() for x in moved.landmarks
    ]
    at = [np.indices(moved.grid) + u for u in fields]
    upper = np.array(moved.grid).reshape(2, 1, 1) - 1
    # A thousandth of a voxel beyond the border still counts as inside.
    seen = np.array([((x >= -1e-3) & (x <= upper + 1e-3)).all(axis=0) for x in at])
    blind = ~seen[0] & seen[1:].any(axis=0)
    assert blind.sum() > 20
    for channel in range(moved.images.shape[1]):
        pulled = np.array(
            [
                ndimage.map_coordinates(i[channel], x, order=3, mode="mirror")
                for i, x in zip(moved.images.astype(float), at, strict=True)
            ]
        )
        limits = moved.images[:, channel].min(axis=(1, 2)), moved.images[:, channel].max(axis=(1, 2))
        pulled = np.clip(pulled, *(each[:, None, None] for each in limits))
        mean = np.where(seen, pulled, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        np.testing.assert_allclose(found.textures[0, channel][blind], mean[blind], atol=0.1)


def test_borders() -> None:
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    assert sorted(borders(image).tolist()) == [0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 16, 17, 18, 19]
    assert len(borders(np.zeros((2, 9), np.float32))) == 18
    assert len(borders(np.zeros((3, 4, 5), np.float32))) == 60 - 1 * 2 * 3
