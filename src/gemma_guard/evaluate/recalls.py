"""The recall at few false alarms, with its interval.

Two things are uncertain, and neither knows of the other: where the threshold with that rate lies
among the rows without a violation, and how many violations lie above it. How many such rows are
above it is binomial, whatever the scores are; of violations the share above a known threshold has
Jeffreys' interval (Brown, Cai and DasGupta 2001). Each end of the interval takes both to the same
side at once, each as far as its part in the spread of both: as far as two independent errors go
together 95 times in 100. Nothing is drawn, and only the order of the scores counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, bdtrik, betaincinv, ndtr

from gemma_guard.evaluate.intervals import NOTHING, Z, Interval
from gemma_guard.evaluate.results import Codes, Floats

ENOUGH_ALARMS = 5  # of a rate that is to be estimated, so many must be seen at least
_SLACK = 1e-9


def recall_at(label: Codes, score: Floats, rate: float) -> Interval | None:
    """The recall of the lowest threshold with at most `rate` false alarms.

    None where fewer than five false alarms could be seen at that rate.
    """
    found, clean = score[label == 1], score[label == 0]
    if len(clean) < rows_needed(rate):
        return None
    if not len(found):
        return NOTHING
    found.sort()
    clean.sort()
    return _Ranked(found, clean, rate).recall()


def rows_needed(rate: float) -> int:
    """How many rows without a violation `recall_at` this rate asks for."""
    return math.ceil(ENOUGH_ALARMS / rate - _SLACK)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Scores of violations and of rows without one, ascending; the rate of false alarms."""

    found: Floats
    clean: Floats
    rate: float

    def recall(self) -> Interval:
        value = self._above(int(self.rate * len(self.clean) + _SLACK)) / len(self.found)
        by_threshold = self._caught(Z) - self._caught(-Z)
        by_violations = self._share(0, Z) - self._share(0, -Z)
        both = math.hypot(by_threshold / len(self.found), by_violations)
        part = by_threshold / len(self.found) / both, by_violations / both
        low, high = (self._share(side * part[0], side * part[1]) for side in (-Z, Z))
        return Interval(value, min(low, value), max(high, value))

    def _share(self, threshold: float, violations: float) -> float:
        """The recall, so many standard errors off in each respect."""
        caught, size = self._caught(threshold), len(self.found)
        return float(betaincinv(caught + 0.5, size - caught + 0.5, ndtr(violations)))

    def _caught(self, off: float) -> float:
        """How many violations lie above the threshold, `off` standard errors from its middle."""
        place = max(0.0, _place(float(ndtr(off)), len(self.clean), self.rate))
        left, beyond = int(place), place - int(place)
        return (1 - beyond) * self._above(left) + beyond * self._above(left + 1)

    def _above(self, place: int) -> int:
        """How many violations lie above the clean score at `place`, from the highest down."""
        threshold = self.clean[max(0, len(self.clean) - 1 - place)]
        return len(self.found) - int(np.searchsorted(self.found, threshold, side="right"))


def _place(chance: float, size: int, rate: float) -> float:
    """Where, among `size` scores from the highest down, with this `chance` the threshold is lower.

    Between two scores by Nyblom (1992): in a tail the straight way from one to the next would lie
    too far out.
    """
    above = math.ceil(bdtrik(chance, size, rate) - _SLACK)
    fewer = float(bdtr(above - 1, size, rate)) if above else 0.0
    within = (chance - fewer) / (float(bdtr(above, size, rate)) - fewer)
    next_one = (size - above) * rate / (1 - rate)
    way = within * next_one / (above * (1 - within) + within * next_one)
    return above + way - 1
