"""Areas under curves, recall at few false alarms, best F1: scikit-learn's figures, with intervals.

The areas' standard errors come from their influence functions: how much each row moves them. For
AUROC that is DeLong's (1988); for AU-PRC, with a(s) and b(s) the shares of rows that are violations
at or above s and of all rows there, it is (y·a/b + y·H1 - H2 - A·y) / prevalence with H1 and H2 the
means of y/b and of y·a/b² over the scores at or below the row's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from gemma_guard.evaluate.intervals import NOTHING, Interval, effective
from gemma_guard.evaluate.results import Codes, Flags, Floats, Numbers

DRAWS = 1_000
ENOUGH_ALARMS = 5  # of a rate that is to be estimated, so many must be seen at least


@dataclass(frozen=True, slots=True)
class BestF1:
    """The best F1 of any threshold on these very rows: optimistic."""

    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of the same label and score once, with how many they are: often far fewer."""

    label: Codes
    score: Floats
    rows: Numbers

    @classmethod
    def of(cls, label: Codes, score: Floats) -> Tally:
        """The figures of a tally are those of its rows."""
        found, hits = np.unique(score[label == 1], return_counts=True)
        clean, others = np.unique(score[label == 0], return_counts=True)
        labels = np.repeat(np.array([1, 0], np.int8), (len(found), len(clean)))
        return cls(labels, np.concatenate((found, clean)), np.concatenate((hits, others)))

    def standard_error(self, influence: Floats) -> float:
        """Of a figure that each row moves by its `influence`."""
        apart = influence - np.average(influence, weights=self.rows)
        variance = np.average(apart * apart, weights=self.rows)
        return math.sqrt(variance / self.rows.sum())


def has_both(label: Codes) -> bool:
    """Whether there are violations and rows without one."""
    return bool((label == 1).any() and (label == 0).any())


def au_prc(label: Codes, score: Floats) -> Interval:
    """Average precision."""
    if not has_both(label):
        return NOTHING
    tally = Tally.of(label, score)
    value = average_precision_score(tally.label, tally.score, sample_weight=tally.rows)
    error = tally.standard_error(prc_influence(tally))
    return effective(float(value), error, size=_rarer(label))


def auroc(label: Codes, score: Floats) -> Interval:
    """The share of pairs, one violation and one row without, that the score puts in order."""
    if not has_both(label):
        return NOTHING
    tally = Tally.of(label, score)
    value = roc_auc_score(tally.label, tally.score, sample_weight=tally.rows)
    error = tally.standard_error(roc_influence(tally))
    return effective(float(value), error, size=_rarer(label))


def _rarer(label: Codes) -> int:
    return int(min((label == 1).sum(), (label == 0).sum()))


def best_f1(label: Codes, score: Floats) -> BestF1 | None:
    """None where there is nothing to find."""
    if not has_both(label):
        return None
    tally = Tally.of(label, score)
    precision, recall, thresholds = precision_recall_curve(
        tally.label, tally.score, sample_weight=tally.rows
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(thresholds[best]))


def recall_at(label: Codes, score: Floats, rate: float) -> Interval | None:
    """The recall of the lowest threshold with at most `rate` false alarms.

    None where fewer than five false alarms could be seen at that rate. The interval draws the true
    threshold and the recall there. How many rows without a violation lie above the true threshold
    is binomial, whatever the scores are, so its place among them is known; the recall is Jeffreys'
    (Brown, Cai and DasGupta 2001). What `_steadied` takes out would be counted twice. Where so few
    false alarms are seen that five to ten decide, it holds the truth 96 to 97 times in 100.
    """
    found, clean = np.sort(score[label == 1]), np.sort(score[label == 0])[::-1]
    if not len(found) or rate * len(clean) < ENOUGH_ALARMS:
        return None
    allowed = min(int(rate * len(clean) + 1e-9), len(clean) - 1)
    draw, size = np.random.default_rng(0), len(found)
    places = draw.binomial(len(clean), rate, DRAWS) + draw.random(DRAWS) - 1
    recalls = _above(found, _between(clean, places))
    caught = _steadied(recalls, size) * size
    low, high = np.quantile(draw.beta(caught + 0.5, size - caught + 0.5), (0.025, 0.975))
    value = float(_above(found, clean[allowed : allowed + 1])[0])
    return Interval(value, min(float(low), value), max(float(high), value))


def _steadied(recalls: Floats, size: int) -> Floats:
    """`recalls` nearer to their mean, by how much chance alone parts two of them.

    Between two thresholds lie a share d of the violations, give or take the square root of
    d(1 - d) / `size`; on average over pairs of draws, half of that is in their variance.
    """
    apart = np.abs(recalls - np.roll(recalls, 1))
    by_chance = float((apart * (1 - apart)).mean()) / 2 / size
    variance, middle = float(recalls.var()), recalls.mean()
    if variance <= by_chance:
        return np.full_like(recalls, middle)
    steadied: Floats = middle + math.sqrt(1 - by_chance / variance) * (recalls - middle)
    return steadied


def rows_needed(rate: float) -> int:
    """How many rows without a violation `recall_at` this rate asks for."""
    return math.ceil(ENOUGH_ALARMS / rate)


def _above(ascending: Floats, thresholds: Floats) -> Floats:
    below = np.searchsorted(ascending, thresholds, side="right")
    share: Floats = (len(ascending) - below) / len(ascending)
    return share


def _between(values: Floats, places: Floats) -> Floats:
    """`values` at `places` between them, the nearest end beyond."""
    inside = np.clip(places, 0, len(values) - 1)
    left = inside.astype(np.int64)
    right = np.minimum(left + 1, len(values) - 1)
    found: Floats = values[left] + (values[right] - values[left]) * (inside - left)
    return found


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
