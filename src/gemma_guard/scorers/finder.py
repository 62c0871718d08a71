"""One thing to look for in a text: the shape, then a check of what the shape cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import regex

Place: TypeAlias = tuple[int, int]


def whole(match: regex.Match[str]) -> Iterable[Place]:
    """The match as it is."""
    return (match.span(),)


@dataclass(frozen=True, slots=True)
class Finder:
    """`places` says where in a match of `pattern` the thing is, if it is there at all.

    A text without the literal `needs` is not searched. Where numbers may follow one another, the
    pattern captures what lies ahead as group 1 and consumes only the first group of digits, so that
    no number hides behind another. `behind` is what a match may look back at before its start.
    """

    kind: str
    pattern: regex.Pattern[str]
    places: Callable[[regex.Match[str]], Iterable[Place]] = whole
    needs: str = ""
    behind: regex.Pattern[str] | None = None
