"""Random numbers of different purposes are different: no stream is drawn from twice, and noise tells no contrast."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from modelaug import AcquisitionOptions, PairOptions, PairSynthesizer, ResidualOptions, _random
from modelaug.baselines import LabelShapes, LabelShapesOptions
from modelaug.synthesis import BatchedSource
from tests.baselines.sources import SOURCES
from tests.examples import ellipsoids, plane_model


def everything() -> BatchedSource:
    """Return pairs of the model with all that is optional."""
    options = PairOptions(
        texture="mixed", residual=ResidualOptions(0.5, 8.0), acquisition=AcquisitionOptions(0.1, 0.1, 0.1, 0.1)
    )
    return PairSynthesizer(plane_model(), seed=5, options=options)


def modules() -> list[Any]:
    """Return the modules of sources that draw random numbers."""
    from modelaug.baselines import (
        deformations,
        deformed_subjects,
        label_shapes,
        moving_shapes,
        patterns,
        random_deformations,
    )
    from modelaug.synthesis import geometry, synthesizer

    return [
        deformations,
        geometry,
        label_shapes,
        moving_shapes,
        patterns,
        random_deformations,
        deformed_subjects,
        synthesizer,
    ]


@pytest.mark.parametrize("make", [*SOURCES, everything], ids=lambda make: make.__name__)
def test_no_stream_is_drawn_from_twice(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make()
    drawn: list[tuple[int, ...]] = []

    def watching(seed: int, index: int, attempt: int = 0, stream: int = 0) -> np.random.Generator:
        drawn.append((seed, index, attempt, stream))
        return _random.generator(seed, index, attempt, stream)

    for module in modules():
        assert module.generator is _random.generator
        monkeypatch.setattr(module, "generator", watching)
    for index in (7, 8):
        drawn.clear()
        source.draw(index)
        assert drawn
        assert max(Counter(drawn).values()) == 1
        # Nor are the numbers of one pair those of another, or of another seed.
        assert {numbers[1] for numbers in drawn} == {index}
        assert {numbers[0] for numbers in drawn} == {source.seed}  # type: ignore[attr-defined]


def test_streams_are_independent() -> None:
    """First numbers of generators that differ in one argument only: each as its oracle, none correlated."""
    base = [_random.generator(3, i).standard_normal(4) for i in range(500)]
    assert abs(np.corrcoef(np.array(base).T) - np.eye(4)).max() < 0.15
    others = {
        "seed": [_random.generator(4, i).standard_normal(4) for i in range(500)],
        "attempt": [_random.generator(3, i, attempt=1).standard_normal(4) for i in range(500)],
        "stream": [_random.generator(3, i, stream=1).standard_normal(4) for i in range(500)],
        "index": [_random.generator(3, 500 + i).standard_normal(4) for i in range(500)],
    }
    for numbers in others.values():
        assert np.abs(np.corrcoef(np.array(base).T, np.array(numbers).T)[:4, 4:]).max() < 0.15


def test_blur_and_noise_of_painted_labels_tell_nothing_of_the_contrast() -> None:
    cohort = ellipsoids(2, (26, 24), (1.0, 1.0))
    options = LabelShapesOptions(regions=0, points=(2,), strain=0.01, variation=0.3, blur=3.0, acquisition=None)
    source = LabelShapes(cohort, options=options)
    tones, rough = [], []
    for index in range(250):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        image, inside = pair.fixed[0], pair.labels_fixed == 1
        tones.append([np.median(image[inside]), np.median(image[~inside])])
        # What a blur leaves of differences between neighbours, as a share of those two voxels apart.
        steps = [np.diff(image, axis=1)[2:-2, 1:-1], image[2:-2, 3:] - image[2:-2, 1:-2]]
        near, far = (each[np.asarray(inside[2:-2, 2 : 2 + each.shape[1]])].std() for each in steps)
        rough.append(near / far)
    correlation = np.corrcoef(np.array(tones).T, rough)[:2, 2]
    assert np.abs(correlation).max() < 0.25
    assert np.std(rough) > 0.05  # blurs differ
