"""Pictures: what they show, and that they can be drawn."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from modelaug import Cohort, LandmarkObject, ModelFileError, PairSynthesizer, plots
from modelaug.evaluation import METRICS
from modelaug.evaluation.examples import Example
from modelaug.plots.comparison import metric_title, write_value
from modelaug.plots.figures import OBJECT_COLORS
from modelaug.plots.training import read_metrics
from tests.examples import heart_model, hearts, one_line, philox, plane, plane_model, volume, volume_model


def drawn(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the picture's pixels."""
    figure.set_dpi(40)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def vectors(*xy: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return a row of displacements, given as (right, down)."""
    return np.array(xy)[None, :, ::-1].transpose(2, 0, 1)


def test_metrics_are_called_by_their_names() -> None:
    titles = {name: metric_title(name) for name in METRICS}
    assert titles["dice"] == "Dice overlap"
    assert titles["hausdorff95"] == "95 % Hausdorff distance (mm)"
    assert titles["surface_distance"] == "surface distance (mm)"
    assert metric_title("dice/left_ventricle") == "Dice overlap of left ventricle"
    assert write_value("surface_distance", 1.234) == "1.23"


class TestColors:
    def test_directions(self) -> None:
        rgb = plots.flow_to_rgb(vectors((1, 0), (0, 0)))
        assert rgb.tolist() == [[[255, 0, 0], [255, 255, 255]]]

    @pytest.mark.parametrize(
        ("step", "color"),
        [
            (0, (255, 0, 0)),
            (15, (255, 255, 0)),
            (21, (0, 255, 0)),
            (25, (0, 255, 255)),
            (36, (0, 0, 255)),
            (49, (255, 0, 255)),
        ],
    )
    def test_wheel_has_55_steps_from_the_right_through_below(self, step: int, color: tuple[int, int, int]) -> None:
        angle = step / 54 * 2 * np.pi
        rgb = plots.flow_to_rgb(3.0 * vectors((np.cos(angle), np.sin(angle))), 3.0)
        np.testing.assert_allclose(rgb[0, 0], color, atol=1)

    def test_length_is_saturation_and_beyond_the_radius_darker(self) -> None:
        rgb = plots.flow_to_rgb(vectors((1, 0), (2, 0), (4, 0)), 2.0)
        assert rgb.tolist() == [[[255, 127, 127], [255, 0, 0], [191, 0, 0]]]

    def test_radius_is_the_longest_displacement(self) -> None:
        flow = philox(0).normal(size=(2, 5, 7))
        longest = float(np.hypot(*flow).max())
        np.testing.assert_array_equal(plots.flow_to_rgb(flow), plots.flow_to_rgb(flow, longest))

    def test_unknown_is_black_and_does_not_count(self) -> None:
        flow = vectors((1, 0), (np.nan, 0), (2, np.inf))
        np.testing.assert_array_equal(plots.flow_to_rgb(flow), [[[255, 0, 0], [0, 0, 0], [0, 0, 0]]])

    @pytest.mark.parametrize(
        ("flow", "radius"), [(np.zeros((3, 4, 5)), None), (np.zeros((4, 5)), None), (np.zeros((2, 4, 5)), 0.0)]
    )
    def test_bad_arguments_are_refused(self, flow: npt.NDArray[np.float64], radius: float | None) -> None:
        with pytest.raises(ValueError, match=r"flow|max_radius") as caught:
            plots.flow_to_rgb(flow, radius)
        one_line(caught.value)

    def test_flow_and_wheel(self) -> None:
        flow = philox(0).normal(size=(2, 5, 7))
        ax = plots.plot_flow(flow)
        np.testing.assert_array_equal(ax.images[0].get_array(), plots.flow_to_rgb(flow))
        wheel = plots.plot_color_wheel("9 px")
        assert wheel.texts[0].get_text() == "9 px"
        drawn(wheel.figure)  # type: ignore[arg-type]


class TestGrid:
    def test_lines_are_where_the_moving_images_grid_lands(self) -> None:
        shift = np.zeros((2, 21, 31))
        shift[0], shift[1] = 2.5, -0.5
        ax = plots.plot_grid(shift, step=10)
        rows, columns = ([path.vertices for path in each.get_paths()] for each in ax.collections)
        np.testing.assert_allclose([line[:, 1].mean() for line in rows], [7.5, 17.5])
        np.testing.assert_allclose([line[:, 0].mean() for line in columns], [0.5, 10.5, 20.5])

    def test_displacement_that_crosses_no_line_or_has_one_row(self) -> None:
        assert not plots.plot_grid(np.full((2, 4, 4), 0.1), step=100).collections
        assert not plots.plot_grid(np.zeros((2, 1, 4))).collections

    def test_bad_arguments_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"not finite|slice"):
            plots.plot_grid(np.zeros((3, 4, 5)))
        with pytest.raises(ValueError, match=r"displacement\[0, 0, 0\] is nan"):
            plots.plot_grid(np.full((2, 4, 5), np.nan))
        with pytest.raises(ValueError, match="step"):
            plots.plot_grid(np.zeros((2, 4, 5)), step=0)


class TestCohort:
    def test_pixels_lie_about_their_centres(self) -> None:
        """(0, 0) is the centre of the first pixel, for images and for the landmarks on them."""
        axes = plots.plot_flow(np.zeros((2, 5, 8)))
        assert axes.get_xlim() == (-0.5, 7.5)
        assert axes.get_ylim() == (4.5, -0.5)
        assert tuple(axes.images[0].get_extent()) == (-0.5, 7.5, 4.5, -0.5)

    def test_panels_show_images_with_landmarks_in_the_objects_colors(self) -> None:
        cohort = hearts()
        figure = plots.plot_cohort(cohort, limit=6)
        panels = figure.axes[:6]
        assert [ax.texts[0].get_text() for ax in panels] == list(cohort.names[:6])
        line = panels[3].lines[2]
        indices = cohort.objects[1].indices
        assert to_hex(line.get_color()) == OBJECT_COLORS[1]
        closed = cohort.landmarks[3][[*indices, indices[0]]]
        np.testing.assert_allclose(line.get_xydata(), closed[:, ::-1])
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["lv epicardium", "lv endocardium", "rv endocardium"]
        assert np.ptp(drawn(figure)) == 255

    def test_two_channels_and_few_subjects(self) -> None:
        drawn(plots.plot_cohort(plane().subset([0, 1]), columns=3))

    def test_space_is_refused(self) -> None:
        with pytest.raises(ValueError, match="pass a cohort of slices"):
            plots.plot_cohort(volume())
        with pytest.raises(ValueError, match="pass a cohort of slices"):
            plots.plot_modes(volume_model())


class TestModes:
    def test_rows_are_modes_and_columns_deviations(self) -> None:
        model = heart_model()
        figure = plots.plot_modes(model, modes=2)
        panels = np.array(figure.axes[:20]).reshape(4, 5)
        contour = panels[1, 4].lines[-1].get_xydata()
        expected = (model.shape.mean + 2 * np.sqrt(model.shape.variances[1]) * model.shape.basis[:, 1]).reshape(-1, 2)
        np.testing.assert_allclose(contour[:-1], expected[list(model.objects[-1].indices)][:, ::-1])
        middle = [panels[i, 2].images[0].get_array() for i in range(4)]
        assert all((image == middle[0]).all() for image in middle[1:])
        assert not (panels[2, 0].images[0].get_array() == middle[0]).all()
        assert any("mode 2" in text.get_text() for text in figure.texts)
        drawn(figure)

    def test_more_modes_than_there_are(self) -> None:
        figure = plots.plot_modes(plane_model(), modes=100)
        modes = len(plane_model().shape.variances) + len(plane_model().texture.variances)
        assert len(figure.axes) == 5 * modes


class TestPairs:
    def test_panels(self) -> None:
        model = heart_model()
        pairs = [PairSynthesizer(model, seed=2).draw(i) for i in range(2)]
        figure = plots.plot_pairs(pairs, objects=model.objects)
        panels = np.array(figure.axes[:12]).reshape(2, 6)
        np.testing.assert_array_equal(panels[1, 2].images[0].get_array(), plots.flow_to_rgb(pairs[1].flow))
        np.testing.assert_array_equal(panels[1, 4].images[0].get_array(), pairs[1].weight)
        first = list(model.objects[0].indices)
        for column, landmarks in ((0, pairs[1].landmarks_fixed), (1, pairs[1].landmarks_moving)):
            contour = panels[1, column].lines[0].get_xydata()[:-1]
            np.testing.assert_allclose(contour, landmarks[first][:, ::-1])
        drawn(figure)

    def test_common_scale_and_no_objects(self) -> None:
        pair = PairSynthesizer(plane_model()).draw(0)
        figure = plots.plot_pairs([pair], max_radius=50.0)
        np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), plots.flow_to_rgb(pair.flow, 50.0))
        assert figure.axes[2].texts[0].get_text() == "50 px"
        drawn(figure)

    def test_bad_pairs_are_refused(self) -> None:
        with pytest.raises(ValueError, match="pairs is empty"):
            plots.plot_pairs([])
        with pytest.raises(ValueError, match="in the plane"):
            plots.plot_pairs([PairSynthesizer(volume_model()).draw(0)])


class TestRegistration:
    def test_overlays_and_moved_contours(self) -> None:
        model = heart_model()
        pair = PairSynthesizer(model, seed=2).draw(0)
        figure = plots.plot_registration(
            pair.fixed,
            pair.moving,
            pair.flow,
            landmarks_fixed=pair.landmarks_fixed,
            landmarks_moving=pair.landmarks_moving,
            objects=model.objects,
        )
        after = figure.axes[4]
        solid, dashed = after.lines[0], after.lines[len(model.objects)]
        # The flow is right at the landmarks, so the moving image's contours come to lie on the fixed one's.
        assert solid.get_linestyle() == "-"
        assert dashed.get_linestyle() == "--"
        np.testing.assert_allclose(solid.get_xydata(), dashed.get_xydata(), atol=0.5)
        overlay = after.images[0].get_array()
        assert overlay.shape == (64, 64, 3)
        np.testing.assert_array_equal(overlay[..., 1], overlay[..., 2])
        drawn(figure)

    def test_identical_images_are_grey_and_landmarks_optional(self) -> None:
        image = philox(0).uniform(size=(20, 30))
        figure = plots.plot_registration(image, image, np.zeros((2, 20, 30)))
        for ax in figure.axes[3:5]:
            overlay = ax.images[0].get_array()
            np.testing.assert_allclose(overlay[..., 0], overlay[..., 1])
        drawn(figure)

    def test_objects_of_every_kind(self) -> None:
        objects = [LandmarkObject("a", (0, 1, 2), "open"), LandmarkObject("b", (3, 4), "points")]
        landmarks = philox(0).uniform(2, 18, size=(5, 2))
        image = philox(0).uniform(size=(20, 30))
        figure = plots.plot_registration(
            image, image, np.zeros((2, 20, 30)), landmarks_fixed=landmarks, objects=objects
        )
        line, dots = figure.axes[0].lines
        np.testing.assert_allclose(line.get_xydata(), landmarks[:3, ::-1])
        np.testing.assert_allclose(dots.get_xydata(), landmarks[3:, ::-1])


class TestLosses:
    def test_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.csv"
        path.write_text("step,loss,epe,validation_epe\n1,4.0,9.0,\n2,2.0,7.0,8.0\n3,1.0,5.0,\n4,0.5,3.0,4.0\n")
        columns = read_metrics(path)
        np.testing.assert_array_equal(columns["validation_epe"], [np.nan, 8, np.nan, 4])
        figure = plots.plot_losses(path, baseline=10.0)
        loss, errors = figure.axes
        np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[1, 4], [2, 2], [3, 1], [4, 0.5]])
        np.testing.assert_array_equal(errors.lines[1].get_xydata(), [[2, 8], [4, 4]])
        assert [text.get_text() for text in errors.get_legend().get_texts()][-1] == "no displacement"
        drawn(figure)

    def test_from_arrays_with_a_single_line(self) -> None:
        drawn(plots.plot_losses({"step": [1], "loss": [2.0]}))

    @pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,loss\n1,two\n", "\x00\xff"])
    def test_bad_files_are_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "metrics.csv").write_text(text, encoding="latin1")
        with pytest.raises(ModelFileError, match=r"metrics\.csv") as caught:
            plots.plot_losses(tmp_path / "metrics.csv")
        one_line(caught.value)

    def test_bad_columns_are_refused(self) -> None:
        with pytest.raises(ValueError, match="step and loss"):
            plots.plot_losses({"step": [1]})
        with pytest.raises(ValueError, match="one value per step"):
            plots.plot_losses({"step": [1, 2], "loss": [1.0]})


def scores(**methods: list[float | None]) -> list[dict[str, object]]:
    """Return records of four pairs in two folds."""
    pairs = [(0, "a", "b"), (0, "b", "a"), (3, "c", "d"), (3, "d", "c")]
    return [
        {"method": name, "fold": fold, "fixed": fixed, "moving": moving, "jaccard": value}
        for name, values in methods.items()
        for (fold, fixed, moving), value in zip(pairs, values, strict=True)
    ]


class TestScores:
    RECORDS = scores(low=[0.1, 0.2, 0.3, 0.5], part=[0.4, None, np.nan, 0.6], empty=[None] * 4)

    def test_a_row_per_method_with_a_dot_per_pair(self) -> None:
        figure = plots.plot_scores(self.RECORDS, "jaccard")
        (ax,) = figure.axes
        assert [label.get_text() for label in ax.get_yticklabels()] == ["low", "part", "empty"]
        mean, fold0, fold3, other, *_ = ax.lines
        assert mean.get_xydata()[0].tolist() == [pytest.approx(0.275), pytest.approx(-0.22)]
        assert fold0.get_xdata().tolist() == [0.1, 0.2]
        assert fold3.get_xdata().tolist() == [0.3, 0.5]
        assert fold0.get_color() != fold3.get_color()
        assert other.get_xdata()[0] == pytest.approx(0.5)
        assert [text.get_text() for text in ax.texts] == ["0.275", "0.500", "mean"]
        boxes = ax.patches
        assert [(box.get_x(), box.get_x() + box.get_width()) for box in boxes] == [
            pytest.approx(np.quantile([0.1, 0.2, 0.3, 0.5], (0.25, 0.75))),
            pytest.approx((0.45, 0.55)),
        ]
        assert [text.get_text() for text in figure.legends[0].get_texts()][2:] == ["fold 0", "fold 3"]
        drawn(figure)

    def test_differences_are_of_the_same_pair(self) -> None:
        figure = plots.plot_differences(self.RECORDS, "jaccard", "low", methods=["part", "low"])
        (ax,) = figure.axes
        assert [label.get_text() for label in ax.get_yticklabels()] == ["part"]
        dots = np.concatenate([line.get_xdata() for line in ax.lines[1:3]])
        np.testing.assert_allclose(dots, [0.3, 0.1])
        assert [text.get_text() for text in ax.texts] == ["+0.200", "100%", "mean", "better"]
        drawn(figure)

    def test_lower_is_better_on_the_left(self) -> None:
        records = [{**each, "contour_distance": each["jaccard"]} for each in self.RECORDS]
        (ax,) = plots.plot_differences(records, "contour_distance", "low").axes
        assert "contour distance (mm)" in ax.get_xlabel()
        assert "left" in ax.get_xlabel()
        assert ax.texts[1].get_text() == "0%"
        tint = ax.patches[-1]
        assert tint.get_x() == ax.get_xlim()[0]
        assert tint.get_x() + tint.get_width() == pytest.approx(0)

    def test_names_are_no_formulas_and_many_methods_and_folds_fit(self) -> None:
        records = [
            {"method": f"$\\frac{{ method {m}", "fold": k, "fixed": 0, "moving": 1, "jaccard": 0.5 + m * k / 400}
            for m in range(12)
            for k in range(11)
        ]
        figure = plots.plot_scores(records, "jaccard")
        drawn(figure)
        renderer = figure.canvas.get_renderer()
        boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
        assert min(box.x0 for box in boxes) >= 0

    @pytest.mark.parametrize(
        ("metric", "reference", "message"),
        [("epe", "low", "metric"), ("landmark_error", "low", "no record"), ("jaccard", "empty", "reference")],
    )
    def test_bad_arguments_are_refused(self, metric: str, reference: str, message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            plots.plot_differences(self.RECORDS, metric, reference)
        one_line(caught.value)

    def test_methods_without_a_common_pair_are_refused(self) -> None:
        with pytest.raises(ValueError, match="no other method"):
            plots.plot_differences(scores(a=[1, 1, None, None], b=[None, None, 1, 1]), "jaccard", "a")


class TestExamples:
    def test_before_and_after(self) -> None:
        cohort, zero = hearts(), np.zeros((2, 64, 64), np.float32)
        grow = np.indices((64, 64)) - 31.5
        folding = np.stack([-1.5 * grow[0], np.zeros((64, 64))]).astype(np.float32)
        examples = [Example(0, "none", 1, 2, zero), Example(0, "other", 5, 6, zero), Example(0, "bad", 1, 2, folding)]
        figure = plots.plot_examples(cohort, examples, notes=["0.5", "", ""])
        panels = np.array(figure.axes[:25]).reshape(5, 5)
        captions = [[text.get_text() for text in ax.texts] for ax in panels[0, :4]]
        assert captions == [["fixed: 001"], ["moving: 002"], ["overlay before"], ["labels before"]]
        # Nothing moves without displacement.
        for column in (2, 3):
            before, after = panels[0, column].images, panels[1, column].images
            for a, b in zip(before, after, strict=True):
                np.testing.assert_array_equal(a.get_array(), b.get_array())
        fixed, moved = panels[1, 0].lines[0], panels[1, 0].lines[len(cohort.objects)]
        first = list(cohort.objects[0].indices)
        np.testing.assert_allclose(fixed.get_xydata()[:-1], cohort.landmarks[1][first][:, ::-1])
        np.testing.assert_allclose(moved.get_xydata()[:-1], cohort.landmarks[2][first][:, ::-1], atol=1e-5)
        assert (fixed.get_linestyle(), moved.get_linestyle()) == ("-", "--")
        tint = panels[0, 3].images[1].get_array()
        agree = (cohort.labels[1] == cohort.labels[2]) & (cohort.labels[1] != 0)
        np.testing.assert_array_equal(tint[..., 3] == 0.5, agree)
        np.testing.assert_array_equal(tint[..., 3] == 0.8, cohort.labels[1] != cohort.labels[2])
        # The second row of the first pair folds everywhere, and its colours set the scale of both.
        assert panels[2, 4].texts[0].get_text() == "100.00% folded"
        assert panels[3, 0].texts[0].get_text() == "fixed: 005"
        assert [text.get_text() for text in figure.texts if text.get_text()] == ["none", "0.5", "bad", "other"]
        drawn(figure)

    def test_contours_and_labels_move_against_the_displacement(self) -> None:
        cohort = hearts()
        shift = np.broadcast_to(np.array([3, -2], np.float32)[:, None, None], (2, 64, 64))
        figure = plots.plot_examples(cohort, [Example(0, "shift", 1, 2, shift)])
        moved = figure.axes[5].lines[len(cohort.objects)].get_xydata()[:-1, ::-1]
        expected = cohort.landmarks[2][list(cohort.objects[0].indices)] - [3, -2]
        np.testing.assert_allclose(moved, expected, atol=1e-3)
        differ = figure.axes[8].images[1].get_array()[..., 3] == 0.8
        np.testing.assert_array_equal(
            differ[:-3, 2:], cohort.labels[1][:-3, 2:] != np.roll(cohort.labels[2], (-3, 2), (0, 1))[:-3, 2:]
        )

    def test_without_labels_and_contours(self) -> None:
        cohort = Cohort(hearts().images, hearts().landmarks)
        figure = plots.plot_examples(cohort, [Example(0, "none", 0, 1, np.zeros((2, 64, 64), np.float32))])
        panels = figure.axes[:8]
        assert not figure.legends
        assert not any(ax.lines for ax in panels)
        drawn(figure)

    def test_bad_arguments_are_refused(self) -> None:
        with pytest.raises(ValueError, match="examples is empty"):
            plots.plot_examples(hearts(), [])
        with pytest.raises(ValueError, match="in the plane"):
            plots.plot_examples(volume(), [Example(0, "none", 0, 1, np.zeros((2, 4, 4), np.float32))])


class TestCurves:
    def test_a_panel_per_method_and_a_line_per_fold(self, tmp_path: Path) -> None:
        full, plain = tmp_path / "full.csv", tmp_path / "plain.csv"
        full.write_text("step,loss,validation_epe\n1,4,\n2,2,\n3,1,1.5\n")
        plain.write_text("step,loss\n1,3\n2,1\n")
        curves = {f"m{k}": {1: plain, 0: full} for k in range(5)} | {"last": {0: plain}}
        figure = plots.plot_curves(curves)
        assert [ax.get_title() for ax in figure.axes][:6] == [*(f"m{k}" for k in range(5)), "last"]
        first, second = figure.axes[0].lines
        np.testing.assert_array_equal(first.get_xydata(), [[1, 4], [2, 2], [3, 1]])
        np.testing.assert_array_equal(second.get_xydata(), [[1, 3], [2, 1]])
        assert figure.axes[0].get_yscale() == "log"
        drawn(figure)
        errors = plots.plot_curves(curves, column="validation_epe")
        assert "last" not in [ax.get_title() for ax in errors.axes]
        np.testing.assert_array_equal(errors.axes[0].lines[0].get_xydata(), [[3, 1.5]])
        with pytest.raises(ValueError, match="no training has the column 'epe'"):
            plots.plot_curves(curves, column="epe")


def test_figures_are_written_whole_in_the_named_format(tmp_path: Path) -> None:
    figure = plots.plot_losses({"step": [1, 2], "loss": [2.0, 1.0]})
    plots.save_figure(figure, tmp_path / "a.png", dpi=30)
    plots.save_figure(figure, tmp_path / "a.PDF")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.PDF").read_bytes()[:4] == b"%PDF"
    with pytest.raises(ValueError, match="no known format"):
        plots.save_figure(figure, tmp_path / "a.xyz")
    assert len(list(tmp_path.iterdir())) == 2


def test_no_global_state() -> None:
    code = "import sys; from modelaug import plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
