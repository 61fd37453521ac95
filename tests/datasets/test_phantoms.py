"""The phantoms: pure functions of seed and index, with landmarks, labels and images that agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from modelaug.data.cohort import Cohort
from modelaug.datasets import phantoms
from tests.reference.polylines import inside_polygon

Array = npt.NDArray[Any]
Generator = tuple[Callable[..., Cohort], tuple[int, ...]]

GENERATORS: dict[str, Generator] = {
    "heart": (phantoms.heart, (96, 96)),
    "brain": (phantoms.brain, (96, 96)),
    "blobs3d": (phantoms.blobs3d, (32, 32, 32)),
}
HEART_REGIONS = {"lv_epicardium": (2, 3), "lv_endocardium": (3,), "rv_endocardium": (1,)}
BLOB_REGIONS = {"organ": (1, 2), "cavity": (2,), "neighbour": (3,)}


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> Generator:
    return GENERATORS[str(request.param)]


@pytest.fixture(scope="module")
def hearts() -> Cohort:
    return phantoms.heart(6, shape=(192, 192), seed=1)


@pytest.fixture(scope="module")
def brains() -> Cohort:
    return phantoms.brain(6, shape=(192, 192), seed=1)


@pytest.fixture(scope="module")
def blobs() -> Cohort:
    return phantoms.blobs3d(3, shape=(64, 64, 64), seed=1)


@pytest.fixture(scope="module")
def many_hearts() -> Cohort:
    return phantoms.heart(50, shape=(48, 48), seed=2)


@pytest.fixture(scope="module")
def many_brains() -> Cohort:
    return phantoms.brain(32, shape=(48, 48), seed=2)


@pytest.fixture(scope="module")
def many_blobs() -> Cohort:
    return phantoms.blobs3d(32, shape=(24, 24, 24), seed=2)


@pytest.fixture(scope="module")
def contours(many_hearts: Cohort) -> list[tuple[Array, ...]]:
    """Epicardium, endocardium and right ventricle of each heart, in mm."""
    shapes = (many_hearts.landmarks + 0.5) * many_hearts.spacing
    return [tuple(shape[members(many_hearts, name)] for name in HEART_REGIONS) for shape in shapes]


def members(cohort: Cohort, name: str) -> list[int]:
    return list(next(o.indices for o in cohort.objects if o.name == name))


def boundary_distance(labels: Array, values: Iterable[int], points: Array) -> Array:
    """Distance in voxels from points to the boundary of the region with the given label values."""
    inside = np.isin(labels, list(values))
    signed = np.where(
        inside, 0.5 - scipy.ndimage.distance_transform_edt(inside), scipy.ndimage.distance_transform_edt(~inside) - 0.5
    )
    return np.abs(scipy.ndimage.map_coordinates(signed, points.T, order=1))


def count_crossings(first: Array, second: Array) -> int:
    """Number of proper crossings between the edges of two closed polygons."""
    a, b = first[:, None], np.roll(first, -1, axis=0)[:, None]
    c, d = second[None], np.roll(second, -1, axis=0)[None]

    def side(p: Array, q: Array, r: Array) -> Array:
        return np.sign(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    return int(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).sum())


def aligned(shapes: Array) -> Array:
    """Shapes after translation, scale and rotation onto their mean."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    centred = centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    mean = centred[0]
    for _ in range(10):
        rotations = [np.linalg.svd(shape.T @ mean) for shape in centred]
        turned = np.array([shape @ u @ vt for shape, (u, _, vt) in zip(centred, rotations, strict=True)])
        mean = turned.mean(axis=0)
    return turned


class TestPurity:
    def test_a_longer_cohort_starts_with_the_shorter_one(self, generator: Generator) -> None:
        make, shape = generator
        short, long = make(2, shape=shape, seed=7), make(4, shape=shape, seed=7)
        np.testing.assert_array_equal(long.images[:2], short.images)
        np.testing.assert_array_equal(long.landmarks[:2], short.landmarks)
        np.testing.assert_array_equal(long.labels[:2], short.labels)

    def test_seeds_and_subjects_differ(self, generator: Generator) -> None:
        make, shape = generator
        first, second = make(2, shape=shape, seed=0), make(2, shape=shape, seed=1)
        shapes = np.concatenate([first.landmarks, second.landmarks])
        distances = np.linalg.norm(shapes[:, None] - shapes[None], axis=-1).mean(axis=-1)
        assert distances[~np.eye(4, dtype=bool)].min() > 0.2

    def test_the_global_generator_is_neither_used_nor_moved(self, generator: Generator) -> None:
        make, shape = generator
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        make(1, shape=shape)
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    def test_anatomy_does_not_depend_on_the_grid(self, generator: Generator) -> None:
        make, shape = generator
        other = tuple(length - 3 * axis for axis, length in enumerate(shape))
        first, second = make(2, shape=shape), make(2, shape=other)
        np.testing.assert_allclose(
            (first.landmarks + 0.5) * first.spacing, (second.landmarks + 0.5) * second.spacing, rtol=1e-12
        )


