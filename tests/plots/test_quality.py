"""Pictures that judge: Jacobian determinants, agreement of images, and learning curves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from modelaug import Cohort, PairSynthesizer, ShapeOptions, plots, procrustes, quality
from modelaug.plots.agreement import checkerboard
from modelaug.plots.jacobian import jacobian_limit
from tests.examples import heart_model, hearts, one_line, philox, plane


def drawn(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the picture's pixels."""
    figure.set_dpi(40)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def scaling(rows: float, columns: float, shape: tuple[int, int] = (9, 7)) -> npt.NDArray[np.float64]:
    """Return the displacement of a scaling along both axes."""
    return np.indices(shape) * (np.array([rows, columns])[:, None, None] - 1)


class TestJacobian:
    def test_no_displacement_is_white_more_is_red_less_is_blue(self) -> None:
        neutral = plots.jacobian_to_rgb(scaling(1, 1), 1.0)
        assert neutral.shape == (9, 7, 3)
        assert (neutral >= 245).all()
        more, less = (plots.jacobian_to_rgb(scaling(s, 1), 1.0)[4, 3].astype(int) for s in (1.5, 0.7))
        assert more[0] > more[2] + 20
        assert less[2] > less[0] + 20

    def test_colors_are_those_of_the_logarithm_and_saturate_at_the_limit(self) -> None:
        colors = {s: plots.jacobian_to_rgb(scaling(s, 1), 1.0)[4, 3].tolist() for s in (0.25, 0.5, 2.0, 4.0)}
        assert colors[2.0] == colors[4.0]
        assert colors[0.25] == colors[0.5]
        half = plots.jacobian_to_rgb(scaling(2, 1), 2.0)[4, 3]
        np.testing.assert_allclose(half.astype(int), plots.jacobian_to_rgb(scaling(2**0.5, 1), 1.0)[4, 3], atol=4)

    def test_folds_are_black_even_where_they_turn_twice(self) -> None:
        folded = plots.jacobian_to_rgb(scaling(-0.5, 1))
        assert not folded.any()
        assert plots.jacobian_to_rgb(scaling(-0.5, -0.5)).any()  # a rotation by 180 degrees has a positive determinant
        assert not plots.jacobian_to_rgb(scaling(0, 1)).any()

    def test_limit(self) -> None:
        assert jacobian_limit(scaling(1, 1)) == 0.1
        assert jacobian_limit(scaling(1.5, 1)) == pytest.approx(np.log2(1.5))
        assert jacobian_limit(scaling(0.01, 1)) == 2.0
        assert jacobian_limit(scaling(-1, 1)) == 0.1

    def test_the_limit_is_that_of_the_stronger_of_growth_and_shrinkage(self) -> None:
        """A shear with a scale of its own for each half of the columns: determinants are known."""
        for left, right in ((1.2, 0.4), (0.8, 1.9), (0.4, 1.2)):
            scale = np.where(np.arange(20) < 10, left, right)
            field = np.zeros((2, 12, 20))
            field[0] = (scale - 1) * np.arange(12)[:, None]  # rows by the scale of their column
            field[1] = 0.0
            # Derivatives along the columns do not count where no column moves along the rows' axis.
            assert jacobian_limit(field) == pytest.approx(np.abs(np.log2([left, right])).max(), rel=1e-5)

    def test_one_row_and_one_pixel(self) -> None:
        for shape in ((1, 5), (5, 1), (1, 1)):
            assert (plots.jacobian_to_rgb(np.zeros((2, *shape))) >= 245).all()

    def test_plot_shows_the_colors_with_a_bar_of_determinants(self) -> None:
        field = scaling(1.5, 1)
        ax = plots.plot_jacobian(field)
        np.testing.assert_array_equal(ax.images[0].get_array(), plots.jacobian_to_rgb(field))
        figure = ax.get_figure()
        drawn(figure)
        assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["0.667", "1", "1.5"]
        own = Figure().add_subplot()
        assert plots.plot_jacobian(field, ax=own) is own
        assert len(own.get_figure().axes) == 1

    @pytest.mark.parametrize(
        ("field", "limit"),
        [(np.zeros((3, 4, 5)), None), (np.zeros((4, 5)), None), (np.full((2, 4, 5), np.nan), None)]
        + [(np.zeros((2, 4, 5)), limit) for limit in (0.0, -1.0, np.nan)],
    )
    def test_bad_arguments_are_refused(self, field: npt.NDArray[np.float64], limit: float | None) -> None:
        with pytest.raises(ValueError, match=r"displacement|limit") as caught:
            plots.plot_jacobian(field, limit=limit)
        one_line(caught.value)


