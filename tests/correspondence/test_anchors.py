"""Where rules find their anchors, on figures whose answer is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("contourpy")

from modelaug.correspondence import Center, Contact, ContourOptions, Extreme, Given, Midline, Nearest, Ray
from modelaug.correspondence.anchors import Scene
from modelaug.correspondence.contours import Contour, structure_contour
from tests.correspondence.test_contours import ONES, ellipse
from tests.examples import one_line


def figure() -> npt.NDArray[np.uint8]:
    """Return a disc (1) of radius 10 about (20, 20), another (2) of radius 6 on its right, and a small one (3)."""
    labels = 2 * ellipse((44, 60), (20, 34), (6, 6))
    labels[ellipse((44, 60), (20, 20), (10, 10)) > 0] = 1
    labels[ellipse((44, 60), (36, 20), (3, 3)) > 0] = 3
    return labels


def locate(rule: Any, labels: npt.NDArray[Any], values: tuple[int, ...] = (1,), **scene: Any) -> Any:
    spacing = scene.pop("spacing", ONES)
    contour, _ = structure_contour(labels, values, spacing, ContourOptions())
    return rule.locate(Scene(labels, spacing, **scene), values, contour)


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        (Ray(), (10, 20)),
        (Ray(90), (20, 30)),
        (Ray(180), (30, 20)),
        (Ray(45), (20 - 10 / math.sqrt(2), 20 + 10 / math.sqrt(2))),
        (Ray(towards=(2,)), (20, 30)),
        (Ray(90, towards=(2,)), (30, 20)),
        (Ray(-90, towards=(3,)), (20, 30)),
        (Ray(through=("other", 0)), (20, 10)),
        (Extreme((-1, 0)), (10, 20)),
        (Extreme((0, 1)), (20, 30)),
        (Extreme((-3, -3)), (20 - 10 / math.sqrt(2), 20 - 10 / math.sqrt(2))),
        (Nearest(("other", 0)), (20, 10)),
        (Given("mine"), (30, 20)),
    ],
)
def test_rule_on_a_disc(rule: Any, place: tuple[float, float]) -> None:
    found = {"other": np.array([[20.0, 3.0]])}
    where = locate(rule, figure(), found=found, given={"mine": np.array([30.0, 20.0])})
    assert where == pytest.approx(place, abs=0.45)


def test_directions_are_in_millimetres() -> None:
    spacing = np.array([1.0, 2.0])
    labels = ellipse((44, 30), (20, 14), (10, 5))
    where = locate(Ray(45), labels, spacing=spacing)
    assert where == pytest.approx((20 - 10 / math.sqrt(2), 28 + 10 / math.sqrt(2)), abs=0.6)


def test_contact_has_its_ends_where_the_structures_part() -> None:
    # Half discs on a common diameter, columns 10 to 30.
    labels = ellipse((40, 40), (19.5, 20), (10, 10))
    labels[20:] *= 2
    start = locate(Contact((2,), "start", reach=0.6), labels)
    end = locate(Contact((2,), "end", reach=0.6), labels)
    # Clockwise along the upper half's lower side one goes from right to left.
    assert start == pytest.approx((19.5, 30), abs=1.5)
    assert end == pytest.approx((19.5, 10), abs=1.5)
    np.testing.assert_allclose(start[0], end[0], atol=0.5)


def test_contact_across_a_wall_and_over_a_gap() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[5:18, 5:55] = 1
    labels[21:35, 10:50] = 2
    labels[21:25, 28:31] = 0
    start = locate(Contact((2,), "start", reach=2.0), labels)
    end = locate(Contact((2,), "end", reach=2.0), labels)
    assert start == pytest.approx((17.5, 52), abs=2)
    assert end == pytest.approx((17.5, 7), abs=2)


@pytest.mark.parametrize(("other", "message"), [((3,), "mm from label 3"), ((9,), "label 9, which is absent")])
def test_no_contact(other: tuple[int, ...], message: str) -> None:
    labels = ellipse((44, 60), (14, 14), (9, 9))
    labels[ellipse((44, 60), (30, 48), (4, 4)) > 0] = 3
    with pytest.raises(ValueError, match=message) as caught:
        locate(Contact(other, "start"), labels)
    one_line(caught.value)


def test_contact_all_around() -> None:
    labels = 2 * ellipse((44, 44), (20, 20), (15, 15))
    labels[ellipse((44, 44), (20, 20), (9, 9)) > 0] = 1
    with pytest.raises(ValueError, match="all around"):
        locate(Contact((2,), "start"), labels)


def test_extreme_of_pixels_is_the_mean_of_the_outermost() -> None:
    labels = np.zeros((30, 30), np.uint8)
    labels[5:25, 10:20] = 1
    scene = Scene(labels, ONES)
    assert Extreme((-1, 0), share=0.1).locate(scene, (1,), None) == pytest.approx((5.5, 14.5))
    # A tenth and a half rows: the last row counts half.
    assert Extreme((1, 0), (1,), share=0.125).locate(scene, (), None) == pytest.approx(((24 + 23 + 11) / 2.5, 14.5))
    assert Center().locate(scene, (1,), None) == pytest.approx((14.5, 14.5))


def test_midline_leaves_the_outline_between_left_and_right() -> None:
    turn = 0.3
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    labels = ellipse((64, 64), (32, 32), (26, 20), turn)
    centres = {}
    for k, (down, across) in enumerate(((-12, 7), (2, 9), (13, 6))):
        for side in (-1, 1):
            value = 2 + 2 * k + (side > 0)
            centres[value] = np.array([32.0, 32.0]) + np.array([down, side * across]) @ axes
            labels[ellipse((64, 64), tuple(centres[value]), (3.2, 3.2)) > 0] = value
    pairs = ((2, 3), (4, 5), (6, 7), (8, 9))
    for sign in (-1, 1):
        where = locate(Midline(pairs, (sign, 0.0), least=20), labels, ())
        assert where == pytest.approx(np.array([32, 32]) + np.array([sign * 26, 0]) @ axes, abs=0.9)
    with pytest.raises(ValueError, match="0 of the pairs"):
        locate(Midline(pairs, least=100), labels, ())


def test_rays_that_start_outside() -> None:
    # A crescent, open to the right: its centroid lies outside of it.
    labels = ellipse((60, 60), (30, 30), (20, 20))
    labels[ellipse((60, 60), (30, 36), (18, 18)) > 0] = 0
    contour, _ = structure_contour(labels, (1,), ONES, ContourOptions())
    for angle in range(0, 360, 30):
        where = Ray(angle).locate(Scene(labels, ONES), (1,), contour)
        assert np.linalg.norm(contour.at(contour.nearest(where)[0]) - where) < 1e-9
    # Straight to the left it crosses both sides; the outer one counts.
    assert Ray(270).locate(Scene(labels, ONES), (1,), contour) == pytest.approx((30, 10), abs=0.6)


def test_ray_without_direction() -> None:
    with pytest.raises(ValueError, match="without direction"):
        locate(Ray(towards=(1,)), figure())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Contact((), "end"), "other"),
        (lambda: Contact((1,), "middle"), "at"),  # type: ignore[arg-type]
        (lambda: Contact((1,), "end", reach=-1.0), "reach"),
        (lambda: Extreme((0, 0)), "direction"),
        (lambda: Extreme("up"), "direction"),  # type: ignore[arg-type]
        (lambda: Extreme((1, 0), share=0.0), "share"),
        (lambda: Ray(float("nan")), "angle"),
        (lambda: Ray(towards=(1,), through=("a", 0)), "through"),
        (lambda: Ray(through=("a", -1)), "through"),
        (lambda: Nearest("a"), "to"),  # type: ignore[arg-type]
        (lambda: Midline(((1, 2),)), "pairs"),
        (lambda: Midline(((1, 2), (3,))), "pairs"),  # type: ignore[arg-type]
        (lambda: Midline(((1, 2), (3, 4)), least=0), "least"),
        (lambda: Given(""), "name"),
    ],
)
def test_rules_are_checked(make: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        make()
    one_line(caught.value)


def test_given_point_must_be_given() -> None:
    contour = Contour(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="'tip'"):
        Given("tip").locate(Scene(figure(), ONES), (1,), contour)


def test_given_points_are_in_voxels() -> None:
    scene = Scene(figure(), np.array([0.5, 2.0]), {"mine": np.array([30.0, 20.0])})
    assert Given("mine").locate(scene, (1,), None).tolist() == [15.0, 40.0]
