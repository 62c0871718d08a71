"""Sentences and clauses of a text: spans that follow each other and leave nothing out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from gemma_guard.verdict import Span

LONGEST = 1000
"""Characters of a segment; a longer one is cut after its last space within them."""

_CLOSERS = "\"'\u2019\u201d\u00bb\u203a)\\]}*_\u300d\u300f\uff09\u3011\u300b\u3009"
_STOPS = ".!?\u2026\u203c\u2047-\u2049\u061f\u06d4\u1362\u1367\u0589\u037e"
_WIDE_STOPS = "\u3002\uff01\uff1f\uff61\u0964\u0965\u104b\u17d4"
_PAUSES, _WIDE_PAUSES = ",;:\u060c\u061b\u2013\u2014", "\u3001\uff0c\uff1b\uff1a\u104a"
_BLOCK = "```|~~~|[-*+\u2022\u2013>|][ \\t]|#{1,6}[ \\t]|\\d{1,3}[.)][ \\t]"

_ABBREVIATIONS_WRITTEN = (
    "mr mrs ms dr prof st sr jr vs etc e.g i.e cf al approx no nos fig vol pp p ed eds dept inc ltd"
    " co corp gen col lt sgt capt rev hon sen rep gov pres ave blvd rd jan feb mar apr jun jul aug"
    " sep sept oct nov dec z.b d.h u.a bzw usw ca nr str hr fr bd mme mlle ex sra dra av art tel"
    " \u0442.\u0435 \u0433 \u0443\u043b \u0438\u043c \u0440\u0438\u0441 \u0441\u0442\u0440"
)
_ABBREVIATIONS = frozenset(_ABBREVIATIONS_WRITTEN.split())
_LOOK_BACK = 24  # characters in which an abbreviation, a number or an initial must begin
_CLUSTER = 16  # characters that a hard cut steps back at most so as not to split one seen character


def sentences(text: str, *, longest: int = LONGEST) -> Iterator[Span]:
    """Each sentence with the white space after it; list items, headings and fences begin anew."""
    return _spans(text, longest, clauses=False)


def clauses(text: str, *, longest: int = LONGEST) -> Iterator[Span]:
    """Each clause: sentences, cut again after commas, colons, semicolons and dashes."""
    return _spans(text, longest, clauses=True)


def last_boundary(text: str, *, at_least: int = 1, longest: int = LONGEST) -> int:
    """Where the last complete sentence of a growing text ends; 0 where none ends at `at_least`.

    Complete is what the beginning of something else follows: at least one character after the
    white space, and for a sentence that is cut because it is too long, one more than `longest`.
    So whatever is appended, each boundary once told stays one, in `sentences` as well.
    """
    end = 0
    for boundary in _boundaries(text, longest, clauses=False):
        end = boundary
    return end if end >= at_least else 0


def _spans(text: str, longest: int, *, clauses: bool) -> Iterator[Span]:
    start = 0
    for end in _boundaries(text, longest, clauses=clauses):
        yield Span(start, end)
        start = end
    if start < len(text):
        yield Span(start, len(text))


def _boundaries(text: str, longest: int, *, clauses: bool) -> Iterator[int]:
    """Every boundary inside the text, which the text after it can no longer move."""
    if longest < _CLUSTER:
        raise ValueError(f"longest must be at least {_CLUSTER}, got {longest}")
    start = 0
    for end in _natural(text, clauses=clauses):
        yield from _cuts(text, start, end, longest)
        yield end
        start = end
    yield from _cuts(text, start, len(text), longest)


def _cuts(text: str, start: int, end: int, longest: int) -> Iterator[int]:
    """Cuts that leave no piece of `text[start:end]` longer than `longest`."""
    while end - start > longest:
        start = _cut(text, start, start + longest)
        yield start


def _cut(text: str, start: int, end: int) -> int:
    """After the last white space before `end`; without any, at `end`, between seen characters."""
    space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
    if space > start:
        return space + 1
    inside = (i for i in range(end, end - _CLUSTER, -1) if not _joins(text[i - 1], text[i]))
    return next(inside, end)


def _joins(before: str, after: str) -> bool:
    return (
        before == "\u200d" or after == "\u200d" or unicodedata.category(after) in {"Mn", "Mc", "Me"}
    )


@cache
def _ends(*, clauses: bool) -> re.Pattern[str]:
    """What ends a segment, up to the character that begins the next one."""
    ends = [
        f"(?<![{_STOPS}])(?P<stop>[{_STOPS}]++)[{_CLOSERS}]*+\\s++(?=\\S)",
        f"(?<![{_WIDE_STOPS}])[{_WIDE_STOPS}]++[{_CLOSERS}]*+\\s*+(?=\\S)",
        "\\n[ \\t\\r]*+\\n\\s*+(?=\\S)",
        f"\\n[ \\t]*+(?={_BLOCK})",
    ]
    if clauses:
        ends += [
            f"(?<![{_PAUSES}])[{_PAUSES}]++[{_CLOSERS}]*+\\s++(?=\\S)",
            f"(?<![{_WIDE_PAUSES}])[{_WIDE_PAUSES}]++\\s*+(?=\\S)",
        ]
    return re.compile("|".join(ends))


def _natural(text: str, *, clauses: bool) -> Iterator[int]:
    # White space at the very end ends nothing yet, and would be read again from each line of it.
    for found in _ends(clauses=clauses).finditer(text, 0, len(text.rstrip())):
        if not found["stop"] or _ends_sentence(text, found):
            yield found.end()


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    """A stop before a small letter, or after an abbreviation, initial or number, ends nothing."""
    if "\n" in found[0] and _begins_block(text, found):
        return True
    if text[found.end()].islower():
        return False
    if found["stop"] != "." or found.end("stop") - found.start() != 1:
        return True
    words = text[max(0, found.start() - _LOOK_BACK) : found.start()].split()
    word = words[-1].lstrip("(\"'\u201c\u201e\u00ab[") if words else ""
    return not _keeps_its_stop(word)


def _begins_block(text: str, found: re.Match[str]) -> bool:
    return found[0].count("\n") > 1 or bool(re.match(_BLOCK, text[found.end() : found.end() + 8]))


def _keeps_its_stop(word: str) -> bool:
    is_initial = len(word) == 1 and word.isalpha()
    is_numbering = word.isdigit() and len(word) <= 2  # noqa: PLR2004 - `1.`, `31. Dezember`
    is_dotted = "." in word and all(len(part) <= 1 for part in word.split("."))
    return is_initial or is_numbering or is_dotted or word.lower() in _ABBREVIATIONS