class TestCohort:
    @pytest.mark.parametrize("shape", [(48, 48), (61, 97), (130, 64)])
    @pytest.mark.parametrize("make", [phantoms.heart, phantoms.brain])
    def test_any_grid(self, make: Callable[..., Cohort], shape: tuple[int, ...]) -> None:
        cohort = make(2, shape=shape)
        assert isinstance(cohort, Cohort)
        assert cohort.images.shape == (2, 1, *shape)
        assert cohort.images.dtype == np.float32
        assert cohort.labels.shape == (2, *shape)
        assert 0 <= cohort.images.min() < cohort.images.max() <= 255

    def test_any_volume(self) -> None:
        cohort = phantoms.blobs3d(1, shape=(24, 33, 40))
        assert cohort.images.shape == (1, 1, 24, 33, 40)
        assert np.unique(cohort.labels).tolist() == [0, 1, 2, 3]

    def test_spacing_covers_the_field_of_view(self) -> None:
        np.testing.assert_allclose(phantoms.heart(1, shape=(64, 128)).spacing, [4.0, 2.0])

    def test_objects_and_landmarks(self, hearts: Cohort, brains: Cohort, blobs: Cohort) -> None:
        assert [(o.name, o.kind, len(o.indices)) for o in hearts.objects] == [
            ("lv_epicardium", "closed", 40), ("lv_endocardium", "closed", 32), ("rv_endocardium", "closed", 32),
        ]  # fmt: skip
        assert [(o.kind, len(o.indices)) for o in brains.objects] == [("closed", 60), ("points", 40)]
        assert [(o.kind, len(o.indices)) for o in blobs.objects] == [("points", 60)] * 3

    def test_all_labels_are_present(self, hearts: Cohort, brains: Cohort, blobs: Cohort) -> None:
        for cohort, highest in ((hearts, 3), (brains, 11), (blobs, 3)):
            for labels in cohort.labels:
                assert np.unique(labels).tolist() == list(range(highest + 1))

    def test_landmarks_keep_a_margin(self, many_hearts: Cohort, many_brains: Cohort, many_blobs: Cohort) -> None:
        for cohort, margin in ((many_hearts, 0.08), (many_brains, 0.04), (many_blobs, 0.06)):
            landmarks = (cohort.landmarks + 0.5) / cohort.grid
            assert landmarks.min() > margin
            assert landmarks.max() < 1 - margin


class TestAgreement:
    def test_heart_landmarks_lie_on_label_boundaries(self, hearts: Cohort) -> None:
        for name, values in HEART_REGIONS.items():
            for landmarks, labels in zip(hearts.landmarks, hearts.labels, strict=True):
                assert boundary_distance(labels, values, landmarks[members(hearts, name)]).max() < 1.0, name

    def test_brain_landmarks_lie_on_label_boundaries(self, brains: Cohort) -> None:
        for landmarks, labels in zip(brains.landmarks, brains.labels, strict=True):
            assert boundary_distance(labels, range(1, 12), landmarks[:60]).max() < 1.0
            for k, poles in enumerate(landmarks[60:].reshape(10, 4, 2)):
                assert boundary_distance(labels, (2 + k,), poles).max() < 1.2

    def test_blob_landmarks_lie_on_label_boundaries(self, blobs: Cohort) -> None:
        for name, values in BLOB_REGIONS.items():
            for landmarks, labels in zip(blobs.landmarks, blobs.labels, strict=True):
                assert boundary_distance(labels, values, landmarks[members(blobs, name)]).max() < 1.0, name

    def test_tissues_look_like_their_kind(self, hearts: Cohort, brains: Cohort) -> None:
        for image, labels in zip(hearts.images[:, 0], hearts.labels, strict=True):
            # Blood is bright also where papillary muscles take part of the cavity.
            assert np.median(image[labels == 3]) > 1.7 * np.median(image[labels == 2])
            assert np.median(image[labels == 1]) > 1.7 * np.median(image[labels == 2])
        for image, labels in zip(brains.images[:, 0], brains.labels, strict=True):
            white, putamen, horn = (np.median(image[np.isin(labels, v)]) for v in ((1,), (8, 9), (2, 3)))
            assert white > putamen > 1.3 * horn
            assert np.median(image[labels == 0]) < 15

    def test_edges_are_anti_aliased(self) -> None:
        fine, coarse = (phantoms.heart(1, shape=shape).images[0, 0] for shape in ((256, 256), (128, 128)))
        averaged = fine.reshape(128, 2, 128, 2).mean(axis=(1, 3))
        # The same subject on a coarser grid is the finer image, averaged, but for noise and a little blur.
        assert np.abs(averaged - coarse).mean() < 5
        assert np.corrcoef(averaged.ravel(), coarse.ravel())[0, 1] > 0.99


