"""Where, at the end of a text that goes on, something begins that may still become a match."""

from __future__ import annotations

from collections.abc import Iterable

import regex

from gemma_guard.scorers.allowance import Allowance, matches
from gemma_guard.scorers.finder import Finder

_TOUCHING = 3  # characters between two groups of digits of one number


def begins_at(text: str, finders: Iterable[Finder], allowance: Allowance) -> int | None:
    """The first place from which more text could make a match, or make one longer or none."""
    starts = (start for finder in finders for start in _starts(text, finder, allowance))
    return min(starts, default=None)


def _starts(text: str, finder: Finder, allowance: Allowance) -> Iterable[int]:
    for match in matches(finder.pattern, text, allowance, partial=True):
        if match.partial or _end(match) + _TOUCHING >= len(text):
            start = _start(match, finder)
            if start < len(text):
                yield start
            return


def _end(match: regex.Match[str]) -> int:
    """Where it ends, with what it looked at ahead."""
    return max(match.end(group) for group in range(match.re.groups + 1))


def _start(match: regex.Match[str], finder: Finder) -> int:
    """Where it begins, with what it looked at behind, or would have."""
    starts = (match.start(group) for group in range(match.re.groups + 1))
    start = min(start for start in starts if start >= 0)
    behind = finder.behind and finder.behind.search(match.string, max(0, start - 8), start)
    return behind.start() if behind else start
