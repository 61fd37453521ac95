"""The explorer's state: the pair it stands for, the line that gives it again, and how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from modelaug import (
    AcquisitionOptions,
    Cohort,
    LandmarkObject,
    PairOptions,
    PairSynthesizer,
    ResidualOptions,
    ShapeOptions,
    jacobian_determinant,
    phantoms,
    plots,
    warp,
)
from modelaug.explorer import ExplorerState, ModelChoice, ModePairs
from modelaug.explorer.pictures import PANELS, contours, grey_limits, pictures
from modelaug.explorer.state import PairRenderer
from modelaug.plots.flow import grid_cell, grid_lines
from tests.examples import heart_model, hearts, one_line, plane_model, same_pairs, volume, volume_model

OPTIONS = PairOptions(
    flow="direct",
    texture="shared",
    pose="none",
    residual=ResidualOptions(0.5, 20.0),
    acquisition=AcquisitionOptions(gamma=0.1),
)
STATES = [
    ExplorerState(),
    ExplorerState(seed=3, index=12, options=OPTIONS),
    ExplorerState(source="modes"),
    ExplorerState(source="modes", shape=(0.5, 0.0, -0.3, 0.0), texture=(0.0, 1.1), options=PairOptions(flow="direct")),
]


class TestLine:
    @pytest.mark.parametrize("state", STATES)
    def test_gives_what_is_seen_bit_for_bit(self, tmp_path: Path, state: ExplorerState) -> None:
        path = tmp_path / "it's a model.npz"
        heart_model().save(path)
        choice = ModelChoice(heart_model(), expression=f"modelaug.AppearanceModel.load({str(path)!r})")
        line = state.line(choice)
        one_line(ValueError(line))
        names: dict[str, Any] = {}
        exec(line, names)
        same_pairs(names["pair"], PairRenderer(choice).pair(state))

    def test_of_a_level_of_a_cohort(self, tmp_path: Path) -> None:
        cohort = phantoms.heart(5, shape=(48, 48), seed=1)
        cohort.save(tmp_path / "cohort.npz")
        choice = ModelChoice(cohort, expression=f"modelaug.Cohort.load({str(tmp_path / 'cohort.npz')!r})")
        renderer = PairRenderer(choice)
        seen = {}
        for level in (1, 2):
            state, names = ExplorerState(level=level), {}
            exec(state.line(choice), names)
            seen[level] = renderer.pair(state)
            same_pairs(names["pair"], seen[level])
        assert (seen[1].flow != seen[2].flow).any()

    def test_of_a_model_in_memory_and_without_what_is_default(self) -> None:
        choice = ModelChoice(plane_model())
        assert ExplorerState(index=2).line(choice) == (
            "import modelaug; pair = modelaug.PairSynthesizer(model, seed=0).draw(2)"
        )
        state = ExplorerState(source="modes", texture=(1.0, 0.0), options=PairOptions(flow="direct"))
        assert state.line(choice) == (
            "import modelaug.explorer; pair = modelaug.explorer.ModePairs(model, "
            "options=modelaug.PairOptions(flow='direct')).draw(shape=(), texture=(1.0,))"
        )


class TestRenderer:
    def test_states_are_pairs_of_the_library_in_any_order(self) -> None:
        renderer = PairRenderer(ModelChoice(heart_model()))
        for state in (*STATES, *STATES[::-1]):
            if state.source == "pairs":
                wanted = PairSynthesizer(heart_model(), seed=state.seed, options=state.options).draw(state.index)
            else:
                wanted = ModePairs(heart_model(), options=state.options).draw(state.shape, state.texture)
            same_pairs(renderer.pair(state), wanted)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"source": "cohort"},
            {"seed": -1},
            {"index": 1.5},
            {"shape": (float("inf"),)},
            {"texture": ("a",)},
            {"level": 0},
            {"options": "direct"},
        ],
    )
    def test_bad_states_are_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises((TypeError, ValueError), match=next(iter(arguments))) as caught:
            ExplorerState(**arguments)
        one_line(caught.value)


class TestChoice:
    def test_levels_are_those_of_a_cohort(self) -> None:
        choice = ModelChoice(hearts())
        assert choice.levels == (1, 2, 3, 4)
        assert choice.model(1).options["shape"]["levels"] == 1
        assert choice.model() is choice.model(4)
        assert choice.model().options["shape"]["levels"] == ShapeOptions().levels
        assert ModelChoice(plane_model()).levels == ()
        assert ModelChoice(plane_model()).model() is plane_model()

    def test_bad_arguments_are_refused(self) -> None:
        with pytest.raises(TypeError, match="what is str"):
            ModelChoice("model.npz")  # type: ignore[arg-type]
        for what in (volume(), volume_model()):
            with pytest.raises(ValueError, match="images in the plane"):
                ModelChoice(what)
        with pytest.raises(ValueError, match="level is 9"):
            ModelChoice(hearts()).model(9)
        with pytest.raises(ValueError, match="level is 2 but"):
            ModelChoice(plane_model()).model(2)


class TestPictures:
    def test_panels(self) -> None:
        model = heart_model()
        limits = grey_limits(model)
        pair = PairSynthesizer(model, seed=2).draw(1)
        seen = pictures(pair, model.objects, limits)
        assert set(seen.images) == set(PANELS)
        assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in seen.images.values())
        np.testing.assert_array_equal(seen.images["flow"], plots.flow_to_rgb(pair.flow))
        np.testing.assert_array_equal(seen.images["Jacobian"], plots.jacobian_to_rgb(pair.flow))
        low, high = limits
        for name, image in (("fixed", pair.fixed), ("moving", pair.moving)):
            grey = np.clip((image[0].astype(np.float64) - low) / (high - low), 0, 1) * 255
            assert np.abs(seen.images[name] - grey[..., None]).max() <= 1.001
        warped = warp(pair.moving, pair.flow, border="constant", fill=float(pair.moving.min()))[0]
        grey = np.clip((warped - low) / (high - low), 0, 1) * 255
        assert np.abs(seen.images["moving, warped by flow"] - grey[..., None]).max() <= 1.001
        first = list(model.objects[0].indices)
        np.testing.assert_array_equal(seen.contours["fixed"][0][:-1], pair.landmarks_fixed[first])
        np.testing.assert_array_equal(seen.contours["moving"][0][:-1], pair.landmarks_moving[first])
        assert seen.facts["folds"] == "0"
        assert f"{jacobian_determinant(pair.flow).max():.2f}," in seen.facts["Jacobian"]

    def test_two_channels_are_grey_and_oblong(self) -> None:
        pair = PairSynthesizer(plane_model()).draw(0)
        seen = pictures(pair, plane_model().objects, grey_limits(plane_model()))
        assert seen.images["fixed"].shape == (44, 26, 3)
        assert (seen.images["fixed"][..., 0] == seen.images["fixed"][..., 2]).all()

    def test_three_channels_are_colours(self) -> None:
        cohort = phantoms.heart(4, shape=(52, 48), seed=2)
        image = cohort.images[:, 0]
        colored = Cohort(np.stack([image, image / 2, 0 * image], axis=1), cohort.landmarks, objects=cohort.objects)
        choice = ModelChoice(colored)
        pair = PairRenderer(choice).pair(ExplorerState())
        fixed = pictures(pair, cohort.objects, grey_limits(choice.model())).images["fixed"].astype(int)
        assert (fixed[..., 0] > fixed[..., 1] + 5).any()
        assert not fixed[..., 2].any()

    def test_shrinkage_is_told(self) -> None:
        pair = ModePairs(heart_model()).draw((40.0,))
        assert "shrunk to" in pictures(pair, heart_model().objects, (0.0, 1.0)).facts["attempts"]

    def test_contours_by_kind(self) -> None:
        points = np.arange(10.0).reshape(5, 2)
        objects = [
            LandmarkObject("a", (0, 1, 2), "closed"),
            LandmarkObject("b", (3, 4), "open"),
            LandmarkObject("c", (4,), "points"),
        ]
        closed, line, dots = contours(points, objects)
        np.testing.assert_array_equal(closed, points[[0, 1, 2, 0]])
        np.testing.assert_array_equal(line, points[3:])
        np.testing.assert_array_equal(dots, points[4:])

    @pytest.mark.parametrize("size", [(21, 31), (300, 260)])
    def test_grid_lines_are_where_the_moving_grid_lands(self, size: tuple[int, int]) -> None:
        shift = np.zeros((2, *size))
        shift[0], shift[1] = 2.5, -0.5
        cell = grid_cell(size, 3)
        assert cell == round(max(size) / 3)
        lines = [line for part in grid_lines(shift, cell, stride=1 + max(size) // 200) for line in part]
        ups = [line for line in lines if np.ptp(line[:, 0]) < 1e-6]
        rows = sorted(float(line[0, 0]) for line in ups)
        columns = sorted(float(line[0, 1]) for line in lines if np.ptp(line[:, 1]) < 1e-6)
        assert len(rows) + len(columns) == len(lines)
        np.testing.assert_allclose(rows, [k * cell - 2.5 for k in (1, 2, 3) if k * cell - 2.5 <= size[0] - 1])
        np.testing.assert_allclose(columns, [k * cell + 0.5 for k in (0, 1, 2, 3) if k * cell + 0.5 <= size[1] - 1])

    def test_grid_of_one_row(self) -> None:
        assert grid_lines(np.zeros((2, 1, 9)), 1) == ([], [])
        assert grid_lines(np.zeros((2, 9, 1)), 1) == ([], [])
        grid_lines(np.zeros((2, 300, 2)), 15, stride=2)
