"""Scores of a registered pair."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import Cohort, LandmarkObject
from modelaug.evaluation import (
    METRICS,
    contour_distance,
    dice,
    hausdorff_distance,
    jaccard,
    landmark_error,
    make_table,
    metric_info,
    score_registration,
    surface_distance,
    table_markdown,
)
from tests.examples import one_line, philox, plane, volume

MM = (2.0, 0.5)


def shifted() -> Cohort:
    """Return a scene of two contours and a point, and the same 3 rows down and 2 columns to the right."""
    image = np.zeros((24, 30))
    image[4:10, 5:12] = 1
    image[12:15, 4:20] = 2
    corners = [[4, 5], [4, 11], [9, 11], [9, 5]]
    line = [[12, 4], [13, 10], [14, 19]]
    landmarks = np.array([*corners, *line, [17, 17]], np.float64)
    objects = [
        LandmarkObject("square", (0, 1, 2, 3), "closed"),
        LandmarkObject("line", (4, 5, 6), "open"),
        LandmarkObject("dot", (7,), "points"),
    ]
    images = np.stack([image, np.roll(image, (3, 2), (0, 1))])
    return Cohort(
        images, [landmarks, landmarks + np.array([3, 2])], labels=images.astype(np.int16), objects=objects, spacing=MM
    )


def constant(vector: tuple[float, ...], grid: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.ones((len(grid), *grid), np.float32) * np.reshape(vector, (-1, *[1] * len(grid))).astype(np.float32)


def test_the_true_displacement_is_perfect() -> None:
    cohort = shifted()
    scores = score_registration(cohort, 0, 1, constant((3, 2), cohort.grid))
    assert set(scores) == {
        "jaccard",
        "jaccard/1",
        "jaccard/2",
        "dice",
        "dice/1",
        "dice/2",
        "contour_distance",
        "contour_distance/square",
        "contour_distance/line",
        "landmark_error",
        "folded_percent",
        "log_jacobian_sd",
    }
    assert all(type(value) is float for value in scores.values())
    assert scores["jaccard"] == scores["jaccard/1"] == scores["jaccard/2"] == 1
    assert scores["dice"] == scores["dice/1"] == scores["dice/2"] == 1
    distances = [value for name, value in scores.items() if "distance" in name or "error" in name]
    assert distances == pytest.approx([0] * 4, abs=1e-9)
    assert scores["folded_percent"] == scores["log_jacobian_sd"] == 0


def test_direction_units_and_parts() -> None:
    cohort = shifted()
    before = score_registration(cohort, 0, 1, None)
    assert before == score_registration(cohort, 0, 1, np.zeros((2, *cohort.grid)))
    assert before["landmark_error"] == pytest.approx(np.hypot(3 * MM[0], 2 * MM[1]))
    # The wrong way round the error doubles, and the other way round it vanishes.
    wrong = score_registration(cohort, 1, 0, constant((3, 2), cohort.grid))
    assert wrong["landmark_error"] == pytest.approx(2 * before["landmark_error"])
    right = score_registration(cohort, 1, 0, constant((-3, -2), cohort.grid))
    assert right["landmark_error"] == pytest.approx(0, abs=1e-9)
    fixed, moving = cohort.landmarks
    for name, points, closed in (("square", slice(0, 4), True), ("line", slice(4, 7), False)):
        expected = contour_distance(fixed[points], moving[points], MM, closed=closed)
        assert before[f"contour_distance/{name}"] == pytest.approx(expected)
    parts = [before["contour_distance/square"], before["contour_distance/line"]]
    assert before["contour_distance"] == pytest.approx(np.mean(parts))
    assert cohort.labels is not None
    for name, measure in (("jaccard", jaccard), ("dice", dice)):
        parts = [before[f"{name}/1"], before[f"{name}/2"]]
        np.testing.assert_array_equal(measure(*cohort.labels), parts)
        assert before[name] == pytest.approx(np.mean(parts))


def test_only_the_labels_asked_for_count() -> None:
    cohort = shifted()
    scores = score_registration(cohort, 0, 1, None, label_ids=[2, 77])
    assert scores["jaccard"] == scores["jaccard/2"]
    assert not {"jaccard/1", "jaccard/77"} & set(scores)
    for ids in ([77], []):
        without = score_registration(cohort, 0, 1, None, label_ids=ids, surfaces=True)
        assert not {"jaccard", "dice", "surface_distance", "hausdorff95"} & set(without)


def test_surfaces_are_measured_on_request() -> None:
    cohort = shifted()
    assert cohort.labels is not None
    plain, scores = (score_registration(cohort, 0, 1, None, surfaces=surfaces) for surfaces in (False, True))
    added = {f"{name}{part}" for name in ("surface_distance", "hausdorff95") for part in ("", "/1", "/2")}
    assert scores == plain | {name: scores[name] for name in added}
    assert plain.keys() == scores.keys() - added
    for name, measure in (("surface_distance", surface_distance), ("hausdorff95", hausdorff_distance)):
        parts = [scores[f"{name}/1"], scores[f"{name}/2"]]
        np.testing.assert_array_equal(measure(*cohort.labels, spacing=MM), parts)
        assert scores[name] == pytest.approx(np.mean(parts))
    perfect = score_registration(cohort, 0, 1, constant((3, 2), cohort.grid), surfaces=True)
    assert {perfect[name] for name in added} == {0}
    assert all(type(perfect[name]) is float for name in added)


def test_a_structure_that_a_displacement_loses_is_as_far_as_can_be() -> None:
    cohort = shifted()
    far = float(np.hypot(23 * MM[0], 29 * MM[1]))
    scores = score_registration(cohort, 0, 1, constant((3, 100), cohort.grid), surfaces=True)
    assert scores["jaccard"] == 0
    names = [f"{name}{part}" for name in ("surface_distance", "hausdorff95") for part in ("", "/1", "/2")]
    assert [scores[name] for name in names] == pytest.approx([far] * 6)


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_structure_that_a_subject_lacks_has_no_surface_distance(lacking: int) -> None:
    cohort = shifted()
    assert cohort.labels is not None
    labels = cohort.labels.copy()
    labels[lacking][labels[lacking] == 2] = 0
    poorer = Cohort(cohort.images, cohort.landmarks, labels=labels, spacing=MM)
    scores = score_registration(poorer, 0, 1, None, surfaces=True)
    assert scores["jaccard/2"] == scores["dice/2"] == 0
    assert scores["surface_distance"] == scores["surface_distance/1"] < scores["hausdorff95"] == scores["hausdorff95/1"]
    assert not {"surface_distance/2", "hausdorff95/2"} & set(scores)


def test_tables_take_all_metrics() -> None:
    cohort = shifted()
    records = [
        {"method": "none", "fold": 0, "fixed": i, "moving": 1 - i, "seconds": 0.0}
        | score_registration(cohort, i, 1 - i, None, surfaces=True)
        for i in (0, 1)
    ]
    table = make_table(records, metric="hausdorff95", cohort="scenes")
    assert table["unit"] == "mm"
    assert not table["higher_is_better"]
    head = table_markdown(table).splitlines()[2]
    assert "| method | hausdorff95 (mm) | jaccard | dice | surface_distance (mm) | contour_distance (mm) |" in head


def test_nothing_lies_beyond_the_moving_image() -> None:
    image = np.arange(30.0).reshape(5, 6)
    cohort = Cohort([image, image], np.array([[[1.0, 1], [2, 3]]] * 2), labels=np.ones((2, 5, 6), int))
    scores = score_registration(cohort, 0, 1, constant((0, 4), (5, 6)))
    assert scores["jaccard"] == pytest.approx(2 / 6)


def test_what_the_cohort_lacks_is_left_out() -> None:
    cohort = plane()
    points = Cohort(cohort.images, cohort.landmarks, spacing=cohort.spacing)
    assert set(score_registration(points, 0, 1, None)) == {"landmark_error", "folded_percent", "log_jacobian_sd"}
    everywhere = -2 * np.indices(cohort.grid).astype(np.float32)
    everywhere[1] = 0
    scores = score_registration(points, 0, 1, everywhere)
    assert scores["folded_percent"] == 100
    assert "log_jacobian_sd" not in scores


def test_volumes_and_fields_that_vary() -> None:
    cohort = volume()
    rng = philox(0)
    field = rng.normal(0, 0.2, (3, *cohort.grid)).astype(np.float32)
    scores = score_registration(cohort, 2, 4, field, threads=1)
    # Landmarks by hand: linear between the eight voxels around.
    moved = []
    for p in cohort.landmarks[2]:
        low = np.floor(p).astype(int)
        total = p.copy()
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, p - low, 1 - (p - low)))
            total += weight * field[(slice(None), *(low + corner))]
        moved.append(total)
    assert scores["landmark_error"] == pytest.approx(landmark_error(moved, cohort.landmarks[4], cohort.spacing))
    assert scores["log_jacobian_sd"] > 0


def test_metrics_are_known_by_name() -> None:
    scores = score_registration(shifted(), 0, 1, None, surfaces=True)
    assert {name.split("/")[0] for name in scores} | {"seconds", "inverse_consistency"} == set(METRICS)
    assert metric_info("jaccard/3").higher_is_better
    assert metric_info("contour_distance/square").unit == "mm"
    assert metric_info("dice/3").higher_is_better
    assert metric_info("hausdorff95/3").unit == metric_info("surface_distance").unit == "mm"
    with pytest.raises(ValueError, match="metric is 'hausdorff'; pass one of"):
        metric_info("hausdorff")


def test_bad_arguments_are_refused() -> None:
    cohort = shifted()
    for fixed, moving, field in (
        (0, 2, None),
        (-1, 1, None),
        (0, 1, np.zeros((2, 30, 24))),
        (0, 1, np.zeros((24, 30))),
        (0, 1, np.full((2, 24, 30), np.inf)),
    ):
        with pytest.raises(ValueError, match=r"pass|remove") as caught:
            score_registration(cohort, fixed, moving, field)
        one_line(caught.value)
    with pytest.raises(TypeError, match="cohort is list; pass a Cohort"):
        score_registration([], 0, 1, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="surfaces is 'all'; pass True or False"):
        score_registration(cohort, 0, 1, None, surfaces="all")  # type: ignore[arg-type]
