"""The recall at few false alarms is the curve's; its interval holds the truth as often as said."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from gemma_guard.evaluate.recalls import recall_at, rows_needed
from gemma_guard.evaluate.results import Codes, Floats
from gemma_guard.evaluate.tally import Tally


def drawn(violations: int, clean: int, apart: float, seed: int = 3) -> tuple[Codes, Floats]:
    draw = np.random.default_rng(seed)
    label = np.repeat(np.array([1, 0], np.int8), (violations, clean))
    return label, draw.normal(size=len(label)) + apart * label


def tally(violations: int, clean: int, apart: float, seed: int = 3) -> Tally:
    return Tally.of(*drawn(violations, clean, apart, seed))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.25])
def test_recall_at_few_false_alarms_is_the_highest_of_the_curve_at_that_rate(rate: float) -> None:
    label, score = drawn(600, 1_400, 1.0)
    alarms, recalls, _ = roc_curve(label, score, drop_intermediate=False)
    found = recall_at(Tally.of(label, score), rate)

    assert found is not None
    assert found.value == recalls[alarms <= rate].max()


def test_a_rate_that_the_rows_cannot_show_is_not_reported() -> None:
    assert recall_at(tally(50, 499, 1.0), 0.01) is None
    assert rows_needed(0.01) == 500
    assert recall_at(tally(50, 500, 1.0), 0.01) is not None


def test_without_violations_there_is_no_recall_however_many_rows() -> None:
    found = recall_at(tally(0, 1_000, 1.0), 0.05)

    assert found is not None
    assert math.isnan(found.value)


@given(
    clean=st.lists(st.sampled_from([0.0, 0.2, 0.9, 1.0]) | st.floats(0, 1), min_size=20),
    found=st.lists(st.sampled_from([0.0, 0.2, 0.9, 1.0]) | st.floats(0, 1), min_size=1),
    rate=st.floats(0.25, 0.5),
)
def test_the_interval_holds_its_figure_and_stays_a_share(
    clean: list[float], found: list[float], rate: float
) -> None:
    label = np.repeat(np.array([1, 0], np.int8), (len(found), len(clean)))
    recall = recall_at(Tally.of(label, np.array(found + clean)), rate)

    assert recall is not None
    assert 0 <= recall.low <= recall.value <= recall.high <= 1
    assert recall.low < recall.high


def test_only_the_order_of_the_scores_counts() -> None:
    label, score = drawn(300, 6_000, 2.0)

    linear, steep = (Tally.of(label, given) for given in (score, np.exp(score)))
    assert recall_at(linear, 0.001) == recall_at(steep, 0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "violations", "clean", "truth"),
    [(0.001, 100, 5_000, 0.6), (0.001, 300, 10_000, 0.6), (0.01, 1_000, 1_000, 0.9)],
)
def test_the_interval_holds_the_truth_95_times_in_100(
    rate: float, violations: int, clean: int, truth: float
) -> None:
    normal, held = NormalDist(), 0
    apart = normal.inv_cdf(truth) - normal.inv_cdf(rate)
    for seed in range(1_500):
        found = recall_at(tally(violations, clean, apart, seed), rate)
        held += found is not None and found.low <= truth <= found.high

    assert held / 1_500 == pytest.approx(0.95, abs=0.017)  # 1 % and three errors of 1,500 draws
