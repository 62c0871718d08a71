"""Figures as words, the same on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gemma_guard.evaluate.intervals import Interval

NONE = "–"


def share(interval: Interval) -> str:
    """`73.9 % (68–79)`."""
    if math.isnan(interval.value):
        return NONE
    return f"{_percent(interval.value)} % ({_end(interval.low)}–{_end(interval.high)})"


def area(interval: Interval) -> str:
    """`0.747 (0.69–0.80)`."""
    if math.isnan(interval.value):
        return NONE
    return f"{interval.value:.3f} ({interval.low:.2f}–{interval.high:.2f})"


def count(interval: Interval) -> str:
    """`12.6 (9.1–18)`, of 10,000."""
    if math.isnan(interval.value):
        return NONE
    low, high = _end(interval.low / 100), _end(interval.high / 100)
    return f"{interval.value:,.1f} ({low}–{high})"


def difference(interval: Interval) -> str:
    """`+0.043 (+0.028 to +0.058)`."""
    if math.isnan(interval.value):
        return NONE
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def gathered(unvalidated: Iterable[str]) -> str:
    """`judge: hate_speech at input`, `judge: hate_speech at output`, ... with the judge once."""
    by_judge: dict[str, dict[str, list[str]]] = {}
    for each in unvalidated:
        judge, _, about = each.partition(": ")
        policy, _, stage = about.rpartition(" at ")
        by_judge.setdefault(judge, {}).setdefault(policy, []).append(stage)
    return "; ".join(
        f"{judge}: " + ", ".join(f"{name} ({' and '.join(at)})" for name, at in policies.items())
        for judge, policies in by_judge.items()
    )


def percent(rate: float) -> str:
    """`0.1 %`."""
    return f"{rate * 100:g} %"


def _percent(value: float) -> str:
    """Two digits after the point where one would hide the difference between few and none."""
    return f"{value * 100:.2f}" if 0 < value < 0.01 else f"{value * 100:.1f}"  # noqa: PLR2004


def _end(value: float) -> str:
    """The end of an interval: two digits say enough."""
    percent = value * 100
    return f"{percent:,.0f}" if percent >= 9.95 or not percent else f"{percent:.2g}"  # noqa: PLR2004
