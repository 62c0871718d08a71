"""From margins to violations and bands, on rows held out of training."""

from __future__ import annotations

import numpy as np
from linear import fitted
from scipy.stats import beta

PRIOR = 0.1
"""Violations are probabilities where this share of texts violates the policy."""
MOST_FALSE_BLOCKS = 0.002
LEAST_BENIGN = 10_000
NEVER = None


def platt(raw: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and shift of the log odds at PRIOR, from the labelled rows."""
    known = ~np.isnan(labels)
    raw, target, weight = raw[known], labels[known].astype(float), weights[known]
    positive = weight @ target
    share = target * PRIOR / positive + (1 - target) * (1 - PRIOR) / (weight @ (1 - target))
    slope, shift = fitted(raw[:, None], target, weight * share, ridge=1e-6)
    return float(slope[0]), shift


def upper_bound(wrong: int, of: int) -> float:
    """The exact one-sided 95 % bound of a share (Clopper and Pearson)."""
    return 1.0 if wrong >= of else float(beta.ppf(0.95, wrong + 1, of - wrong))


def block_threshold(benign: np.ndarray, *, at_least: float) -> float | None:
    """The lowest violation whose false alarms are few enough; None if that cannot be shown."""
    if len(benign) < LEAST_BENIGN:
        return NEVER
    for threshold in np.arange(at_least, 1.0, 0.01):
        if upper_bound(int((benign >= threshold).sum()), len(benign)) <= MOST_FALSE_BLOCKS:
            return round(float(threshold), 2)
    return NEVER
