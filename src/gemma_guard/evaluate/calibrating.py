"""Margins and labels → a map to probabilities, by Platt's method."""

from __future__ import annotations

import math

import numpy as np
from sklearn.linear_model import LogisticRegression

from gemma_guard.calibration import Platt
from gemma_guard.errors import UsageError
from gemma_guard.evaluate.results import Codes, Floats

_FURTHEST = 40.0  # where a probability of 0 or 1 has no finite margin


def margins(violation: Floats, margin: Floats) -> Floats:
    """The margin of each row, from its violation where the judge says none."""
    with np.errstate(divide="ignore"):
        own = np.log(violation) - np.log1p(-violation)
    known: Floats = np.where(np.isnan(margin), own, margin)
    return np.clip(known, -_FURTHEST, _FURTHEST)


def fit(label: Codes, margin: Floats, *, prior: float) -> Platt:
    """The map that makes these labels likeliest (Platt 1999), for traffic of another share.

    Labels are pulled a little towards the middle, as Platt does, so that rows that are told apart
    without fault still give a finite slope. Raises `UsageError` where the margin does not rise with
    the label.
    """
    found, clean = int((label == 1).sum()), int((label == 0).sum())
    wish = np.where(label == 1, (found + 1) / (found + 2), 1 / (clean + 2))
    twice, weights = np.concatenate([margin, margin])[:, None], np.concatenate([wish, 1 - wish])
    model = LogisticRegression(C=np.inf, max_iter=1_000)
    model.fit(twice, np.repeat([1, 0], len(label)), sample_weight=weights)
    slope, bias = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        raise UsageError("its scores do not rise with the labels")
    return Platt(round(slope, 6), round(bias + _logit(prior) - _logit(found / len(label)), 6))


def probabilities(margin: Floats, given: Platt) -> Floats:
    """What a guard with this map says of each row."""
    return np.array([given.probability(each) for each in margin])


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
