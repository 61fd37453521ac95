"""Engines that draw textures: their covariance is what they say, and the patchwork stays within its subjects."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import AppearanceModel, PairSynthesizer, TextureOptions, _core
from modelaug.locality.gaussian import GaussianModel
from modelaug.models.texture import (
    BasisEngine,
    FieldsEngine,
    PatchworkEngine,
    TextureEngine,
    in_blocks,
    texture_engine,
)
from modelaug.transforms.lattices import MultiscaleLattice
from tests.examples import plane, plane_model

Array = npt.NDArray[np.float64]


def _small_model(engine: str, grid: tuple[int, ...] = (7, 9), *, levels: int = 3, channels: int = 2) -> AppearanceModel:
    """Return a model whose textures are noise on a small grid, without limits to their range."""
    rng = np.random.default_rng(3)
    n, d = 6, len(grid)
    samples = rng.normal(10.0, 2.0, size=(n, channels * int(np.prod(grid)))).astype(np.float32)
    texture = GaussianModel.from_samples(samples)
    whole = plane_model()
    options = replace(whole.options, texture=TextureOptions(engine=engine, levels=levels))  # type: ignore[arg-type]
    return replace(
        whole,
        texture=texture,
        texture_coefficients=texture.coefficients(samples).astype(np.float64),
        intensities=np.tile(np.array([-1e6, 1e6], np.float32), (channels, 1)),
        background=np.zeros(channels, np.float32),
        grid=grid,
        spacing=np.linspace(1.0, 1.5, d),
        options=options,
    )


def _linear_map(engine: TextureEngine, zero: list[Array]) -> Array:
    """Return the matrix that takes an engine's numbers to its texture, column by column."""
    sizes = [part.size for part in zero]
    origin = engine.render(zero).astype(np.float64).ravel()
    columns = []
    for i in range(sum(sizes)):
        unit = np.zeros(sum(sizes))
        unit[i] = 1.0
        parts = np.split(unit, np.cumsum(sizes)[:-1])
        numbers = [part.reshape(z.shape) for part, z in zip(parts, zero, strict=True)]
        columns.append(engine.render(numbers).astype(np.float64).ravel() - origin)
    return np.stack(columns, axis=1)


def _zero(engine: TextureEngine) -> list[Array]:
    return [np.zeros_like(part) for part in engine.numbers(np.random.default_rng(0))]


@pytest.mark.parametrize("grid", [(7, 9), (1, 8), (3, 4, 5)])
def test_fields_have_the_localized_covariance(grid: tuple[int, ...]) -> None:
    model = _small_model("fields", grid)
    engine = texture_engine(model)
    assert isinstance(engine, FieldsEngine)
    matrix = _linear_map(engine, _zero(engine))
    basis, variances = model.texture.basis.astype(np.float64), model.texture.variances
    channels = np.tile(engine.lattice.covariance(), (model.channels, model.channels))
    expected = (basis * variances) @ basis.T * channels
    np.testing.assert_allclose(matrix @ matrix.T, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(engine.render(_zero(engine)).ravel(), model.texture.mean, rtol=1e-6)


@pytest.mark.parametrize("name", ["basis", "fields"])
def test_draws_have_the_covariance_within_monte_carlo_error(name: str) -> None:
    model = _small_model(name, (5, 6), channels=1)
    engine = texture_engine(model)
    rng = np.random.default_rng(11)
    draws = 20_000
    textures = np.stack([engine.render(engine.numbers(rng)).ravel() for _ in range(draws)]).astype(np.float64)
    basis, variances = model.texture.basis.astype(np.float64), model.texture.variances
    expected = (basis * variances) @ basis.T
    if isinstance(engine, FieldsEngine):
        expected = expected * engine.lattice.covariance()
    found = np.cov(textures.T)
    # The standard error of an entry of the sample covariance; fields times modes are not quite Gaussian: allow 6.
    diagonal = np.diag(expected)
    error = np.sqrt((np.outer(diagonal, diagonal) + expected**2) / draws)
    assert np.abs((found - expected) / error).max() < 6
    assert np.abs((textures.mean(axis=0) - model.texture.mean) / np.sqrt(diagonal / draws)).max() < 5


def test_basis_is_the_mean_plus_modes() -> None:
    model = _small_model("basis")
    engine = texture_engine(model)
    assert isinstance(engine, BasisEngine)
    numbers = engine.numbers(np.random.default_rng(5))
    expected = model.texture.reconstruct(numbers[0] * np.sqrt(model.texture.variances))
    np.testing.assert_allclose(engine.render(numbers).ravel(), expected, rtol=1e-5)


def _patchwork(sharpness: float, grid: tuple[int, ...] = (7, 9)) -> tuple[AppearanceModel, PatchworkEngine, Array]:
    model = _small_model("patchwork", grid, levels=2)
    model = replace(model, options=replace(model.options, texture=TextureOptions(sharpness=sharpness)))
    engine = texture_engine(model)
    assert isinstance(engine, PatchworkEngine)
    subjects = model.texture.reconstruct(model.texture_coefficients).reshape(-1, model.channels, *grid)
    flat = subjects.reshape(len(subjects), model.channels, -1).astype(np.float64)
    patches = (flat - flat.mean(axis=2, keepdims=True)) / flat.std(axis=2, keepdims=True)
    return model, engine, patches.reshape(subjects.shape)


@pytest.mark.parametrize("grid", [(7, 9), (3, 4, 5)])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 2.5, 30.0])
def test_patchwork_is_the_softmax_of_its_fields(sharpness: float, grid: tuple[int, ...]) -> None:
    model, engine, patches = _patchwork(sharpness, grid)
    numbers = engine.numbers(np.random.default_rng(2))
    ones = np.ones((1, 1, *grid), np.float32)
    wide = np.array([[-1e6, 1e6]], np.float32)
    coefficients = engine.lattice.coefficients(numbers[1:])
    fields = np.stack(
        [
            _core.render_fields(
                in_blocks(ones), engine.lattice.inverse_deviation, wide, 0 * ones[0], coefficients[k : k + 1], 1
            )
            for k in range(len(patches))
        ]
    ).astype(np.float64)
    shares = np.maximum(np.exp(sharpness * (fields - fields.max(axis=0))) - 1e-3, 0.0)
    mixed = (shares / shares.sum(axis=0) * patches).sum(axis=0)
    subjects = model.texture.reconstruct(model.texture_coefficients).reshape(len(patches), model.channels, -1)
    style = np.concatenate([np.log(subjects.std(axis=2)), subjects.mean(axis=2)], axis=1).astype(np.float64)
    drawn = style.mean(axis=0) + numbers[0] @ (style - style.mean(axis=0)) / np.sqrt(len(style) - 1)
    gain, bias = (part.reshape(-1, *(1,) * len(grid)) for part in (np.exp(drawn[:2]), drawn[2:]))
    np.testing.assert_allclose(engine.render(numbers), bias + gain * mixed, rtol=1e-4)


