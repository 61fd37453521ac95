"""Drawing until valid: full draws first, then the last one smaller and smaller."""

from modelaug.synthesis.attempts import attempts


def test_draws_come_in_order_and_the_last_one_shrinks_to_nothing() -> None:
    tried = list(attempts(lambda k: 10.0 + k, lambda drawn, factor: drawn * factor, 3))
    assert tried[:3] == [(10.0, 1, 1.0), (11.0, 2, 1.0), (12.0, 3, 1.0)]
    factors = [0.5**k for k in range(1, 11)] + [0.0]
    assert tried[3:] == [(12.0 * factor, 3, factor) for factor in factors]


def test_nothing_is_drawn_before_it_is_tried() -> None:
    drawn: list[int] = []
    next(attempts(lambda k: drawn.append(k), lambda none, factor: none, 3))
    assert drawn == [0]
