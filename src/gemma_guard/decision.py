"""Scores and gaps on a route → findings and actions; nothing is asked or enforced here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from gemma_guard.conversation import Passage, Piece, Reading
from gemma_guard.errors import Cause
from gemma_guard.exemption import Exemption, Phrases, blanked, phrases_of
from gemma_guard.locating import Unplaced
from gemma_guard.policy import Bands
from gemma_guard.redaction import Cut
from gemma_guard.route import Route, Rule
from gemma_guard.verdict import Action, Finding, Gap, Score, Span, Stage

MAX_TEXTS = 5_000  # of one request; each has findings, gaps and a place in the record


class Heard(NamedTuple):  # one per passage and scorer; see Passage
    """What a scorer said of one passage; `instead` if it is the route's fallback.

    `blanked` is what it said without the phrases that exceptions name, by phrases; those only that
    are there.
    """

    scores: tuple[Score, ...]
    instead: bool = False
    blanked: Mapping[Phrases, tuple[Score, ...]] = MappingProxyType({})


Answers: TypeAlias = Sequence[Heard | None]
"""What each scorer of a plan said of one passage; None where nobody could answer."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What the rules of a stage make of one passage."""

    action: Action
    findings: tuple[Finding, ...]
    cuts: tuple[Cut, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()

    def with_cuts(self, found: Iterable[Cut]) -> Decided:
        """The same, now that the places of what was `unplaced` are known."""
        return replace(self, cuts=(*self.cuts, *found), unplaced=())


_NOTHING = Decided(Action.ALLOW, ())


def decide(route: Route, stage: Stage, answers: Answers, passage: Passage) -> Decided:
    """The maximum over the rules of `stage`.

    What is to be redacted where a scorer knows no span is `unplaced`. A passage of the history that
    would be blocked is taken out whole instead, so that the chat can go on, unless `route` says
    otherwise.
    """
    found: list[_Found] = []
    for rule, bands, ask, place in route.plans[stage].rules:
        heard = answers[ask]
        if heard is None:
            continue
        if heard.instead:
            bands = route.fallback_bands(rule, stage) or bands  # noqa: PLW2901
        score = heard.scores[place]
        if score.violation >= bands.lowest:
            action, threshold = bands.judge(score.violation)
            one = _Found(rule, score, action, threshold, f"{rule.key(stage)}.{action}")
            without = {phrases: scores[place] for phrases, scores in heard.blanked.items()}
            found += _exempted(one, bands, passage.text, route, without)
    if not found:
        return _NOTHING
    if passage.is_newest or route.history == "block":
        decided = _decided([(each.finding(passage), each.cuts()) for each in found])
        unplaced = tuple([each.unplaced() for each in found if each.is_unplaced])
        return replace(decided, unplaced=unplaced) if unplaced else decided
    return _decided([each.taken_out(passage) for each in found])


@dataclass(frozen=True, slots=True)
class _Found:
    """A rule whose band was reached."""

    rule: Rule
    score: Score
    action: Action
    threshold: float
    key: str
    exempt: str = ""

    @property
    def is_enforced(self) -> bool:
        return not (self.rule.shadow or self.exempt)

    @property
    def is_unplaced(self) -> bool:
        return self.action is Action.REDACT and self.is_enforced and not self.score.spans

    def unplaced(self) -> Unplaced:
        return Unplaced(self.rule.policy.name, self.score.violation, self.threshold)

    def finding(self, passage: Passage) -> Finding:
        return Finding(
            self.rule.policy.name,
            self.action,
            self.score.violation,
            self.threshold,
            self.key,
            passage.place,
            self.rule.shadow,
            self.score.spans,
            self.exempt,
        )

    def cuts(self) -> list[Cut]:
        """What a redaction removes."""
        if self.action < Action.REDACT or not self.is_enforced:
            return []
        name, spans = self.rule.policy.name, self.score.spans
        before = self.score.violation
        if self.rule.policy.patterns is None:
            return [Cut(span, name, numbered=False, policy=name, before=before) for span in spans]
        labels = (name if span.kind in _POLICYS_OWN else span.kind for span in spans)
        return [
            Cut(span, label, policy=name, before=before)
            for span, label in zip(spans, labels, strict=True)
        ]

    def taken_out(self, passage: Passage) -> tuple[Finding, list[Cut]]:
        """The same for a passage of the history: what would block is removed whole."""
        finding = self.finding(passage)
        if not self.is_enforced or not (self.is_unplaced or finding.action is Action.BLOCK):
            return finding, self.cuts()
        return replace(finding, action=Action.REDACT), _whole(finding, passage)


def _exempted(
    found: _Found, bands: Bands, text: str, route: Route, without: Mapping[Phrases, Score]
) -> list[_Found]:
    """What is found, marked where an exception lets it through; more than one if only in part."""
    if not route.exemptions:
        return [found]
    about = route.exemptions_for(found.rule)
    for exemption in about:
        if exemption.covers(text, route.hash_key):
            return [replace(found, exempt=exemption.key)]
    left = without.get(phrases_of(about))
    if left is None:
        return [found]
    action, threshold = bands.judge(left.violation)
    if action >= found.action:
        return [found]
    through = replace(found, exempt=_said(about, text).key)
    key = f"{found.key.rpartition('.')[0]}.{action}"
    rest = replace(found, score=left, action=action, threshold=threshold, key=key)
    return [through, rest] if action else [through]


def _said(about: Sequence[Exemption], text: str) -> Exemption:
    """The first whose phrase `text` has; tricks may hide it, then the first of all."""
    phrases = [exemption for exemption in about if exemption.phrase]
    there = (e for e in phrases if blanked(text, (e.phrase,)) != text)
    return next(there, phrases[0])


_POLICY = attrgetter("policy")
_POLICYS_OWN = frozenset({"word", "expression", ""})


def _decided(found: Sequence[tuple[Finding, Sequence[Cut]]]) -> Decided:
    findings = tuple(finding for finding, _ in found)
    action = max((f.action for f in findings if f.is_enforced), default=Action.ALLOW)
    return Decided(action, findings, tuple(cut for _, cuts in found for cut in cuts))


def held_from(route: Route, stage: Stage, answers: Sequence[Answers]) -> int | None:
    """Where, in a text that is judged alone, something begins that may still become a violation."""
    if len(answers) != 1:
        return None
    found = [
        heard.scores[place].hold_from
        for rule, bands, ask, place in route.plans[stage].rules
        if (heard := answers[0][ask]) and bands.enforces and not rule.shadow
    ]
    return min((at for at in found if at is not None), default=None)


def taken_out(decided: Decided, passage: Passage) -> Decided:
    """The same with the whole passage cut, where anything of it was."""
    acting = [f for f in decided.findings if f.action is Action.REDACT and f.is_enforced]
    return replace(decided, cuts=tuple(_whole(acting[0], passage))) if acting else decided


def _whole(finding: Finding, passage: Passage) -> list[Cut]:
    """All of it but the name of a called function: no API takes one with a placeholder in it."""
    name, before = finding.policy, finding.violation
    pieces = passage.pieces or (Piece(0, len(passage.text), passage.place),)
    spared = [piece for piece in pieces if len(pieces) > 1 and piece.place[-1:] == ("name",)]
    spans = [Span(piece.start, piece.end) for piece in pieces if piece not in spared]
    return [Cut(span, name, numbered=False, policy=name, before=before) for span in spans]


def escalate(decided: Decided) -> Decided:
    """The same with every redaction as a block, for a text that redaction does not mend."""
    findings = tuple(
        replace(f, action=Action.BLOCK) if f.action is Action.REDACT and f.is_enforced else f
        for f in decided.findings
    )
    return Decided(Action.BLOCK, findings)


def worst(scores: Sequence[Score]) -> tuple[Score, ...]:
    """The worst score of each policy, in order of their first appearance."""
    if len(set(map(_POLICY, scores))) == len(scores):
        return tuple(scores)
    found: dict[str, Score] = {}
    for score in scores:
        if score.violation > found.setdefault(score.policy, score).violation:
            found[score.policy] = score
    return tuple(found.values())


def gap_action(gap: Gap, route: Route) -> Action:
    """What a gap means on `route`: the judge's failures by `on_error`, the request's never pass."""
    if gap.cause.is_requests:
        return Action.BLOCK
    if gap.judged_by:
        return Action.LOG
    if gap.cause.is_judges:
        return Action.LOG if route.on_error == "fail_open" else Action.BLOCK
    if gap.cause is Cause.MEDIA and route.media == "refuse":
        return Action.BLOCK
    return Action.ALLOW


def refusals(reading: Reading, *, max_chars: int) -> list[Gap]:
    """What the request brings that no judge can judge: too much text, or text that is none."""
    passages, prompt = reading.passages, reading.prompt or ""
    if not encodes(prompt):
        return [Gap(Cause.UNDECODABLE, reason="half a surrogate pair in the prompt")]
    if len(passages) > MAX_TEXTS:
        return [Gap(Cause.TOO_LONG, reason=f"{len(passages):,} texts; at most {MAX_TEXTS:,}")]
    total, undecodable = len(prompt), []
    for passage in passages:
        text = passage.text
        total += len(text)
        if total <= max_chars and not encodes(text):
            gap = Gap(Cause.UNDECODABLE, passage.place, reason="half a surrogate pair")
            undecodable.append(gap)
    if total > max_chars:
        return [Gap(Cause.TOO_LONG, reason=f"{total:,} characters; max_chars is {max_chars:,}")]
    return undecodable


def encodes(text: str) -> bool:
    """Whether it is text, and no half of a surrogate pair is in it."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
