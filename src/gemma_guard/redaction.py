"""Which spans to remove, and what stands in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_guard.conversation import Passage, Piece
from gemma_guard.jsontext import with_values
from gemma_guard.verdict import Edit, Place, Span


@dataclass(frozen=True, slots=True)
class Cut:
    """A span to remove. `label` names what stood there; `numbered` tells equal texts apart."""

    span: Span
    label: str
    numbered: bool = True


@dataclass(slots=True)
class Placeholders:
    """What stands in the place of a cut: the same for the same text, within one request."""

    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=dict)

    def of(self, cut: Cut, text: str) -> str:
        """`[EMAIL_1]` for what a pattern found, `[redacted: hate_speech]` for what was judged."""
        if not cut.numbered:
            return f"[redacted: {cut.label}]"
        key = (cut.label, text)
        if key not in self._numbers:
            self._used[cut.label] = self._numbers[key] = self._used.get(cut.label, 0) + 1
        return f"[{cut.label.upper()}_{self._numbers[key]}]"


def edits(source: Any, found: Iterable[tuple[Passage, Sequence[Cut]]]) -> tuple[Edit, ...]:
    """The texts of `source`, messages or a text, without any character of the cuts.

    A cut may cover several pieces of its passage, and several passages may cut the same text.
    """
    cut: dict[tuple[Place, int | None], _CutText] = {}
    for passage, cuts in found:
        for piece in _pieces(passage):
            text = passage.text[piece.start : piece.end]
            at = cut.setdefault((piece.place, piece.leaf), _CutText(text, []))
            at.cuts.extend(_within(piece, cuts))
    placeholders = Placeholders()
    new = {at: redact(c.text, c.cuts, placeholders) for at, c in cut.items() if c.cuts}
    return tuple(_edits(source, new))


def redact(text: str, cuts: Iterable[Cut], placeholders: Placeholders) -> str:
    """`text` with every character of every cut gone; cuts that overlap become one."""
    pieces, end = [], 0
    for cut in _joined(cuts):
        found = text[cut.span.start : cut.span.end]
        pieces += [text[end : cut.span.start], placeholders.of(cut, found)]
        end = cut.span.end
    return "".join([*pieces, text[end:]])


@dataclass(frozen=True, slots=True)
class _CutText:
    text: str
    cuts: list[Cut]


def _pieces(passage: Passage) -> tuple[Piece, ...]:
    if passage.pieces is None:
        return (Piece(0, len(passage.text), passage.place),)
    return passage.pieces


def _within(piece: Piece, cuts: Iterable[Cut]) -> Iterator[Cut]:
    """The parts of `cuts` that lie in `piece`, counted from its start."""
    for cut in cuts:
        start, end = max(cut.span.start, piece.start), min(cut.span.end, piece.end)
        if start < end:
            span = Span(start - piece.start, end - piece.start, cut.span.kind)
            yield Cut(span, cut.label, cut.numbered)


def _edits(source: Any, new: Mapping[tuple[Place, int | None], str]) -> Iterator[Edit]:
    """One edit per place; the leaves of one JSON text are written into it together."""
    leaves: dict[Place, dict[int, str]] = {}
    for (place, leaf), text in new.items():
        if leaf is None:
            yield Edit(place, text)
        else:
            leaves.setdefault(place, {})[leaf] = text
    for place, values in leaves.items():
        yield Edit(place, with_values(_at(source, place), values))


def _at(source: Any, place: Place) -> str:
    for step in place:
        source = source[step]
    return str(source)


def _joined(cuts: Iterable[Cut]) -> list[Cut]:
    joined: list[Cut] = []
    for cut in sorted(cuts, key=lambda cut: (cut.span.start, -cut.span.end)):
        if joined and cut.span.start < joined[-1].span.end:
            joined[-1] = _over_both(joined[-1], cut)
        else:
            joined.append(cut)
    return joined


def _over_both(first: Cut, second: Cut) -> Cut:
    end = max(first.span.end, second.span.end)
    return Cut(Span(first.span.start, end, first.span.kind), first.label, first.numbered)
