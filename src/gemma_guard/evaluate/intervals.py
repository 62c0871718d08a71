"""How far a figure may be from the truth: intervals at 95 %."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959963984540054  # 97.5 % of the standard normal distribution
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the interval that covers the truth 95 times in 100; NaN where unknown."""

    value: float
    low: float
    high: float

    def scaled(self, by: float) -> Interval:
        """Each end times `by`, at least 0."""
        return Interval(self.value * by, self.low * by, self.high * by)


NOTHING = Interval(math.nan, math.nan, math.nan)


def wilson(share: float, size: float) -> Interval:
    """Wilson's score interval (1927) of a share observed on `size` cases."""
    if not size > 0:
        return NOTHING
    middle = (share + Z * Z / (2 * size)) / (1 + Z * Z / size)
    spread = math.sqrt(share * (1 - share) / size + Z * Z / (4 * size * size))
    half = Z * spread / (1 + Z * Z / size)
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def counted(hits: int, of: int) -> Interval:
    """The share `hits / of`."""
    return wilson(hits / of, of) if of else NOTHING


def effective(value: float, error: float, *, size: int) -> Interval:
    """Wilson's interval at the size at which a share would have the standard `error` of `value`.

    It stays inside [0, 1] and leans towards the middle, as the errors of areas under curves do;
    `size` stands in where the error is 0.
    """
    if math.isnan(value):
        return NOTHING
    if not 0 < value < 1 or error < _TINY:
        return wilson(value, size)
    return wilson(value, value * (1 - value) / (error * error))
