"""Which spans to remove, and what stands in their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from gemma_guard.conversation import Passage, Piece
from gemma_guard.jsontext import with_values
from gemma_guard.verdict import Edit, Place, Redaction, Span

JUDGED, POLICY = "[redacted: {policy}]", "{policy}"


@dataclass(frozen=True, slots=True)
class Cut:
    """A span to remove. `label` names what stood there; `numbered` tells equal texts apart.

    `policy` asks for it, and scored `before`.
    """

    span: Span
    label: str
    numbered: bool = True
    policy: str = ""
    before: float = 1.0


@dataclass(slots=True)
class Placeholders:
    """What stands in the place of a cut: the same for the same text, within one request.

    `judged` stands for what a judge flagged; `{policy}` in it is the name of the policy.
    """

    judged: str = JUDGED
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)
    _used: dict[str, int] = field(default_factory=dict)

    def of(self, cut: Cut, text: str) -> str:
        """`[EMAIL_1]` for what a pattern found, `[redacted: hate_speech]` for what was judged."""
        if not cut.numbered:
            return self.judged.replace(POLICY, cut.label)
        key = (cut.label, text)
        if key not in self._numbers:
            self._used[cut.label] = self._numbers[key] = self._used.get(cut.label, 0) + 1
        return _numbered(cut.label, self._numbers[key])

    def given(self) -> int:
        """How many texts have a number."""
        return len(self._numbers)

    def take_back(self, given: int, *, used: Collection[str]) -> None:
        """The numbers of texts that came after the first `given`, but for those `used`."""
        for label, text in reversed(list(self._numbers)[given:]):
            number = self._numbers[label, text]
            if number == self._used[label] and _numbered(label, number) not in used:
                del self._numbers[label, text]
                self._used[label] -= 1


def _numbered(label: str, number: int) -> str:
    return f"[{label.upper()}_{number}]"


@dataclass(frozen=True, slots=True)
class Redacted:
    """The texts as redacted, and what was taken out of them."""

    edits: tuple[Edit, ...] = ()
    redactions: tuple[Redaction, ...] = ()

    def scored(self, after: Callable[[Place, str], float]) -> Redacted:
        """With what each policy scores, now that it is out."""
        again = (replace(r, after=after(r.place, r.policy)) for r in self.redactions)
        return replace(self, redactions=tuple(again))


def redacted(
    source: Any, found: Iterable[tuple[Passage, Sequence[Cut]]], placeholders: Placeholders
) -> Redacted:
    """The texts of `source`, messages or a text, without any character of the cuts.

    A cut may cover several pieces of its passage, and several passages may cut the same text.
    """
    cut: dict[tuple[Place, int | None], _CutText] = {}
    for passage, cuts in found:
        for piece, inside in _by_piece(_pieces(passage), joined(cuts)):
            text = passage.text[piece.start : piece.end]
            at = cut.setdefault((piece.place, piece.leaf), _CutText(text, []))
            at.cuts.extend(inside)
    swaps = {at: swapped(c.text, c.cuts, placeholders) for at, c in cut.items()}
    new = {at: _text(cut[at].text, made) for at, made in swaps.items()}
    redactions = (
        Redaction(place, c.span, text, c.policy, c.before, math.nan)
        for (place, _), made in swaps.items()
        for c, text in made
    )
    return Redacted(tuple(_edits(source, new)), tuple(redactions))


def redact(text: str, cuts: Iterable[Cut], placeholders: Placeholders) -> str:
    """`text` with every character of every cut gone; cuts that overlap become one."""
    return _text(text, swapped(text, cuts, placeholders))


def swapped(text: str, cuts: Iterable[Cut], placeholders: Placeholders) -> list[tuple[Cut, str]]:
    """The cuts, in order and each place in one of them only, with what stands there instead."""
    return [
        (cut, placeholders.of(cut, text[cut.span.start : cut.span.end])) for cut in joined(cuts)
    ]


def joined(cuts: Iterable[Cut]) -> list[Cut]:
    """In order, those that overlap as one that is labelled like the first."""
    found: list[Cut] = []
    for cut in sorted(cuts, key=lambda cut: (cut.span.start, -cut.span.end)):
        if found and cut.span.start < found[-1].span.end:
            found[-1] = _over_both(found[-1], cut)
        else:
            found.append(cut)
    return found


def _text(text: str, swaps: Iterable[tuple[Cut, str]]) -> str:
    pieces, end = [], 0
    for cut, instead in swaps:
        pieces += [text[end : cut.span.start], instead]
        end = cut.span.end
    return "".join([*pieces, text[end:]])


def unreleased(cuts: Iterable[Cut], released: int) -> list[Cut]:
    """What is left of `cuts` behind the first `released` characters, which are out."""
    return [
        replace(cut, span=Span(max(cut.span.start, released), cut.span.end, cut.span.kind))
        for cut in cuts
        if cut.span.end > released
    ]


def places(passage: Passage) -> Iterable[Place]:
    """Where the text of `passage` stands."""
    return dict.fromkeys(piece.place for piece in _pieces(passage))


@dataclass(frozen=True, slots=True)
class _CutText:
    text: str
    cuts: list[Cut]


def _pieces(passage: Passage) -> tuple[Piece, ...]:
    if passage.pieces is None:
        return (Piece(0, len(passage.text), passage.place),)
    return passage.pieces


def _by_piece(pieces: Iterable[Piece], cuts: Sequence[Cut]) -> Iterator[tuple[Piece, list[Cut]]]:
    """The pieces that are cut, each with the parts of `cuts` in it, counted from its start.

    Both are in order and overlap nobody of their kind, so that one walk finds all.
    """
    first = 0
    for piece in pieces:
        while first < len(cuts) and cuts[first].span.end <= piece.start:
            first += 1
        inside = []
        for cut in islice(cuts, first, None):
            if cut.span.start >= piece.end:
                break
            inside.append(_within(piece, cut))
        if inside:
            yield piece, inside


def _within(piece: Piece, cut: Cut) -> Cut:
    start, end = max(cut.span.start, piece.start), min(cut.span.end, piece.end)
    return replace(cut, span=Span(start - piece.start, end - piece.start, cut.span.kind))


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


def _over_both(first: Cut, second: Cut) -> Cut:
    end = max(first.span.end, second.span.end)
    return replace(first, span=Span(first.span.start, end, first.span.kind))
