"""The forms of a text that are judged, and what was said of them as one answer about the text.

As written; with known tricks undone, where that changes it; and each of the two without the phrases
that exceptions name, where it has any. Of each two the worse counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from gemma_guard.decision import Heard
from gemma_guard.exemption import Phrases, blanked
from gemma_guard.text import Plain, plain
from gemma_guard.verdict import Score, Span


@dataclass(frozen=True, slots=True)
class Forms:
    """`texts` are what is asked: as written and undone, then both without each of `blanked`."""

    texts: tuple[str, ...] = field(repr=False)
    undone: Plain | None = None
    blanked: tuple[Phrases, ...] = ()


def forms_of(text: str, exempted: Collection[Phrases] = ()) -> Forms | None:
    """The forms of `text`; None where it is judged as written only, as most texts are.

    `exempted` are the phrases of each kind of rule.
    """
    undone = plain(text)
    if undone is None and not exempted:
        return None
    texts = (text,) if undone is None else (text, undone.text)
    without = {phrases: tuple([blanked(form, phrases) for form in texts]) for phrases in exempted}
    found = {phrases: forms for phrases, forms in without.items() if forms != texts}
    if undone is None and not found:
        return None
    return Forms(texts + tuple(chain(*found.values())), undone, tuple(found))


def heard_of(forms: Sequence[Forms | None], answer: Sequence[tuple[Score, ...]]) -> list[Heard]:
    """What was said of each text, from one row of scores for each of its forms, in order."""
    if len(answer) == len(forms):
        return list(map(Heard, answer))
    rows = iter(answer)
    return [
        _heard(form, [next(rows) for _ in form.texts]) if form else Heard(next(rows))
        for form in forms
    ]


def _heard(form: Forms, rows: Sequence[tuple[Score, ...]]) -> Heard:
    each = 1 if form.undone is None else 2
    scores, *without = [_worse(rows[i : i + each], form.undone) for i in range(0, len(rows), each)]
    return Heard(scores, blanked=dict(zip(form.blanked, without, strict=True)))


def _worse(rows: Sequence[tuple[Score, ...]], undone: Plain | None) -> tuple[Score, ...]:
    """Policy by policy the worse of both forms; places are those in the text as written."""
    if undone is None or len(rows) == 1:
        return rows[0]
    pairs = ((one, _placed(two, undone)) for one, two in zip(*rows, strict=True))
    return tuple(
        _held(one if one.violation >= two.violation else two, one, two) for one, two in pairs
    )


def _placed(score: Score, undone: Plain) -> Score:
    spans = tuple(_merged(sorted(map(undone.original, score.spans), key=lambda s: s.start)))
    window = undone.original(score.window) if score.window else None
    held = score.hold_from
    if held is not None:
        held = undone.original(Span(held, len(undone.text))).start
    return replace(score, spans=spans, window=window, hold_from=held)


def _held(worse: Score, *both: Score) -> Score:
    """`worse`, held from where the first of both is."""
    held = min((score.hold_from for score in both if score.hold_from is not None), default=None)
    return worse if held == worse.hold_from else replace(worse, hold_from=held)


def _merged(spans: Sequence[Span]) -> Iterator[Span]:
    """Spans that came from overlapping places as one."""
    held: Span | None = None
    for span in spans:
        if held and span.start < held.end:
            held = Span(held.start, max(held.end, span.end), held.kind)
            continue
        if held:
            yield held
        held = span
    if held:
        yield held
