"""A source on a route → what was judged, found, redacted and left unjudged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, cast

from gemma_guard.conversation import LISTS, MAPPINGS, Message, Passage, Reading, read
from gemma_guard.decision import (
    Answers,
    Decided,
    Heard,
    decide,
    escalate,
    held_from,
    refusals,
    taken_out,
)
from gemma_guard.errors import Cause, UsageError
from gemma_guard.forms import forms_of, heard_of
from gemma_guard.locating import Unplaced, Weights, search
from gemma_guard.panel import Answer, Panel, Silence
from gemma_guard.redaction import Cut, Placeholders, Redacted, places, redacted, unreleased
from gemma_guard.route import Ask, Route
from gemma_guard.scorer import Priority, Probe
from gemma_guard.verdict import (
    Action,
    Edit,
    Finding,
    Gap,
    Judged,
    Place,
    Redaction,
    Score,
    Stage,
    rewritten,
)

Source: TypeAlias = str | Sequence[Message]

_UNTOUCHED = Redacted()
_FINDINGS = attrgetter("findings")
_LONG_CHARS = 50_000  # some milliseconds of hashing and searching


def source_of(text: str | None, messages: Sequence[Message] | None) -> Source:
    """Whichever is given; raises `UsageError` unless it is one of them, and what it should be."""
    if (text is None) == (messages is None):
        raise UsageError("give either a text or messages")
    if messages is not None:
        if isinstance(messages, str):
            raise UsageError("messages: a list of messages is needed, got str")
        return messages
    if not isinstance(text, str):
        raise UsageError(f"text: a str is needed, got {type(text).__name__}")
    return text


def is_long(source: Source) -> bool:
    """Whether judging it would hold an event loop for long."""
    if isinstance(source, str):
        return len(source) > _LONG_CHARS
    if not isinstance(source, LISTS):  # `read` says what is wrong with it
        return False
    chars = 0
    for message in source:
        content = message.get("content") if isinstance(message, MAPPINGS) else None
        chars += len(content) if type(content) is str else 0
    return chars > _LONG_CHARS


class Outcome(NamedTuple):  # as Case, one per check: a dataclass takes three times as long
    """What became of every passage of a source."""

    passages: tuple[Judged, ...] = ()
    findings: tuple[Finding, ...] = ()
    gaps: tuple[Gap, ...] = ()
    edits: tuple[Edit, ...] = ()
    redactions: tuple[Redaction, ...] = ()
    hold_from: int | None = None


class Case(NamedTuple):
    """What is to be judged, and by which rules.

    A text of the stream called `stream` can no longer be redacted in its first `released`
    characters; on a trial, nothing is redacted whose place would have to be searched for.
    """

    source: Source
    route: Route
    stage: Stage
    prompt: str | None = None
    tenant: str = ""
    stream: str | None = None
    released: int = 0
    placeholders: Placeholders | None = None
    priority: Priority = Priority.LIVE
    is_trial: bool = False

    def __repr__(self) -> str:
        """No text."""
        return f"Case(route {self.route.name}, {self.stage})"

    def read(self, source: Source | None = None) -> Reading:
        """What of the source, or of one written in its place, is judged."""
        return read(
            self.source if source is None else source,
            self.stage,
            prompt=self.prompt,
            system=self.route.judge_system,
            scope=self.route.scope,
        )


async def judge(case: Case, panel: Panel) -> Outcome:
    """Ask every scorer of the route about every passage, decide, and redact where asked to."""
    reading, route = case.read(), case.route
    has_rules = bool(route.plans[case.stage].asks)
    gaps = [*reading.gaps, *refusals(reading, max_chars=route.max_chars)]
    if not has_rules:
        reason = f"no policy at {case.stage} on route {route.name}"
        gaps.append(Gap(Cause.NO_POLICY, reason=reason))
    if not reading.passages and not gaps:
        gaps.append(Gap(Cause.EMPTY, reason="there is no text to judge"))
    if not has_rules or (gaps and any(gap.cause.is_requests for gap in gaps)):
        return Outcome(gaps=tuple(gaps))
    deadline = time.monotonic() + route.deadline_s
    return await _Hearing(panel, case, reading.prompt, deadline, gaps).outcome(reading)


async def prepare(case: Case, text: str, panel: Panel) -> None:
    """Let scorers read what is there before it is a window; raises nothing of theirs."""
    if refusals(case.read(), max_chars=case.route.max_chars):
        return
    deadline = time.monotonic() + case.route.deadline_s
    probes = {
        ask.scorer: Probe(text, ask.policies, case.stage, case.prompt, case.stream, case.tenant)
        for ask in panel.preparing(case.route, case.stage)
    }
    seats = panel.seats
    await asyncio.gather(*(seats[name].prepare(probe, deadline) for name, probe in probes.items()))


@dataclass(slots=True, eq=False)
class _Hearing:
    """One check under way; `gaps` grows as scorers stay silent."""

    panel: Panel
    case: Case
    prompt: str | None
    deadline: float
    gaps: list[Gap]
    _own: Placeholders | None = field(default=None, init=False, repr=False)

    @property
    def placeholders(self) -> Placeholders:
        """Those of the stream, or of this request, as the route writes them."""
        self._own = self.case.placeholders or self._own or Placeholders(self.case.route.placeholder)
        return self._own

    async def outcome(self, reading: Reading) -> Outcome:
        """What becomes of the passages of `reading`."""
        answers = await self._answers(reading.passages)
        decided, made = self._decide(reading.passages, answers), _UNTOUCHED
        findings = _findings(decided)
        if findings:
            decided, made = await self._enforced(reading.passages, decided)
            findings = _findings(decided)
        is_stream = self.case.stream is not None
        return Outcome(
            self._judged(reading.passages, decided, answers),
            findings,
            tuple(dict.fromkeys(self.gaps)),  # a redacted text is asked about again
            made.edits,
            made.redactions,
            held_from(self.case.route, self.case.stage, answers) if is_stream else None,
        )

    async def _enforced(
        self, passages: Sequence[Passage], decided: list[Decided]
    ) -> tuple[list[Decided], Redacted]:
        if any(d.unplaced for d in decided):
            if self.case.is_trial:
                return decided, _UNTOUCHED
            decided = await self._placed(passages, decided)
        if any(d.action is Action.REDACT for d in decided):
            return await self._redact(passages, decided)
        return decided, _UNTOUCHED

    def _decide(self, passages: Sequence[Passage], answers: Sequence[Answers]) -> list[Decided]:
        route, stage = self.case.route, self.case.stage
        return [decide(route, stage, a, p) for p, a in zip(passages, answers, strict=True)]

    def _judged(
        self, passages: Sequence[Passage], decided: Sequence[Decided], answers: Sequence[Answers]
    ) -> tuple[Judged, ...]:
        stage = self.case.stage
        return tuple(
            [
                Judged(p.place, p.role, stage, d.action, _scores(a))
                for p, d, a in zip(passages, decided, answers, strict=True)
            ]
        )

    async def _answers(self, passages: Sequence[Passage]) -> list[Answers]:
        """One row per passage, in it what each scorer of the plan said."""
        if not passages:
            return []
        said = [
            await self._said(ask, passages, stream=self.case.stream)
            for ask in self.case.route.plans[self.case.stage].asks
        ]
        return list(zip(*said, strict=True))

    async def _said(
        self, ask: Ask, passages: Sequence[Passage], *, stream: str | None = None
    ) -> Sequence[Heard | None]:
        case, route = self.case, self.case.route
        exempted = route.phrases() if route.exemptions else ()
        about = ask.policies, case.stage, self.prompt, stream, case.tenant
        forms, probes = [], []
        for passage in passages:
            form = forms_of(passage.text, exempted)
            forms.append(form)
            probes += [Probe(text, *about) for text in (form.texts if form else (passage.text,))]
        until = self._deadline_of(ask)
        answer = await self._ask(ask.scorer, probes, until)
        if not isinstance(answer, Silence):
            return heard_of(forms, answer)
        instead, judged_by = await self._fallback(ask, probes, answer)
        self.gaps.extend(_gaps(ask, passages, answer, judged_by))
        if instead is None:
            return [None] * len(passages)
        return [heard._replace(instead=True) for heard in heard_of(forms, instead)]

    def _ask(
        self, scorer: str, probes: Sequence[Probe], deadline: float
    ) -> Coroutine[Any, Any, Answer]:
        tenant, priority = self.case.tenant, self.case.priority
        return self.panel.ask(scorer, probes, deadline, tenant=tenant, priority=priority)

    def _deadline_of(self, ask: Ask) -> float:
        """Half of the time left is kept for a fallback: a judge that hangs would use up all."""
        if self.case.route.fallback is None or ask.policies[0].patterns:
            return self.deadline
        return (time.monotonic() + self.deadline) / 2

    async def _fallback(
        self, ask: Ask, probes: Sequence[Probe], silence: Silence
    ) -> tuple[Sequence[tuple[Score, ...]] | None, str | None]:
        fallback = self.case.route.fallback
        if fallback is None or not silence.cause.is_judges or ask.policies[0].patterns:
            return None, None
        answer = await self._ask(fallback.scorer, probes, self.deadline)
        return (None, None) if isinstance(answer, Silence) else (answer, fallback.scorer)

    async def _placed(
        self, passages: Sequence[Passage], decided: Sequence[Decided]
    ) -> list[Decided]:
        """What no scorer knew the place of, searched for; a block where it is not found."""
        if any(d.action is Action.BLOCK for d in decided):  # nothing goes on anyway
            return list(decided)
        found: list[Decided] = []
        for passage, each in zip(passages, decided, strict=True):
            if each.action is Action.REDACT and each.unplaced:
                cuts = await self._searched(passage, each.unplaced)
                each = escalate(each) if cuts is None else each.with_cuts(cuts)  # noqa: PLW2901
            found.append(each)
        return found

    async def _searched(
        self, passage: Passage, unplaced: Sequence[Unplaced]
    ) -> tuple[Cut, ...] | None:
        """What to take out of `passage`; None if nothing helps, or not everyone was heard."""
        case = self.case
        searching = search(
            passage.text, unplaced, released=case.released, placeholders=self.placeholders
        )
        try:
            texts = next(searching)
            while (weights := await self._weighed(passage, texts, unplaced)) is not None:
                texts = searching.send(weights)
        except StopIteration as done:
            return cast("tuple[Cut, ...] | None", done.value)
        return None

    async def _weighed(
        self, passage: Passage, texts: Sequence[str], unplaced: Sequence[Unplaced]
    ) -> list[Weights] | None:
        passages = [passage._replace(text=text) for text in texts]
        scored: list[dict[str, float]] = [{} for _ in texts]
        for ask in self._asks_about({each.policy for each in unplaced}):
            for found, heard in zip(scored, await self._said(ask, passages), strict=True):
                found |= {
                    score.policy: score.violation for score in (heard.scores if heard else ())
                }
        if not all(each.policy in found for found in scored for each in unplaced):
            return None
        return [{u.policy: u.weight(found[u.policy]) for u in unplaced} for found in scored]

    def _asks_about(self, names: Collection[str]) -> Iterator[Ask]:
        """The asks of the plan, narrowed to some policies."""
        for ask in self.case.route.plans[self.case.stage].asks:
            policies = tuple([policy for policy in ask.policies if policy.name in names])
            if policies:
                yield Ask(ask.scorer, policies, tuple([policy.name for policy in policies]))

    async def _redact(
        self, passages: Sequence[Passage], decided: Sequence[Decided]
    ) -> tuple[list[Decided], Redacted]:
        """Redact, then judge what is left by the same rules: it passes, or it is blocked.

        A turn of the history that does not pass in part is taken out whole before that.
        """
        both = list(zip(passages, decided, strict=True))
        made, failing = await self._tried(both)
        older = {p.place for p, _ in both if not p.is_newest and p.place in failing}
        if older and self.case.route.history == "redact":
            both = [(p, taken_out(d, p) if p.place in older else d) for p, d in both]
            made, failing = await self._tried(both)
        return [
            escalate(d) if d.action is Action.REDACT and p.place in failing else d for p, d in both
        ], made

    async def _tried(self, both: Sequence[tuple[Passage, Decided]]) -> tuple[Redacted, set[Place]]:
        """The redacted texts, and the places that are still not fine."""
        cut = [
            (p, unreleased(d.cuts, self.case.released))
            for p, d in both
            if d.action is Action.REDACT
        ]
        made = redacted(self.case.source, cut, self.placeholders)
        fine = {p.text for p, d in both if d.action < Action.REDACT}
        again = await self._again(rewritten(self.case.source, made.edits), fine)
        failing = {a.place for a in again if not self._passes(a)}
        to_blame = {p.place for p, _ in cut}
        if not failing <= to_blame:  # what was fine is not so any more: none of it goes on
            failing = to_blame
        return made.scored(_Rescored(again)), failing

    def _passes(self, again: _Again) -> bool:
        """Whether nothing more is to be redacted, and everyone was heard who has to be."""
        all_heard = None not in again.answers or self.case.route.on_error == "fail_open"
        return again.decided.action < Action.REDACT and all_heard

    async def _again(self, source: Any, fine: set[str]) -> list[_Again]:
        """What is made of a redacted `source`, those parts left out that were `fine` before."""
        left = [p for p in self.case.read(source).passages if p.text not in fine]
        answers = await self._answers(left)
        return [
            _Again(p, a, d)
            for p, a, d in zip(left, answers, self._decide(left, answers), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Again:
    """A passage that was judged again, redacted."""

    passage: Passage
    answers: Answers
    decided: Decided

    @property
    def place(self) -> Place:
        return self.passage.place


class _Rescored:
    """What a policy scores at a place once that is redacted: the worst of the passages there."""

    def __init__(self, again: Iterable[_Again]) -> None:
        self._found: dict[tuple[Place, str], float] = {}
        for each in again:
            for score in _scores(each.answers):
                for place in places(each.passage):
                    key = (place, score.policy)
                    self._found[key] = max(self._found.get(key, 0.0), score.violation)

    def __call__(self, place: Place, policy: str) -> float:
        return self._found.get((place, policy), 0.0)


def _findings(decided: Sequence[Decided]) -> tuple[Finding, ...]:
    return tuple(chain.from_iterable(map(_FINDINGS, decided)))


def _scores(answers: Answers) -> tuple[Score, ...]:
    return _kept([score for heard in answers if heard for score in heard.scores])


def _kept(said: Iterable[Score]) -> tuple[Score, ...]:
    """What is kept of what was said; where a stream is held is over once that was decided."""
    return tuple([s if s.hold_from is None else replace(s, hold_from=None) for s in said])


def _gaps(
    ask: Ask, passages: Iterable[Passage], silence: Silence, judged_by: str | None
) -> list[Gap]:
    return [
        Gap(silence.cause, passage.place, policy.name, silence.reason, judged_by)
        for passage in passages
        for policy in ask.policies
    ]
