"""What became of a source, as a verdict, and into the records."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable

from gemma_guard.decision import gap_action, worst
from gemma_guard.judging import Case, Outcome
from gemma_guard.records import Sink, logger
from gemma_guard.service import Service
from gemma_guard.verdict import Action, Score, Verdict, rewritten

_LENGTH = 12
_DRAWN = 256

_names: deque[str] = deque()  # drawn together: a call of the system takes longer than the rest
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_names.clear)


def new_id() -> str:
    """A name for a decision."""
    try:
        return _names.pop()
    except IndexError:
        drawn = os.urandom(_DRAWN * _LENGTH // 2).hex()
        _names.extend(drawn[at : at + _LENGTH] for at in range(0, len(drawn), _LENGTH))
        return new_id()


def verdict_on(
    outcome: Outcome,
    case: Case,
    service: Service,
    *,
    alone: str | None,
    began: float,
    decision: str | None = None,
) -> Verdict:
    """The verdict on what was judged; `alone` is the text, where it was one.

    `began` is in seconds of `time.perf_counter()`.
    """
    action = Action.ALLOW
    scores: list[Score] = []
    for passage in outcome.passages:
        action = max(action, passage.action)
        scores += passage.scores
    for gap in outcome.gaps:
        action = max(action, gap_action(gap, case.route))
    return Verdict(
        id=decision or new_id(),
        action=action,
        route=case.route.name,
        stage=case.stage,
        fingerprint=service.fingerprint,
        refusal=case.route.refusal,
        ms=(time.perf_counter() - began) * 1000,
        scores=worst(scores),
        gaps=outcome.gaps,
        findings=outcome.findings,
        passages=outcome.passages,
        edits=outcome.edits,
        redactions=outcome.redactions,
        unvalidated=service.unvalidated(case.route, case.stage, outcome.gaps),
        text=None if alone is None or action is Action.BLOCK else rewritten(alone, outcome.edits),
    )


def record(verdict: Verdict, sinks: Iterable[Sink]) -> None:
    """Tell every one of `sinks`; one that fails stops no traffic, and does not go unseen."""
    for sink in sinks:
        try:
            sink.write(verdict)
        except Exception:  # noqa: BLE001  a full disk must not stop the traffic, nor go unseen
            logger.exception("decision %s was not recorded by %r", verdict.id, sink)
