"""Quality measures: models whose measures are known, slow references, and bad input."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from modelaug import GaussianModel, procrustes, quality
from tests.examples import Array, hearts, one_line, philox


def _model(p: int = 12, k: int = 4, *, seed: int = 0, dtype: Any = np.float64) -> GaussianModel:
    """Return a model with random modes."""
    rng = philox(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(p, k)))
    return GaussianModel(rng.normal(size=p).astype(dtype), basis.astype(dtype), np.linspace(9.0, 1.0, k))


def _axes(p: int, variances: list[float]) -> GaussianModel:
    """Return a model around 0 whose modes are the first coordinates."""
    return GaussianModel(np.zeros(p), np.eye(p)[:, : len(variances)], np.array(variances))


def _aligned_hearts() -> tuple[Array, Array]:
    """Return training and unseen shapes (n, m, 2) in the frame of the training shapes."""
    landmarks = hearts().landmarks
    alignment = procrustes(landmarks[:7])
    return alignment.shapes, alignment.align(landmarks[7:])


def test_a_model_reaches_what_it_was_learned_from() -> None:
    training, unseen = _aligned_hearts()
    model = GaussianModel.from_samples(training.reshape(len(training), -1))
    assert quality.generalization(model, training) < 1e-10
    assert quality.generalization(model, training.reshape(len(training), -1)) < 1e-10
    assert quality.generalization(model, unseen) > 0.1


def test_more_modes_never_reach_less() -> None:
    training, unseen = _aligned_hearts()
    model = GaussianModel.from_samples(training.reshape(len(training), -1))
    vectors = unseen.reshape(len(unseen), -1)
    errors = [
        quality.generalization(GaussianModel(model.mean, model.basis[:, :k], model.variances[:k]), vectors)
        for k in range(1, len(model.variances) + 1)
    ]
    assert (np.diff(errors) < 0).all()


def test_generalization_is_the_distance_to_the_modes() -> None:
    model = _axes(6, [4.0, 1.0])
    # The first landmark is reached by the modes, the others are 5 and 13 away: mean distance 6, mean square 194 / 6.
    shape = np.array([[7.0, -2.0], [3.0, 4.0], [5.0, -12.0]])
    far = 2 * shape
    assert quality.generalization(model, shape[None]) == pytest.approx(6.0)
    assert quality.generalization(model, [shape, far]) == pytest.approx(9.0)
    assert quality.generalization(model, [shape.ravel(), far.ravel()]) == pytest.approx(1.5 * np.sqrt(194 / 6))
    # In space the same vector is two landmarks: one misses (0, 0, 3), the other (4, 5, -12).
    assert quality.generalization(model, shape.reshape(1, 2, 3)) == pytest.approx((3 + np.sqrt(185)) / 2)


def test_generalization_agrees_with_the_formula() -> None:
    model, shapes = _model(), philox(1).normal(size=(5, 6, 2)) * 3
    expected = []
    for shape in shapes:
        offset = shape.ravel() - model.mean
        found = (model.mean + model.basis @ (model.basis.T @ offset)).reshape(6, 2)
        expected.append(np.mean([np.hypot(*(a - b)) for a, b in zip(found, shape, strict=True)]))
    assert quality.generalization(model, shapes) == pytest.approx(np.mean(expected), rel=1e-12)


def test_limit_clips_each_coefficient() -> None:
    model = _axes(4, [4.0, 1.0])
    shape = np.array([[[7.0, -2.0], [0.0, 0.0]]])
    # Up to 2 standard deviations the modes reach (4, -2) of (7, -2).
    assert quality.generalization(model, shape, limit=2.0) == pytest.approx(1.5)
    assert quality.generalization(model, shape, limit=1.0) == pytest.approx(np.hypot(5, 1) / 2)
    assert quality.generalization(model, shape, limit=3.5) == pytest.approx(0.0, abs=1e-12)


def test_a_looser_limit_never_reaches_less() -> None:
    training, unseen = _aligned_hearts()
    model = GaussianModel.from_samples(training.reshape(len(training), -1))
    vectors = unseen.reshape(len(unseen), -1)
    errors = [quality.generalization(model, vectors, limit=limit) for limit in (0.1, 0.5, 1.0, 2.0, 4.0, 1e6)]
    assert (np.diff(errors) <= 0).all()
    assert errors[0] > errors[-1]
    assert errors[-1] == pytest.approx(quality.generalization(model, vectors), rel=1e-12)


def test_specificity_of_a_model_that_draws_one_vector() -> None:
    model = _axes(4, [0.0])
    references = np.array([[[3.0, 4.0], [0.0, 0.0]], [[6.0, 8.0], [0.0, 0.0]]])
    assert quality.specificity(model, references, philox(0), draws=3) == pytest.approx(2.5)
    assert quality.specificity(model, references.reshape(2, 4), philox(0), draws=3) == pytest.approx(2.5)


@pytest.mark.parametrize("limit", [0.5, 2.0, 5.0, 40.0])
def test_specificity_of_one_mode_is_that_of_the_cut_normal_distribution(limit: float) -> None:
    # One coordinate with sd 3 against the references -1 and 4: an integral over the truncated normal distribution.
    model = _axes(1, [9.0])
    expected, _ = integrate.quad(
        lambda z: min(abs(3 * z + 1), abs(3 * z - 4)) * stats.truncnorm.pdf(z, -limit, limit),
        -min(limit, 10.0),
        min(limit, 10.0),
        points=[-1 / 3, 0.5, 4 / 3],
    )
    draws = 40_000
    found = quality.specificity(model, [[-1.0], [4.0]], philox(1), draws=draws, limit=limit)
    assert found == pytest.approx(expected, abs=4 * 3 / np.sqrt(draws))


def test_specificity_agrees_with_all_pairs() -> None:
    model, references = _model(k=3), philox(2).normal(size=(4, 6, 2)) * 3
    u = philox(3).uniform(stats.norm.cdf(-5), stats.norm.cdf(5), (50, 3))
    drawn = (model.mean + (stats.norm.ppf(u) * np.sqrt(model.variances)) @ model.basis.T).reshape(50, 6, 2)
    expected = np.mean([min(np.linalg.norm(x - r, axis=1).mean() for r in references) for x in drawn])
    assert quality.specificity(model, references, philox(3), draws=50) == pytest.approx(expected, rel=1e-10)


def test_draws_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    model, references = _model(), philox(2).normal(size=(4, 12))
    whole = quality.specificity(model, references, philox(3), draws=37)
    monkeypatch.setattr(quality, "_BLOCK", 5 * 12)
    assert quality.specificity(model, references, philox(3), draws=37) == pytest.approx(whole, rel=1e-12)


def test_specificity_is_a_function_of_the_generator() -> None:
    model, references = _model(), philox(2).normal(size=(4, 6, 2))
    once, again, other = (quality.specificity(model, references, philox(s), draws=20) for s in (5, 5, 6))
    assert once == again != other


def test_more_variance_is_less_specific() -> None:
    training, _ = _aligned_hearts()
    model = GaussianModel.from_samples(training.reshape(len(training), -1))
    values = [
        quality.specificity(
            GaussianModel(model.mean, model.basis, scale * model.variances), training, philox(1), draws=200
        )
        for scale in (1.0, 4.0, 16.0)
    ]
    assert values[0] < values[1] < values[2]


def test_memory_does_not_grow_with_the_draws() -> None:
    p, draws = 50_000, 400
    model, references = _model(p, 2, dtype=np.float32), philox(2).normal(size=(2, p)).astype(np.float32)
    tracemalloc.start()
    quality.specificity(model, references, philox(0), draws=draws)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < draws * p * 4 / 2


def test_textures_keep_their_precision() -> None:
    model = _model(500, 3, dtype=np.float32)
    samples = model.sample(6, philox(1)).astype(np.float32)
    assert quality.generalization(model, samples) < 1e-5
    double = GaussianModel(model.mean.astype(float), model.basis.astype(float), model.variances)
    noisy = samples + philox(2).normal(size=samples.shape).astype(np.float32)
    assert quality.generalization(model, noisy) == pytest.approx(quality.generalization(double, noisy), rel=1e-5)
    single, exact = (quality.specificity(m, noisy, philox(3), draws=20) for m in (model, double))
    assert single == pytest.approx(exact, rel=1e-5)


def test_compactness_is_the_share_of_the_variance() -> None:
    np.testing.assert_allclose(quality.compactness(_axes(5, [6.0, 3.0, 1.0, 0.0])), [0.6, 0.9, 1.0, 1.0])
    assert quality.compactness(_model())[-1] == 1.0


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (np.zeros((2, 5, 2)), r"shapes has shape \(2, 5, 2\), 10 entries each; the model's vectors have 12"),
        (np.zeros((2, 11)), "11 entries each"),
        (np.zeros((2, 3, 4)), r"pass landmarks \(n, m, 2 or 3\), or flat images"),
        (np.zeros(12), "shapes has shape"),
        (np.zeros((0, 12)), "empty"),
        (np.full((1, 12), np.nan), r"shapes\[0, 0\] is nan"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_in_one_line(shapes: Array, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        quality.generalization(_model(), shapes)
    one_line(caught.value)
    with pytest.raises(ValueError, match=said):
        quality.specificity(_model(), shapes, philox(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"draws": 0}, "draws is 0"), ({"limit": 0.0}, "limit is 0"), ({"limit": np.inf}, "limit is inf")],
)
def test_unfit_options_are_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        quality.specificity(_model(), np.zeros((1, 12)), philox(0), **options)
    one_line(caught.value)


def test_other_bad_input_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="limit is -1") as caught:
        quality.generalization(_model(), np.zeros((1, 12)), limit=-1.0)
    one_line(caught.value)
    with pytest.raises(ValueError, match="no variance"):
        quality.compactness(_axes(3, [0.0, 0.0]))
    with pytest.raises(ValueError, match="no variance"):
        quality.compactness(GaussianModel(np.zeros(3), np.zeros((3, 0)), np.zeros(0)))
    for call in (
        lambda: quality.compactness(procrustes(hearts().landmarks)),  # type: ignore[arg-type]
        lambda: quality.generalization("model", np.zeros((1, 12))),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="pass a GaussianModel") as wrong:
            call()
        one_line(wrong.value)
    with pytest.raises(TypeError, match="rng is 3; pass a"):
        quality.specificity(_model(), np.zeros((1, 12)), 3)  # type: ignore[arg-type]
