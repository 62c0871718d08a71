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

from gemma_guard.evaluate.intervals import NOTHING, Interval, Z
from gemma_guard.evaluate.results import Numbers
from gemma_guard.evaluate.tally import Tally

ENOUGH_ALARMS = 5  # of a rate that is to be estimated, so many must be seen at least
_SLACK = 1e-9


def recall_at(tally: Tally, rate: float) -> Interval | None:
    """The recall of the lowest threshold with at most `rate` false alarms.

    None where fewer than five false alarms could be seen at that rate.
    """
    if tally.rows_of(0) < rows_needed(rate):
        return None
    return _Ranked.of(tally, rate).recall() if tally.rarer else NOTHING


def rows_needed(rate: float) -> int:
    """How many rows without a violation `recall_at` this rate asks for."""
    return math.ceil(ENOUGH_ALARMS / rate - _SLACK)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Every threshold that a row without a violation sets, the highest first.

    `alarms` such rows are at or above each, `above` violations are above it, of so many in all.
    """

    alarms: Numbers
    above: Numbers
    clean: int
    found: int
    rate: float

    @classmethod
    def of(cls, tally: Tally, rate: float) -> _Ranked:
        (found, hits), (clean, others) = tally.part(1), tally.part(0)
        upto = np.append(0, np.cumsum(hits))
        below = upto[np.searchsorted(found, clean[::-1], side="right")]
        return cls(np.cumsum(others[::-1]), upto[-1] - below, others.sum(), upto[-1], rate)

    def recall(self) -> Interval:
        value = self._above(int(self.rate * self.clean + _SLACK)) / self.found
        by_threshold = (self._caught(Z) - self._caught(-Z)) / self.found
        by_violations = self._share(0, Z) - self._share(0, -Z)
        both = math.hypot(by_threshold, by_violations)
        part = by_threshold / both, by_violations / both
        low, high = (self._share(side * part[0], side * part[1]) for side in (-Z, Z))
        return Interval(value, min(low, value), max(high, value))

    def _share(self, threshold: float, violations: float) -> float:
        """The recall, so many standard errors off in each respect."""
        caught = self._caught(threshold)
        return float(betaincinv(caught + 0.5, self.found - caught + 0.5, ndtr(violations)))

    def _caught(self, off: float) -> float:
        """How many violations lie above the threshold, `off` standard errors from its middle."""
        place = max(0.0, _place(float(ndtr(off)), self.clean, self.rate))
        left, beyond = int(place), place - int(place)
        return (1 - beyond) * self._above(left) + beyond * self._above(left + 1)

    def _above(self, place: int) -> int:
        """How many violations lie above the row without one at `place`, from the highest down."""
        among = int(np.searchsorted(self.alarms, place, side="right"))
        return int(self.above[min(among, len(self.above) - 1)])


def _place(chance: float, size: int, rate: float) -> float:
    """Among `size` scores from the highest down, the place above which the threshold lies.

    It does so with this `chance`. Between two scores by Nyblom (1992): in a tail the straight way
    from one to the next would lie too far out.
    """
    above = math.ceil(float(bdtrik(chance, size, rate)) - _SLACK)
    fewer = float(bdtr(above - 1, size, rate)) if above else 0.0
    within = (chance - fewer) / (float(bdtr(above, size, rate)) - fewer)
    next_one = (size - above) * rate / (1 - rate)
    way = within * next_one / (above * (1 - within) + within * next_one)
    return above + way - 1
