"""The estimator: the model and pairs of the functions it stands for, and scikit-learn's conventions."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, ParameterGrid

import modelaug.estimator
from modelaug import (
    AppearanceModel,
    Augmenter,
    Cohort,
    PairOptions,
    PairSynthesizer,
    ResidualOptions,
    ShapeOptions,
    SplineOptions,
    TextureOptions,
    quality,
)
from tests.examples import one_line, plane, same_models, same_pairs, volume

PCA = ShapeOptions(levels=1, coverage=1.0)


@pytest.mark.parametrize("cohort", [plane, volume])
def test_model_and_pairs_are_those_of_the_functions(cohort: Any) -> None:
    augmenter = Augmenter(shape=PCA, pairs=PairOptions(texture="shared"), seed=4, threads=1)
    assert augmenter.fit(cohort()) is augmenter
    model = AppearanceModel.fit(cohort(), shape=PCA)
    same_models(augmenter.model_, model)
    source = PairSynthesizer(model, seed=4, options=PairOptions(texture="shared"))
    same_pairs(augmenter.draw(3), source.draw(3))
    same_pairs(augmenter.sample(2, first=3), source.batch([3, 4]))
    assert augmenter.sample().flow.shape[0] == 1


def test_score_is_the_distance_to_unseen_shapes() -> None:
    cohort = plane()
    training, unseen = cohort.subset(range(6)), cohort.subset(range(6, 12))
    augmenter = Augmenter(shape=PCA, threads=1).fit(training)
    shapes = augmenter.alignment_.align(unseen.landmarks * unseen.spacing) / unseen.spacing
    assert augmenter.score(unseen) == -quality.generalization(augmenter.model_.shape, shapes, limit=3.0)
    # By hand, landmark by landmark; two landmarks are rows of pixels apart, which differ in size from columns.
    model = augmenter.model_.shape
    total = []
    for shape in shapes:
        coefficients = model.basis.T @ (shape.ravel() - model.mean)
        bound = 3.0 * np.sqrt(model.variances)
        again = (model.mean + model.basis @ np.clip(coefficients, -bound, bound)).reshape(shape.shape)
        total.extend(np.hypot(*(again - shape).T))
    assert augmenter.score(unseen) == pytest.approx(-np.mean(total), rel=1e-6)
    assert augmenter.score(unseen) < augmenter.score(training) <= 0


def test_score_ignores_how_a_subject_is_posed() -> None:
    augmenter = Augmenter(shape=PCA, threads=1).fit(plane().subset(range(6)))
    unseen = plane().subset([8])
    landmarks = unseen.landmarks + np.array([1.5, -2.0])
    moved = Cohort(unseen.images, landmarks, objects=unseen.objects, spacing=unseen.spacing)
    assert augmenter.score(moved) == pytest.approx(augmenter.score(unseen), rel=1e-6)


class TestParameters:
    def test_are_those_of_the_constructor(self) -> None:
        names = [name for name in inspect.signature(Augmenter.__init__).parameters if name != "self"]
        assert list(Augmenter().get_params(deep=False)) == sorted(names)
        options = PairOptions()
        augmenter = Augmenter(pairs=options, seed=3)
        assert augmenter.get_params(deep=False)["pairs"] is options
        assert Augmenter(**augmenter.get_params(deep=False)).get_params() == augmenter.get_params()

    def test_within_options(self) -> None:
        found = Augmenter(shape=ShapeOptions(levels=3), pairs=PairOptions(residual=ResidualOptions(1, 8))).get_params()
        assert found["shape__levels"] == 3
        assert found["texture__engine"] == TextureOptions().engine
        assert found["spline__tolerance"] == SplineOptions().tolerance
        assert found["pairs__residual__spacing"] == 8

    def test_are_set_by_name(self) -> None:
        augmenter = Augmenter(shape=PCA)
        assert augmenter.set_params(shape__levels=2, texture__engine="fields", texture__levels=3, seed=5) is augmenter
        assert augmenter.shape == ShapeOptions(levels=2, coverage=1.0)
        assert augmenter.texture == TextureOptions(engine="fields", levels=3)
        assert augmenter.seed == 5
        assert ShapeOptions(levels=1, coverage=1.0) == PCA
        # Within what is set in the same call, in any order.
        augmenter.set_params(pairs__residual__amplitude=2, pairs=PairOptions(residual=ResidualOptions(1, 8)))
        assert augmenter.pairs == PairOptions(residual=ResidualOptions(2, 8))
        augmenter.set_params(pairs__residual=ResidualOptions(3, 9), pairs__residual__spacing=8)
        assert augmenter.pairs == PairOptions(residual=ResidualOptions(3, 8))
        augmenter.set_params(pairs=None)
        assert augmenter.pairs is None

    def test_set_to_what_they_are_change_nothing(self) -> None:
        augmenter = Augmenter(shape=PCA, pairs=PairOptions(residual=ResidualOptions(1, 8)), seed=2)
        before = augmenter.get_params()
        assert augmenter.set_params(**before).get_params() == before

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"shapes": PCA}, "'shapes' is no parameter; pass one of pairs"),
            ({"seed": 3, "shapes": PCA}, "'shapes' is no parameter"),
            ({"shape__": 1}, "'shape__' is no parameter"),
            ({"seed__levels": 1}, "'seed__levels' is no parameter"),
            ({"shape__level": 1}, "'shape__level' is no parameter; shape has levels"),
            ({"shape__levels": 0}, "levels is 0"),
            ({"seed": 3, "shape__levels__deep": 1}, "shape__levels is 4; set it to options"),
            ({"pairs__residual__spacing": 8}, "pairs__residual is None; set it to options"),
            ({"shape": 3, "shape__levels": 1}, "shape is 3; set it to options"),
        ],
    )
    def test_that_do_not_exist_or_do_not_fit(self, params: dict[str, Any], message: str) -> None:
        augmenter = Augmenter()
        with pytest.raises((ValueError, TypeError)) as caught:
            augmenter.set_params(**params)
        assert message in one_line(caught.value)
        assert augmenter.get_params() == Augmenter().get_params()

    def test_shown(self) -> None:
        assert repr(Augmenter(seed=2)) == "Augmenter(seed=2)"
        assert eval(repr(Augmenter(shape=PCA))).shape == PCA


class TestBadInput:
    @pytest.mark.parametrize("call", [lambda a: a.draw(0), lambda a: a.sample(2), lambda a: a.score(plane())])
    def test_before_fit(self, call: Any) -> None:
        with pytest.raises(ValueError, match="nothing is fitted"):
            call(Augmenter())

    def test_of_fit(self) -> None:
        with pytest.raises(TypeError, match="cohort is list; pass a Cohort"):
            Augmenter().fit([])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"shape is 3; pass ShapeOptions\(\.\.\.\) or None"):
            Augmenter(shape=3).fit(plane())  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="seed is -1"):
            Augmenter(seed=-1).fit(plane())

    def test_a_failed_fit_leaves_the_last_one(self) -> None:
        augmenter = Augmenter(threads=1).fit(plane())
        model = augmenter.model_
        with pytest.raises(ValueError, match="at least 2"):
            augmenter.fit(plane().subset([0]))
        assert augmenter.model_ is model

    def test_of_sample_and_score(self) -> None:
        augmenter = Augmenter(threads=1).fit(plane())
        with pytest.raises(ValueError, match="n is 0"):
            augmenter.sample(0)
        with pytest.raises(ValueError, match="first is -1"):
            augmenter.sample(1, first=-1)
        with pytest.raises(ValueError, match="spacing"):
            augmenter.score(volume())
        others = Cohort(plane().images, plane().landmarks[:, :4], spacing=plane().spacing)
        with pytest.raises(ValueError, match="landmarks has shape"):
            augmenter.score(others)
        with pytest.raises(TypeError, match="cohort is ndarray"):
            augmenter.score(plane().landmarks)  # type: ignore[arg-type]


class TestScikitLearn:
    def test_is_an_estimator(self) -> None:
        assert isinstance(Augmenter(), BaseEstimator)
        with pytest.raises(NotFittedError):
            Augmenter().draw(0)

    def test_clone(self) -> None:
        augmenter = Augmenter(shape=PCA, pairs=PairOptions(residual=ResidualOptions(1, 8)), seed=3).fit(plane())
        copy = clone(augmenter)
        assert copy.get_params() == augmenter.get_params()
        assert not hasattr(copy, "model_")

    def test_search_over_a_grid(self) -> None:
        cohort = plane()
        grid = ParameterGrid({"shape__levels": [1, 3], "shape__coverage": [0.5, 1.0]})
        scores = []
        for params in grid:
            folds = KFold(3).split(np.arange(len(cohort)))
            augmenter = clone(Augmenter(threads=1)).set_params(**params)
            scores.append(np.mean([augmenter.fit(cohort.subset(a)).score(cohort.subset(b)) for a, b in folds]))
        best = grid[int(np.argmax(scores))]
        assert len(set(scores)) > 1
        # The ellipses have a single mode: half of the variance of noisier models is not enough.
        assert best["shape__coverage"] == 1.0


def test_example() -> None:
    assert doctest.testmod(modelaug.estimator).failed == 0
