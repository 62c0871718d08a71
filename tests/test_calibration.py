"""Calibration maps rise strictly, and belong to one scorer."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemma_guard import ConfigError, Score, Stage
from gemma_guard.calibration import Calibration, Platt, logit

SLOPES = st.floats(0.01, 50)
BIASES = st.floats(-20, 20)
MARGINS = st.floats(-30, 30)


@given(SLOPES, BIASES, MARGINS, MARGINS)
def test_a_higher_margin_never_gets_a_lower_probability(
    slope: float, bias: float, one: float, other: float
) -> None:
    platt = Platt(slope, bias)
    low, high = sorted((one, other))

    assert 0.0 <= platt.probability(low) <= platt.probability(high) <= 1.0


@given(SLOPES, BIASES, st.floats(-2, 2), st.floats(0.01, 1))
def test_the_map_rises_strictly_where_numbers_can_show_it(
    slope: float, bias: float, margin: float, more: float
) -> None:
    assume(abs(slope * margin + bias) + slope * more < 20)

    assert Platt(slope, bias).probability(margin + more) > Platt(slope, bias).probability(margin)


@pytest.mark.parametrize(
    ("slope", "bias"), [(0, 0), (-1, 0), (math.nan, 0), (math.inf, 0), (1, math.nan), (1, math.inf)]
)
def test_a_map_that_does_not_rise_is_refused(slope: float, bias: float) -> None:
    with pytest.raises(ConfigError):
        Platt(slope, bias)


@given(st.floats(0.0, 1.0))
def test_the_identity_gives_back_what_it_got(probability: float) -> None:
    assert Platt().probability(logit(probability)) == pytest.approx(probability, abs=1e-12)


def test_a_score_keeps_what_the_model_said_as_raw() -> None:
    calibration = Calibration("judge-1", {("harassment", Stage.INPUT): Platt(1.0, 2.0)})

    moved = calibration.apply(Score("harassment", 0.5, margin=0.0), Stage.INPUT)
    other_stage = calibration.apply(Score("harassment", 0.5), Stage.OUTPUT)

    assert moved.violation == pytest.approx(1 / (1 + math.exp(-2)))
    assert (moved.raw, moved.margin) == (0.5, 0.0)
    assert other_stage == Score("harassment", 0.5)


def test_certainty_stays_certain() -> None:
    calibration = Calibration("judge-1", {("p", Stage.INPUT): Platt(3.0, -1.0)})

    assert calibration.apply(Score("p", 1.0), Stage.INPUT).violation == 1.0
    assert calibration.apply(Score("p", 0.0), Stage.INPUT).violation == 0.0


def test_a_calibration_of_another_scorer_is_refused_with_both_names() -> None:
    with pytest.raises(ConfigError, match="made for the scorer 'judge-1', this one is 'judge-2'"):
        Calibration("judge-1", {}).check("judge-2", source="judge.yaml")
