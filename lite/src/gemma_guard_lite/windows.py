"""Where to look: sentences read alone, so that harm cannot drown in harmless company."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

LONGEST = 190
"""Word pieces the encoder reads at once."""
OVERLAP = 48
SPAN = 32
STEP = 16
WHOLE = 46
"""Up to this many pieces a text is also read as a whole."""
SHORTEST = 4
"""Sentences of fewer pieces are read with what follows."""

SHAPE = (LONGEST, OVERLAP, SPAN, STEP, WHOLE, SHORTEST)

Range = tuple[int, int]

_END = re.compile(r"[.!?…]+[\"'”\u2019)\]]*\s+|\n+|:\s+(?=[\"“'])")


def sentences(text: str, offsets: Sequence[Range]) -> list[Range]:
    """Token ranges that cover all tokens, cut after sentences, lines and before quotations."""
    cuts = iter([match.end() for match in _END.finditer(text)])
    cut, starts = next(cuts, len(text)), [0]
    for token, (begin, _) in enumerate(offsets):
        if begin >= cut and token - starts[-1] >= SHORTEST and len(offsets) - token >= SHORTEST:
            starts.append(token)
        while begin >= cut and cut < len(text):
            cut = next(cuts, len(text))
    return list(pairwise([*starts, len(offsets)]))


def windows(length: int, *, longest: int = LONGEST, overlap: int = OVERLAP) -> Iterator[Range]:
    """Ranges of at most `longest` that overlap and together cover [0, length)."""
    start = 0
    while start + longest < length:
        yield start, start + longest
        start += longest - overlap
    yield start, length


@cache
def spans(length: int) -> tuple[Range, ...]:
    """All of a window, then stretches of it where it is long."""
    stretches = range(0, length - STEP, STEP) if length > WHOLE else ()
    return (0, length), *((start, min(start + SPAN, length)) for start in stretches)


def units(text: str, offsets: Sequence[Range]) -> list[Range]:
    """What is read alone: every sentence, in windows if it is long; a short text also whole."""
    count = len(offsets)
    found = [
        (start + first, start + last)
        for start, end in sentences(text, offsets)
        for first, last in windows(end - start)
    ]
    return [(0, count), *found] if count <= WHOLE and len(found) > 1 else found
