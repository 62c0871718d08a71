"""Thresholds that keep a promise on average over rows drawn like those they were chosen by.

Split conformal prediction (Vovk et al. 2005): of n + 1 exchangeable scores, the new one is below
the k-th smallest of the others with a probability of at most k / (n + 1). The promise is marginal:
on average over the rows chosen by and the next one. It is not made for each kind of text, nor for
texts of another kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gemma_guard.evaluate.results import Floats

_SLACK = 1e-9  # 0.05 * 20 is not quite 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Any threshold `low < t <= high` treats the rows it was chosen by alike; both in [0, 1]."""

    low: float
    high: float


class TooFew(Exception):
    """The promise needs so many more rows."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing:,} more are needed")
        self.missing = missing


def missing_at_most(found: Floats, rate: float) -> Gap:
    """Thresholds that miss a violation with a probability of at most `rate`.

    `found` are the scores of violations. Raises `TooFew`.
    """
    rank = math.floor(rate * (len(found) + 1) + _SLACK)
    if rank < 1:
        raise TooFew(_needed(rate) - len(found))
    ascending = np.sort(found)
    return _below(ascending, float(ascending[rank - 1]))


def alarms_at_most(clean: Floats, found: Floats, rate: float) -> Gap | None:
    """Thresholds that flag a row without a violation with a probability of at most `rate`.

    `clean` are the scores of such rows, `found` those of violations. None where no threshold does,
    because even the worst score is too common. Raises `TooFew`.
    """
    allowed = math.floor(rate * (len(clean) + 1) + _SLACK)
    if allowed < 1:
        raise TooFew(_needed(rate) - len(clean))
    passed = float(np.sort(clean)[::-1][allowed - 1])
    harder = [s[s > passed].min() for s in (clean, found) if (s > passed).any()]
    if passed >= 1:
        return None
    return Gap(passed, float(min(harder, default=1.0)))


def shortest(gap: Gap) -> float:
    """The threshold in `gap` with the fewest decimals."""
    for digits in range(1, 17):
        scale = 10.0**digits
        threshold = math.floor(gap.high * scale + _SLACK) / scale
        if gap.low < threshold <= gap.high:
            return threshold
    return gap.high


def _needed(rate: float) -> int:
    return math.ceil(1 / rate - _SLACK) - 1


def _below(ascending: Floats, score: float) -> Gap:
    lower = ascending[ascending < score]
    return Gap(float(lower[-1]) if len(lower) else 0.0, score)