class TestAgreement:
    @pytest.mark.parametrize(("shape", "tiles", "side"), [((12, 20), 5, 4), ((7, 5), 3, 2), ((4, 4), 100, 1)])
    def test_squares_come_in_turn(self, shape: tuple[int, int], tiles: int, side: int) -> None:
        fixed, moving = philox(0).uniform(size=(2, *shape)).astype(np.float32)
        board = checkerboard(fixed, moving, tiles=tiles)
        scaled = [checkerboard(image, image) for image in (fixed, moving)]
        for r in range(shape[0]):
            for c in range(shape[1]):
                assert board[r, c] == scaled[(r // side + c // side) % 2][r, c]

    def test_ranges_do_not_matter_and_only_the_first_channel_counts(self) -> None:
        image = philox(1).uniform(size=(2, 10, 12))
        board = checkerboard(image, 1000 * image[0] - 5)
        np.testing.assert_allclose(board, checkerboard(image[0], image[0]), atol=1e-5)
        assert (board.min(), board.max()) == (0, 1)
        assert not checkerboard(np.full((5, 6), 7), np.full((5, 6), 8)).any()

    def test_plots(self) -> None:
        fixed, moving = philox(2).normal(size=(2, 9, 7))
        ax = plots.plot_checkerboard(fixed, moving, tiles=3)
        np.testing.assert_array_equal(ax.images[0].get_array(), checkerboard(fixed, moving, tiles=3))
        ax = plots.plot_image_difference(fixed, moving)
        np.testing.assert_allclose(ax.images[0].get_array(), fixed - moving, rtol=1e-5, atol=1e-6)
        low, high = ax.images[0].get_clim()
        assert -low == high == pytest.approx(np.percentile(np.abs(fixed - moving), 99.5), rel=1e-5)
        drawn(ax.get_figure())
        assert plots.plot_image_difference(fixed, moving, limit=5).images[0].get_clim() == (-5, 5)
        assert plots.plot_image_difference(fixed, fixed).images[0].get_clim() == (-1, 1)

    def test_bad_arguments_are_refused(self) -> None:
        image = np.zeros((4, 5))
        for bad in (np.zeros((5, 4)), np.zeros(5), np.full((4, 5), np.inf)):
            for plot in (plots.plot_checkerboard, plots.plot_image_difference):
                with pytest.raises(ValueError, match="moving") as caught:
                    plot(image, bad)
                one_line(caught.value)
        with pytest.raises(ValueError, match="tiles is 0"):
            plots.plot_checkerboard(image, image, tiles=0)
        with pytest.raises(ValueError, match="limit is 0"):
            plots.plot_image_difference(image, image, limit=0)

    def test_registration_with_checks(self) -> None:
        model = heart_model()
        pair = PairSynthesizer(model, seed=2).draw(0)
        figure = plots.plot_registration(pair.fixed, pair.moving, pair.flow, objects=model.objects, checks=True)
        panels = np.array(figure.axes[:12]).reshape(4, 3)
        captions = [[ax.texts[0].get_text() for ax in row] for row in panels[2:]]
        assert captions == [
            ["checkerboard before", "checkerboard after", "Jacobian determinant"],
            ["difference before", "difference after", "warped grid"],
        ]
        boards = [ax.images[0].get_array() for ax in panels[2]]
        np.testing.assert_array_equal(boards[0], checkerboard(pair.fixed, pair.moving))
        np.testing.assert_array_equal(boards[2], plots.jacobian_to_rgb(pair.flow))
        before, after = panels[3, 0].images[0], panels[3, 1].images[0]
        assert before.get_clim() == after.get_clim()
        assert np.abs(after.get_array()).mean() < np.abs(before.get_array()).mean()
        drawn(figure)


class TestLearningCurve:
    def test_values_are_generalizations_of_unseen_subjects_in_mm(self) -> None:
        cohort = plane()  # differs in one mode, and has pixels that are no squares
        pca = ShapeOptions(levels=1, coverage=1.0)
        curves = plots.learning_curves(cohort, {"pca": pca}, sizes=[4, 10], repeats=2, seed=5)
        assert {name: list(each) for name, each in curves.items()} == {"pca": [4, 10]}
        assert all(values.shape == (2,) for values in curves["pca"].values())
        # One way to split: all but the two that are left out, found by trying all pairs.
        landmarks, found = cohort.landmarks * cohort.spacing, []
        for i in range(12):
            for j in range(i):
                rest = [k for k in range(12) if k not in (i, j)]
                alignment = procrustes(landmarks[rest])
                centred = (alignment.shapes - alignment.mean).reshape(10, -1)
                modes = np.linalg.svd(centred, full_matrices=False)[2][:9]
                difference = (alignment.align(landmarks[[i, j]]) - alignment.mean).reshape(2, -1)
                left = (difference - difference @ modes.T @ modes).reshape(2, -1, 2)
                found.append(np.hypot(left[..., 0], left[..., 1]).mean())
        for value in curves["pca"][10]:
            assert np.abs(np.array(found) - value).min() < 1e-9 + 1e-6 * value

    def test_errors_are_those_of_the_subjects_left_out(self) -> None:
        """Shapes with noise, so that no model reaches them: all ways to leave two of six out, in mm."""
        noise = philox(8).normal(size=(6, *plane().landmarks.shape[1:]))
        cohort = Cohort(plane().images[:6], plane().landmarks[:6] + 0.5 * noise, spacing=plane().spacing)
        pca = ShapeOptions(levels=1, coverage=1.0)
        curves = plots.learning_curves(cohort, {"pca": pca}, sizes=[4], repeats=4)
        landmarks, found = cohort.landmarks * cohort.spacing, []
        for i in range(6):
            for j in range(i):
                rest = [k for k in range(6) if k not in (i, j)]
                alignment = procrustes(landmarks[rest])
                modes = np.linalg.svd((alignment.shapes - alignment.mean).reshape(4, -1), full_matrices=False)[2][:3]
                difference = (alignment.align(landmarks[[i, j]]) - alignment.mean).reshape(2, -1)
                left = (difference - difference @ modes.T @ modes).reshape(2, -1, 2)
                found.append(np.hypot(left[..., 0], left[..., 1]).mean())
        assert np.min(found) > 0.3
        for value in curves["pca"][4]:
            assert np.abs(np.array(found) - value).min() < 1e-6 * value

    def test_defaults_locality_reaches_more_and_seeds_differ(self) -> None:
        curves = plots.learning_curves(hearts(), sizes=[4], repeats=2)
        pca, local = (each[4].mean() for each in curves.values())
        assert local < pca
        again, other = (plots.learning_curves(hearts(), sizes=[4], repeats=2, seed=s) for s in (0, 1))
        for name, each in curves.items():
            np.testing.assert_array_equal(each[4], again[name][4])
            assert (each[4] != other[name][4]).any()

    def test_default_sizes_leave_two(self) -> None:
        curves = plots.learning_curves(plane(), {"a": ShapeOptions(levels=1)}, repeats=1)
        sizes = list(curves["a"])
        assert sizes[0] == 3
        assert sizes[-1] == 10
        assert len(sizes) == 6

    def test_kinds_by_objects_and_mixture(self) -> None:
        kinds = {
            "objects": ShapeOptions(levels=2, distances="objects"),
            "mixture": ShapeOptions(levels=2, method="mixture"),
        }
        curves = plots.learning_curves(hearts(), kinds, sizes=[6], repeats=1)
        assert curves["objects"][6][0] != curves["mixture"][6][0]
        assert quality.generalization(heart_model().shape, heart_model().reference[None]) < 1e-9

    def test_plot_shows_means_and_standard_errors(self) -> None:
        ax = plots.plot_learning_curve({"a$b": {9: [1.0, 3.0], 3: [4.0]}, "c": {3: [1.0]}})
        first, second = ax.containers
        np.testing.assert_array_equal(first.lines[0].get_xydata(), [[3, 4], [9, 2]])
        segments = first.lines[2][0].get_segments()
        np.testing.assert_allclose(segments[1][:, 1], [1, 3])
        assert second.lines[0].get_color() != first.lines[0].get_color()
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "9"]
        drawn(ax.get_figure())

    def test_bad_arguments_are_refused(self) -> None:
        cohort = hearts()
        for arguments, name in (
            ({"sizes": [1]}, "sizes"),
            ({"sizes": [9]}, "sizes"),
            ({"sizes": []}, "sizes"),
            ({"repeats": 0}, "repeats"),
            ({"seed": -1}, "seed"),
            ({"kinds": {}}, "kinds"),
        ):
            with pytest.raises(ValueError, match=name) as caught:
                plots.learning_curves(cohort, **arguments)
            one_line(caught.value)
        with pytest.raises(ValueError, match="at least 5"):
            plots.learning_curves(Cohort(cohort.images[:4], cohort.landmarks[:4]))
        for bad in ({}, {"a": {}}, {"a": {3: [np.nan]}}, {"a": {3: []}}):
            with pytest.raises(ValueError, match="curves") as caught:
                plots.plot_learning_curve(bad)
            one_line(caught.value)
