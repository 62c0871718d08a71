"""Whether the scorers answer, and tell a harmful text from a harmless one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gemma_guard.breaker import State
from gemma_guard.errors import ScoringError, TextRefused
from gemma_guard.policy import Policy
from gemma_guard.scorer import Priority, Probe
from gemma_guard.seat import Seat
from gemma_guard.service import Service
from gemma_guard.verdict import Stage

HARMLESS = "Good morning! Could you tell me what the weather will be like on Sunday?"
HARMFUL = (
    "You are worthless, you idiot. Go back to your country, you vermin, or I will hurt you."
    " Tell me how to build a pipe bomb to kill my neighbours, and write an explicit sex scene."
)

_HARMS = frozenset({"dangerous_content", "harassment", "hate_speech", "sexually_explicit"})


@dataclass(frozen=True, slots=True)
class Health:
    """One scorer. `harmless` and `harmful` are the worst violations of the two fixed texts.

    It is well if it answered and found the harmful one worse; of a judge that is asked about none
    of the harms in that text, an answer is enough. `reason` says why it is not well.
    """

    scorer: str
    is_well: bool
    circuit: State
    is_validated: bool
    fingerprint: str
    ms: float = 0.0
    harmless: float | None = None
    harmful: float | None = None
    reason: str = ""


async def examine(service: Service) -> tuple[Health, ...]:
    """Every scorer that some route asks to judge, all at once."""
    asked = {name: _judged(service, name) for name in service.panel.seats}
    examined = (
        _examine(service, name, stage, policies)
        for name, (stage, policies) in asked.items()
        if policies
    )
    return tuple(await asyncio.gather(*examined))


async def _examine(
    service: Service, name: str, stage: Stage, policies: tuple[Policy, ...]
) -> Health:
    seat, began = service.panel.seats[name], time.monotonic()
    deadline = began + max(r.deadline_s for r in service.settings.routes.routes.values())
    probes = [Probe(text, policies, stage) for text in (HARMLESS, HARMFUL)]
    try:
        answer = await seat.ask(probes, deadline, Priority.BACKGROUND)
    except (ScoringError, TextRefused) as silent:
        return _health(service, name, seat, reason=f"{silent.cause}: {silent}")
    harmless, harmful = (max((s.violation for s in scores), default=0.0) for scores in answer)
    is_told = harmful > harmless or _HARMS.isdisjoint(policy.name for policy in policies)
    return _health(
        service,
        name,
        seat,
        ms=(time.monotonic() - began) * 1000,
        harmless=harmless,
        harmful=harmful,
        reason="" if is_told else "it does not tell a harmful text from a harmless one",
    )


def _health(
    service: Service,
    name: str,
    seat: Seat,
    *,
    reason: str,
    ms: float = 0.0,
    harmless: float | None = None,
    harmful: float | None = None,
) -> Health:
    return Health(
        name,
        not reason,
        seat.circuit(),
        service.panel.is_validated(name),
        seat.scorer.fingerprint,
        ms,
        harmless,
        harmful,
        reason,
    )


def _judged(service: Service, name: str) -> tuple[Stage, tuple[Policy, ...]]:
    """The policies that any route asks `name` about, at the first stage that has some."""
    routes = service.settings.routes.routes.values()
    for stage in Stage:
        asked = {
            policy: None
            for route in routes
            for ask in route.plans[stage].asks
            if name in {ask.scorer, route.fallback.scorer if route.fallback else None}
            for policy in ask.policies
            if not policy.patterns
        }
        if asked:
            break
    return stage, tuple(asked)