def test_a_sharp_patchwork_is_made_of_subjects() -> None:
    _, engine, patches = _patchwork(1e4)
    numbers = engine.numbers(np.random.default_rng(4))
    numbers[0][:] = 0.0
    texture = engine.render(numbers).astype(np.float64).reshape(2, -1)
    # With the mean gain and bias, nearly every pixel is that of one subject, and not all of the same.
    gain, bias = engine._style_mean.reshape(2, 2)
    candidates = patches.reshape(len(patches), 2, -1) * np.exp(gain)[:, None] + bias[:, None]
    distance = np.abs(candidates - texture)
    assert np.median(distance.min(axis=0)) < 1e-3
    assert len(set(distance[:, 0].argmin(axis=0).tolist())) > 1


@pytest.mark.parametrize("engine", ["basis", "fields", "patchwork"])
def test_threads_change_no_bit_of_a_texture(engine: str) -> None:
    lattice = MultiscaleLattice((23, 19), np.ones(2), 3)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(4, 2, 23, 19)).astype(np.float32)
    coefficients = lattice.coefficients(lattice.numbers(rng, 4))
    ranges = np.array([[-2, 2], [-1, 3]], np.float32)
    ones = np.ones(2, np.float32)

    def render(threads: int) -> npt.NDArray[np.float32]:
        if engine == "basis":
            return _core.render_texture(
                images[0].reshape(2, -1), images.reshape(4, 2, -1), ranges, np.arange(4.0), threads
            )
        if engine == "fields":
            return _core.render_fields(
                in_blocks(images), lattice.inverse_deviation, ranges, images[0], coefficients, threads
            )
        return _core.render_patchwork(
            in_blocks(images), lattice.inverse_deviation, ranges, 2.5, ones, ones, coefficients, threads
        )

    assert np.array_equal(render(1), render(2))
    assert np.array_equal(render(1), render(7))


@pytest.mark.parametrize("options", [TextureOptions(), TextureOptions(engine="fields", levels=3)])
def test_drawn_textures_copy_no_subject(options: TextureOptions) -> None:
    cohort = plane()
    model = AppearanceModel.fit(cohort, texture=options)
    engine = texture_engine(model)
    subjects = model.texture.reconstruct(model.texture_coefficients)
    between = np.sqrt(((subjects[:, None] - subjects) ** 2).mean(axis=2))
    nearest_subject = np.sort(between, axis=1)[:, 1].min()
    for seed in range(10):
        texture = engine.render(engine.numbers(np.random.default_rng(seed))).ravel()
        assert np.sqrt(((subjects - texture) ** 2).mean(axis=1)).min() > 0.1 * nearest_subject
        low, high = model.intensities.T
        channels = texture.reshape(model.channels, -1)
        assert (channels >= low[:, None]).all()
        assert (channels <= high[:, None]).all()


@pytest.mark.parametrize("engine", ["basis", "fields", "patchwork"])
def test_pairs_of_every_engine_survive_a_file(engine: str, tmp_path: object) -> None:
    options = TextureOptions(engine=engine, levels=1 if engine == "basis" else 2)
    model = AppearanceModel.fit(plane(), texture=options)
    model.save(f"{tmp_path}/model.npz")
    again = AppearanceModel.load(f"{tmp_path}/model.npz")
    pair, copy = (PairSynthesizer(m, seed=3).draw(5) for m in (model, again))
    assert np.array_equal(pair.fixed, copy.fixed)
    assert np.array_equal(pair.moving, copy.moving)
    assert not np.array_equal(pair.fixed, pair.moving)


@pytest.mark.parametrize(
    "arguments",
    [{"engine": "magic"}, {"levels": 0}, {"levels": 99}, {"sharpness": -1.0}, {"coverage": 0.0}, {"max_modes": 0}],
)
def test_bad_options_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        TextureOptions(**arguments)
