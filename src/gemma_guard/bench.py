"""The rulings on one stream: its windows judged as texts, and one verdict on all of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from gemma_guard.decision import worst
from gemma_guard.errors import Cause, NotServing
from gemma_guard.judging import Case, Outcome, Source, prepare
from gemma_guard.redaction import Placeholders
from gemma_guard.route import Route
from gemma_guard.scorer import Priority
from gemma_guard.service import Service
from gemma_guard.strand import Ruling, Swap, Window, limit
from gemma_guard.streaming import Streaming
from gemma_guard.verdict import Action, Edit, Gap, Place, Stage, Verdict
from gemma_guard.verdicts import new_id, record, verdict_on

_ARGUMENTS: Place = (0, "tool_calls", 0, "function", "arguments")


@dataclass(slots=True, eq=False)
class Bench:
    """Every window is judged by the configuration in service, whatever was when the stream began.

    `begin` gives the service, `resolve` the route of the stream in it; `judge` may do its work on
    another thread. `prepares` says that a scorer gains by reading beforehand.
    """

    begin: Callable[[], Service]
    resolve: Callable[[Service], Route]
    judge: Callable[[Case, Service], Awaitable[Outcome]]
    prompt: str | None = field(default=None, repr=False)
    tenant: str = ""
    priority: Priority = Priority.LIVE
    prepares: bool = False
    _id: str = field(default_factory=new_id)
    _began: float = field(default_factory=time.perf_counter)
    _texts: dict[Place, int] = field(default_factory=dict, repr=False)
    _placeholders: Placeholders = field(default_factory=Placeholders)
    _redacted: list[Verdict] = field(default_factory=list)
    _gaps: dict[Gap, None] = field(default_factory=dict)

    async def prepare(self, text: str) -> None:
        """Have the prompt read, and of the first text what there is; raises nothing."""
        if not (text or self.prompt):
            return
        with suppress(Exception), self.begin() as service:
            route, stream = self.resolve(service), f"{self._id}-0"
            case = Case(text, route, Stage.OUTPUT, self.prompt, self.tenant, stream)
            await prepare(case, text, service.panel)

    async def rule(self, window: Window) -> Ruling:
        """Judge `window`, and redact what can still be redacted of it."""
        with self.begin() as service:
            case = self._case(window, self.resolve(service))
            given = self._placeholders.given()
            if window.gap:
                outcome = Outcome(gaps=(window.gap,))
            else:
                outcome = await self.judge(case, service)
            verdict = verdict_on(
                outcome, case, service, alone=None, began=self._began, decision=self._id
            )
        ruling = _ruling(window, verdict, outcome.hold_from)
        self._gaps |= dict.fromkeys(ruling.verdict.gaps)
        if ruling.swaps:
            self._redacted.append(ruling.verdict)
        if len(self._texts) == 1:  # else another text may have been given numbers meanwhile
            self._placeholders.take_back(given, used={swap.text for swap in ruling.swaps})
        return ruling

    def conclude(self, streaming: Streaming[Any]) -> Verdict:
        """The verdict on all of the stream, which goes into the records."""
        with self.begin() as service:
            verdict = self._summary(streaming, service)
            record(verdict, service.sinks)
        return verdict

    def leave(self, streaming: Streaming[Any]) -> None:
        """Record what was judged of a stream that nobody wants to see the end of."""
        if streaming.verdicts or streaming.released:
            with suppress(NotServing):
                self.conclude(streaming)

    def _case(self, window: Window, route: Route) -> Case:
        self._placeholders.judged = route.placeholder
        return Case(
            _source(window),
            route,
            Stage.OUTPUT,
            self.prompt,
            self.tenant,
            priority=self.priority,
            stream=f"{self._id}-{self._texts.setdefault(window.place, len(self._texts))}",
            released=window.released,
            placeholders=self._placeholders,
            is_trial=window.is_trial,
        )

    def _summary(self, streaming: Streaming[Any], service: Service) -> Verdict:
        route = self.resolve(service)
        newest = streaming.verdicts
        every = (*self._redacted, *newest)
        gaps = tuple(self._gaps) or _nothing_judged(streaming)
        redactions = tuple([r for verdict in self._redacted for r in verdict.redactions])
        action = max([v.action for v in newest], default=Action.ALLOW)
        if redactions:
            action = max(action, Action.REDACT)
        released = streaming.released
        return Verdict(
            id=self._id,
            action=action,
            route=route.name,
            stage=Stage.OUTPUT,
            fingerprint=service.fingerprint,
            refusal=route.refusal,
            ms=(time.perf_counter() - self._began) * 1000,
            scores=worst([score for verdict in newest for score in verdict.scores]),
            gaps=gaps,
            findings=tuple(dict.fromkeys(f for v in every for f in v.findings)),
            passages=tuple([passage for verdict in newest for passage in verdict.passages]),
            redactions=redactions,
            released=released,
            unvalidated=service.unvalidated(route, Stage.OUTPUT, gaps),
            text=_alone(released) if action < Action.BLOCK else None,
        )


def _source(window: Window) -> Source:
    """The text of a window; arguments as a call, which has its name beside them."""
    if window.call is None:
        return window.text
    function = {"name": window.call, "arguments": window.text}
    return [{"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}]


def _ruling(window: Window, verdict: Verdict, hold_from: int | None) -> Ruling:
    if window.call is not None and any(edit.place != _ARGUMENTS for edit in verdict.edits):
        verdict = _escalated(verdict)  # the name of a call has no place to be redacted in
    if window.is_trial and (held := Ruling(_at(window.place, verdict))).is_opinion:
        return held
    if verdict.action is not Action.REDACT:
        upto = limit(window, (), hold_from)
        return Ruling(replace(_at(window.place, verdict), redactions=(), edits=()), upto)
    swaps, redactions = _swaps(window, verdict), verdict.redactions
    upto = limit(window, swaps, hold_from)
    kept = tuple([swap for swap in swaps if swap.end <= upto])
    if window.call is None:
        redactions = redactions[: len(kept)]
    verdict = replace(verdict, redactions=redactions, edits=())
    return Ruling(_at(window.place, verdict), upto, kept)


def _swaps(window: Window, verdict: Verdict) -> list[Swap]:
    if window.call is None:
        return [Swap(r.span.start, r.span.end, r.text) for r in verdict.redactions]
    return [Swap(0, len(window.text), edit.text) for edit in verdict.edits]


def _escalated(verdict: Verdict) -> Verdict:
    findings = tuple(
        replace(f, action=Action.BLOCK) if f.action is Action.REDACT and f.is_enforced else f
        for f in verdict.findings
    )
    return replace(verdict, action=Action.BLOCK, findings=findings)


def _at(place: Place, verdict: Verdict) -> Verdict:
    """`verdict`, about the text at `place` of a stream."""
    if not place:
        return verdict
    return replace(
        verdict,
        gaps=tuple([replace(gap, place=place) for gap in verdict.gaps]),
        findings=tuple([replace(finding, place=place) for finding in verdict.findings]),
        passages=tuple([replace(passage, place=place) for passage in verdict.passages]),
        redactions=tuple([replace(redaction, place=place) for redaction in verdict.redactions]),
    )


def _nothing_judged(streaming: Streaming[Any]) -> tuple[Gap, ...]:
    if streaming.verdicts:
        return ()
    if streaming.released:
        return (Gap(Cause.OUT_OF_SCOPE, reason="the stream was left before it was judged"),)
    return (Gap(Cause.EMPTY, reason="there is no text to judge"),)


def _alone(released: Sequence[Edit]) -> str | None:
    """The text of a stream that has but one."""
    if any(edit.place for edit in released):
        return None
    return released[0].text if released else ""
