"""Areas under curves with intervals, and the best F1: scikit-learn's figures.

The areas' standard errors come from their influence functions: how much each row moves them. For
AUROC that is DeLong's (1988); for AU-PRC, with a(s) and b(s) the shares of rows that are violations
at or above s and of all rows there, it is (y·a/b + y·H1 - H2 - A·y) / prevalence with H1 and H2 the
means of y/b and of y·a/b² over the scores at or below the row's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from gemma_guard.evaluate.intervals import NOTHING, Interval, effective
from gemma_guard.evaluate.results import Flags, Floats
from gemma_guard.evaluate.tally import Tally


@dataclass(frozen=True, slots=True)
class BestF1:
    """The best F1 of any threshold on these very rows: optimistic."""

    value: float
    threshold: float


def au_prc(tally: Tally) -> Interval:
    """Average precision."""
    if not tally.rarer:
        return NOTHING
    value = average_precision_score(tally.label, tally.score, sample_weight=tally.rows)
    error = tally.standard_error(prc_influence(tally))
    return effective(float(value), error, size=tally.rarer)


def auroc(tally: Tally) -> Interval:
    """The share of pairs, one violation and one row without, that the score puts in order."""
    if not tally.rarer:
        return NOTHING
    value = roc_auc_score(tally.label, tally.score, sample_weight=tally.rows)
    error = tally.standard_error(roc_influence(tally))
    return effective(float(value), error, size=tally.rarer)


def best_f1(tally: Tally) -> BestF1 | None:
    """None where there is nothing to find."""
    if not tally.rarer:
        return None
    precision, recall, thresholds = precision_recall_curve(
        tally.label, tally.score, sample_weight=tally.rows
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(thresholds[best]))


def prc_influence(tally: Tally) -> Floats:
    """How much each row moves the average precision, by the formula above."""
    label = tally.label
    values, place = np.unique(-tally.score, return_inverse=True)
    rows = np.bincount(place, weights=tally.rows, minlength=len(values))
    hits = np.bincount(place, weights=label * tally.rows, minlength=len(values))
    size = tally.rows.sum()
    prevalence = hits.sum() / size
    a, b = np.cumsum(hits) / size, np.cumsum(rows) / size
    area = float((hits * a / b).sum() / size / prevalence)
    h1 = np.cumsum((hits / b)[::-1])[::-1] / size
    h2 = np.cumsum((hits * a / b**2)[::-1])[::-1] / size
    moved: Floats = (label * ((a / b)[place] + h1[place] - area) - h2[place]) / prevalence
    return moved


def roc_influence(tally: Tally) -> Floats:
    """How much each row moves the area under the ROC curve."""
    is_found = tally.label == 1
    moved = np.empty(len(tally.label))
    beaten = _rank(tally, ~is_found, tally.score[is_found])
    beating = 1 - _rank(tally, is_found, tally.score[~is_found])
    hits, others = tally.rows[is_found], tally.rows[~is_found]
    prevalence = hits.sum() / tally.rows.sum()
    moved[is_found] = (beaten - np.average(beaten, weights=hits)) / prevalence
    moved[~is_found] = (beating - np.average(beating, weights=others)) / (1 - prevalence)
    return moved


def _rank(tally: Tally, among: Flags, scores: Floats) -> Floats:
    """The share of the rows `among` the tally below each score; ties count half."""
    ascending, upto = tally.score[among], np.append(0, np.cumsum(tally.rows[among]))
    left = upto[np.searchsorted(ascending, scores, side="left")]
    right = upto[np.searchsorted(ascending, scores, side="right")]
    share: Floats = (left + right) / 2 / upto[-1]
    return share
