"""What the conformal thresholds promise holds, and what they cannot promise is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from gemma_guard.evaluate.conformal import (
    Gap,
    TooFew,
    alarms_at_most,
    missing_at_most,
    shortest,
)

DRAWS = 1_000


def shape(is_violation: bool) -> tuple[float, float]:
    """Beta distributions whose tails are known exactly."""
    return (4.0, 1.5) if is_violation else (1.2, 5.0)


@pytest.mark.parametrize(("rows", "rate"), [(40, 0.05), (199, 0.05), (150, 0.1), (99, 0.01)])
def test_the_promise_on_misses_holds_at_its_rate_over_1000_draws(rows: int, rate: float) -> None:
    draw, a_b = np.random.default_rng(5), shape(is_violation=True)
    missed = [
        beta.cdf(missing_at_most(draw.beta(*a_b, rows), rate).high, *a_b) for _ in range(DRAWS)
    ]
    rank = math.floor(rate * (rows + 1) + 1e-9)
    error = float(np.std(missed)) / math.sqrt(DRAWS)

    assert np.mean(missed) <= rate + 3 * error
    assert np.mean(missed) == pytest.approx(rank / (rows + 1), abs=4 * error)


@pytest.mark.parametrize(("rows", "rate"), [(999, 0.001), (2_500, 0.01)])
def test_the_promise_on_false_alarms_holds_at_its_rate_over_1000_draws(
    rows: int, rate: float
) -> None:
    draw, a_b, alarms = np.random.default_rng(6), shape(is_violation=False), []
    for _ in range(DRAWS):
        gap = alarms_at_most(draw.beta(*a_b, rows), np.array([]), rate)
        assert gap is not None
        alarms.append(beta.sf(np.nextafter(gap.low, 1), *a_b))

    assert np.mean(alarms) <= rate + 3 * float(np.std(alarms)) / math.sqrt(DRAWS)


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.001, 999), (0.1, 9)])
def test_too_few_rows_are_refused_with_how_many_are_missing(rate: float, needed: int) -> None:
    for rows in (0, needed - 1):
        with pytest.raises(TooFew) as few:
            missing_at_most(np.linspace(0.1, 0.9, rows), rate)
        assert few.value.missing == needed - rows
        with pytest.raises(TooFew) as few:
            alarms_at_most(np.linspace(0.1, 0.9, rows), np.array([]), rate)
        assert few.value.missing == needed - rows
    assert missing_at_most(np.linspace(0.1, 0.9, needed), rate).high == 0.1


SCORES = st.lists(st.sampled_from([0.0, 0.02, 0.4, 0.55, 0.97, 1.0]) | st.floats(0, 1), min_size=1)


@given(clean=SCORES, rate=st.floats(0.01, 0.9))
def test_no_more_rows_are_flagged_than_the_rate_allows(clean: list[float], rate: float) -> None:
    scores = np.array(clean)
    try:
        gap = alarms_at_most(scores, np.array([]), rate)
    except TooFew:
        return
    if gap is None:
        assert (scores >= 1).any()
    else:
        assert (scores >= shortest(gap)).sum() < rate * (len(clean) + 1) + 1e-9


@given(low=st.floats(0, 1, exclude_max=True), width=st.floats(1e-12, 1))
def test_the_shortest_threshold_lies_in_its_gap(low: float, width: float) -> None:
    gap = Gap(low, min(1.0, low + width))
    if gap.low < gap.high:
        assert gap.low < shortest(gap) <= gap.high


def test_the_shortest_threshold_has_no_needless_digits() -> None:
    assert shortest(Gap(0.4123, 0.5789)) == 0.5
    assert shortest(Gap(0.5512, 0.5789)) == 0.57
    assert shortest(Gap(0.0, 0.00031)) == 0.0003