class TestHeartContours:
    def test_contours_never_cross(self, contours: list[tuple[Array, ...]]) -> None:
        for epicardium, endocardium, right in contours:
            assert inside_polygon(epicardium, endocardium).all()
            assert not inside_polygon(epicardium, right).any()
            assert count_crossings(epicardium, endocardium) == 0
            assert count_crossings(epicardium, right) == 0
            for contour in (epicardium, endocardium, right):
                assert count_crossings(contour, contour) == 0

    def test_insertions_correspond(self, contours: list[tuple[Array, ...]]) -> None:
        for epicardium, endocardium, right in contours:
            for outer, inner, corner in ((0, 0, 0), (27, 21, 11)):
                assert 1.9 < np.linalg.norm(epicardium[outer] - right[corner]) < 3.3
                # The three anchors lie on one ray from the left ventricle.
                wall, gap = epicardium[outer] - endocardium[inner], right[corner] - epicardium[outer]
                assert wall @ gap > 0.999 * np.linalg.norm(wall) * np.linalg.norm(gap)

    def test_order_is_clockwise_from_the_anterior_insertion(self, contours: list[tuple[Array, ...]]) -> None:
        for epicardium, endocardium, right in contours:
            assert epicardium[0, 0] < epicardium[27, 0]  # anterior above inferior
            assert right[:, 1].mean() < endocardium[:, 1].mean()  # right ventricle to the left
            assert epicardium[13, 1] > epicardium[33, 1]  # the free wall first, then the septum

    def test_landmarks_are_at_equal_arc_length(self, contours: list[tuple[Array, ...]]) -> None:
        for epicardium, endocardium, right in contours:
            for contour, anchor in ((epicardium, 27), (endocardium, 21), (right, 11)):
                steps = np.linalg.norm(np.roll(contour, -1, axis=0) - contour, axis=1)
                for piece in (steps[:anchor], steps[anchor:]):
                    assert piece.max() < 1.25 * piece.mean()

    def test_walls_have_thickness(self, contours: list[tuple[Array, ...]]) -> None:
        for epicardium, endocardium, _ in contours:
            nearest = np.linalg.norm(endocardium[:, None] - epicardium[None], axis=-1).min(axis=1)
            assert nearest.min() > 3.5


class TestVariation:
    @pytest.mark.parametrize("name", ["many_hearts", "many_brains", "many_blobs"])
    def test_shapes_vary_in_many_ways(self, name: str, request: pytest.FixtureRequest) -> None:
        cohort: Cohort = request.getfixturevalue(name)
        shapes = aligned((cohort.landmarks + 0.5) * cohort.spacing)
        deviations = (shapes - shapes.mean(axis=0)).reshape(len(shapes), -1)
        variances = np.linalg.svd(deviations, compute_uv=False) ** 2
        explained = np.cumsum(variances) / variances.sum()
        assert explained[0] < 0.7
        assert explained[4] < 0.95  # six modes or more for 95 %

    def test_hearts_differ_about_as_much_as_real_ones(self, many_hearts: Cohort) -> None:
        shapes = many_hearts.landmarks * many_hearts.spacing
        first, second = np.triu_indices(len(shapes), 1)
        distance = np.linalg.norm(shapes[first] - shapes[second], axis=-1).mean()
        assert 8 < distance < 15


class TestErrors:
    @pytest.mark.parametrize("make", [phantoms.heart, phantoms.brain, phantoms.blobs3d])
    @pytest.mark.parametrize(
        ("arguments", "error", "name"),
        [
            ({"n": 0}, ValueError, "n is 0"),
            ({"n": 2.5}, TypeError, "n is 2.5"),
            ({"n": 1, "seed": -1}, ValueError, "seed is -1"),
            ({"n": 1, "seed": "a"}, TypeError, "seed is 'a'"),
            ({"n": 1, "shape": (64,)}, ValueError, "shape is"),
            ({"n": 1, "shape": (20, 64)}, ValueError, "shape is"),
            ({"n": 1, "shape": (20, 64, 64)}, ValueError, "shape is"),
            ({"n": 1, "shape": "large"}, TypeError, "shape is 'large'"),
            ({"n": 1, "shape": (64.5, 64.0)}, ValueError, "shape is"),
        ],
    )
    def test_bad_arguments_are_named_in_one_line(
        self, make: Callable[..., Cohort], arguments: dict[str, Any], error: type[Exception], name: str
    ) -> None:
        with pytest.raises(error, match=f"^{name}") as caught:
            make(**arguments)
        assert "\n" not in str(caught.value)
        assert "pass" in str(caught.value)
