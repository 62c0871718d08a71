"""Which part of a text to take out, where a judge says how bad the whole is and not where.

Sentences are weighed alone and left out; the fewest whose absence brings the text down go, and of
those only the clauses that have to. Every set that is told was scored with its placeholders in
place.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from gemma_guard.redaction import Cut, Placeholders, redact
from gemma_guard.segments import clauses, sentences
from gemma_guard.verdict import Span

MARGIN = 0.9
"""What is left must score below this part of its redact band."""
MOST_SEGMENTS = 32
"""Of one kind in one text: more are weighed several at a time."""

Weights: TypeAlias = Mapping[str, float]
"""What each policy scores, as a part of what it may: a text passes where all are below 1."""
Search: TypeAlias = Generator[list[str], list[Weights], tuple[Cut, ...] | None]
"""Yields texts to weigh, all at once, is sent their weights; returns the cuts, None if none do."""


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A policy to redact for whose place is not known: what it scored, and its redact band."""

    policy: str
    violation: float
    band: float

    def weight(self, violation: float) -> float:
        """`violation` as a part of what may be left."""
        return violation / (self.band * MARGIN)


def search(
    text: str, unplaced: Sequence[Unplaced], *, released: int, placeholders: Placeholders
) -> Search:
    """The cuts that bring `text` down for all of `unplaced`, the `released` characters untouched.

    Not below clauses: a judge can be brought to pass a text by taking single words out of it, and
    what it said would still be said.
    """
    text_ = _Text(text, {each.policy: each for each in unplaced}, placeholders)
    found = yield from _fewest(text_, _segments(text, sentences, released))
    if found is None:
        return None
    finer = [part for cut in found for part in _parts(text, cut.span)]
    if len(finer) == len(found):
        return found
    return (yield from _fewest(text_, _grouped(finer))) or found


@dataclass(frozen=True, slots=True)
class _Text:
    text: str = field(repr=False)
    unplaced: Mapping[str, Unplaced]
    placeholders: Placeholders

    def cut(self, segments: Iterable[Span], weights: Mapping[Span, Weights]) -> tuple[Cut, ...]:
        """Cuts of `segments`, neighbours as one; each is named for what weighs most in it."""
        cuts: list[Cut] = []
        for segment in sorted(segments, key=lambda segment: segment.start):
            policy = max(weights[segment], key=weights[segment].__getitem__)
            if cuts and not self.text[cuts[-1].span.end : segment.start].strip():
                span = Span(cuts[-1].span.start, segment.end)
                cuts[-1] = replace(cuts[-1], span=span)
            else:
                before = self.unplaced[policy].violation
                cuts.append(Cut(segment, policy, numbered=False, policy=policy, before=before))
        return tuple(cuts)

    def without(self, cuts: Iterable[Cut]) -> str:
        return redact(self.text, cuts, self.placeholders)


def _fewest(
    text: _Text, segments: Sequence[Span]
) -> Generator[list[str], list[Weights], tuple[Cut, ...] | None]:
    """The fewest of `segments` found whose absence brings the text down; None if none does."""
    alone = [text.text[segment.start : segment.end] for segment in segments]
    whole = {policy: each.weight(each.violation) for policy, each in text.unplaced.items()}
    named = dict.fromkeys(segments, whole)
    if not segments:
        return None
    weighed = yield alone + [text.without(text.cut([s], named)) for s in segments]
    weights = dict(zip(segments, weighed, strict=False))
    left = dict(zip(segments, weighed[len(segments) :], strict=True))
    order = sorted(segments, key=lambda s: _heaviest(left[s]) - _heaviest(weights[s]))
    growing = [order[: n + 1] for n in range(len(order))]
    kept = yield from _first_to_pass(text, growing, weights)
    if kept is None:
        return None
    if len(kept) > 1:
        kept = yield from _spared(text, kept, weights)
    return text.cut(kept, weights)


def _spared(
    text: _Text, kept: Sequence[Span], weights: Mapping[Span, Weights]
) -> Generator[list[str], list[Weights], Sequence[Span]]:
    """`kept` without those that need not go, the lightest first."""
    without = [[other for other in kept if other is not each] for each in kept]
    weighed = yield [text.without(text.cut(rest, weights)) for rest in without]
    spare = [each for each, w in zip(kept, weighed, strict=True) if _passes(w)]
    spare.sort(key=lambda s: _heaviest(weights[s]))
    shrinking = [[k for k in kept if k not in spare[:n]] for n in range(len(spare), 0, -1)]
    return (yield from _first_to_pass(text, shrinking, weights)) or kept


def _first_to_pass(
    text: _Text, choices: Sequence[Sequence[Span]], weights: Mapping[Span, Weights]
) -> Generator[list[str], list[Weights], Sequence[Span] | None]:
    weighed = yield [text.without(text.cut(choice, weights)) for choice in choices]
    found = (choice for choice, w in zip(choices, weighed, strict=True) if _passes(w))
    return next(found, None)


def _passes(weights: Weights) -> bool:
    return _heaviest(weights) < 1


def _heaviest(weights: Weights) -> float:
    return max(weights.values())


def _segments(text: str, cut: Callable[[str], Iterator[Span]], released: int) -> Sequence[Span]:
    """The segments of what can still be redacted, white space around them left out."""
    clipped = (Span(max(s.start, released), s.end) for s in cut(text) if s.end > released)
    return _grouped([span for s in clipped if (span := _trimmed(text, s))])


def _parts(text: str, span: Span) -> Iterator[Span]:
    """The clauses of a part of a text."""
    inside = text[span.start : span.end]
    for clause in clauses(inside):
        found = Span(span.start + clause.start, span.start + clause.end)
        if trimmed := _trimmed(text, found):
            yield trimmed


def _trimmed(text: str, span: Span) -> Span | None:
    inside = text[span.start : span.end]
    start = span.start + len(inside) - len(inside.lstrip())
    end = span.end - len(inside) + len(inside.rstrip())
    return Span(start, end) if start < end else None


def _grouped(segments: Sequence[Span]) -> Sequence[Span]:
    """At most `MOST_SEGMENTS`, neighbours together."""
    size = -(-len(segments) // MOST_SEGMENTS) or 1
    groups = [segments[i : i + size] for i in range(0, len(segments), size)]
    return [Span(group[0].start, group[-1].end) for group in groups]
