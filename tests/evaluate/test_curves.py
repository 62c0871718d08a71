"""The figures are scikit-learn's, and their intervals hold the truth as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from gemma_guard import Action
from gemma_guard.evaluate import curves
from gemma_guard.evaluate.intervals import Interval, counted
from gemma_guard.evaluate.measures import at_band, calibrated
from gemma_guard.evaluate.results import Codes, Floats
from gemma_guard.evaluate.tally import Tally

LABELLED = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(np.linspace(0, 1, 11).tolist()) | st.floats(0, 1)),
    min_size=2,
    max_size=60,
).filter(lambda rows: {label for label, _ in rows} == {0, 1})


def arrays(rows: list[tuple[int, float]]) -> tuple[Codes, Floats]:
    label, score = zip(*rows, strict=True)
    return np.array(label, np.int8), np.array(score, np.float64)


@given(rows=LABELLED, threshold=st.floats(0.01, 1))
def test_every_figure_is_what_scikit_learn_says(
    rows: list[tuple[int, float]], threshold: float
) -> None:
    label, score = arrays(rows)
    band = at_band(label, score >= threshold, Action.BLOCK)
    tally, in_bins = Tally.of(label, score), calibrated(label, score)
    best = curves.best_f1(tally)

    assert curves.au_prc(tally).value == average_precision_score(label, score)
    assert curves.auroc(tally).value == roc_auc_score(label, score)
    assert in_bins.brier == brier_score_loss(label, score)
    shares, means = calibration_curve(label, score, n_bins=10)
    assert in_bins.bins == tuple(zip(means, shares, strict=True))
    assert band.recall.value == recall_score(label, score >= threshold)
    if (score >= threshold).any():
        assert band.precision.value == precision_score(label, score >= threshold)
    assert best is not None
    assert best.value == pytest.approx(f1_score(label, score >= best.threshold))
    assert best.value >= f1_score(label, score >= threshold) - 1e-9


def test_calibration_of_more_rows_than_are_read_at_once_is_what_scikit_learn_says() -> None:
    draw = np.random.default_rng(5)
    label, score = (draw.random(20_000) < 0.3).astype(np.int8), draw.random(20_000) * 0.85
    found = calibrated(label, score)
    shares, means = calibration_curve(label, score, n_bins=10)

    assert found.brier == pytest.approx(brier_score_loss(label, score), rel=1e-12)
    assert np.allclose(found.bins, np.column_stack((means, shares)), rtol=1e-12, atol=0)
    assert len(found.bins) == 9


@given(rows=LABELLED)
def test_how_much_each_row_moves_the_areas_adds_up_to_nothing(
    rows: list[tuple[int, float]],
) -> None:
    tally = Tally.of(*arrays(rows))

    for moved in (curves.prc_influence(tally), curves.roc_influence(tally)):
        assert np.average(moved, weights=tally.rows) == pytest.approx(0, abs=1e-9)


def figure_coverage(
    figure: Callable[[Tally], Interval], truth: float, *, rows: int, share: float
) -> float:
    draw, held = np.random.default_rng(7), 0
    for _ in range(1_500):
        label = (draw.random(rows) < share).astype(np.int8)
        found = figure(Tally.of(label, draw.normal(size=rows) + 1.5 * label))
        held += found.low <= truth <= found.high
    return held / 1_500


@pytest.mark.slow
def test_the_intervals_of_areas_hold_the_truth_95_times_in_100() -> None:
    draw = np.random.default_rng(1)
    label = (draw.random(4_000_000) < 0.15).astype(np.int8)
    score = draw.normal(size=len(label)) + 1.5 * label
    for figure, truth in (
        (curves.au_prc, average_precision_score(label, score)),
        (curves.auroc, roc_auc_score(label, score)),
    ):
        held = figure_coverage(figure, float(truth), rows=1_000, share=0.15)
        assert held == pytest.approx(0.95, abs=0.017)  # 1 % and three errors of 1,500 draws


def test_the_intervals_of_shares_hold_the_truth_95_times_in_100_over_many_truths() -> None:
    draw = np.random.default_rng(2)
    truths, sizes = draw.uniform(0.01, 0.99, 20_000), draw.integers(100, 3_000, 20_000)
    hits = draw.binomial(sizes, truths)
    held = 0
    for truth, size, hit in zip(truths, sizes, hits, strict=True):
        found = counted(int(hit), int(size))
        held += found.low <= truth <= found.high

    assert held / 20_000 == pytest.approx(0.95, abs=0.01)
