"""Whether the scorers answer, and tell a harmful text from a harmless one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from gemma_guard.breaker import State
from gemma_guard.errors import ScoringError, TextRefused
from gemma_guard.policy import Policy
from gemma_guard.route import Ask
from gemma_guard.scorer import Check, Described, Examined, Priority, Probe, Scorer
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
    of the harms in that text, an answer is enough. `reason` says why it is not well. `facts` are
    what it says of itself, `checks` what it found out where it was asked to;
    `unvalidated` are the policies, with their stage, that it is asked about and not calibrated for.
    """

    scorer: str
    is_well: bool
    circuit: State
    fingerprint: str
    ms: float = 0.0
    harmless: float | None = None
    harmful: float | None = None
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    unvalidated: tuple[str, ...] = ()

    @property
    def is_validated(self) -> bool:
        """Whether it is calibrated for everything that it is asked."""
        return not self.unvalidated


async def examine(service: Service, *, thorough: bool = False) -> tuple[Health, ...]:
    """Every scorer that some route asks to judge, at once; `thorough` has each examine itself."""
    asked = {name: _judged(service, name) for name in service.panel.seats}
    examined = (
        _examine(service, name, stage, policies, thorough=thorough)
        for name, (stage, policies) in asked.items()
        if policies
    )
    return tuple(await asyncio.gather(*examined))


async def _examine(
    service: Service, name: str, stage: Stage, policies: tuple[Policy, ...], *, thorough: bool
) -> Health:
    seat, began = service.panel.seats[name], time.monotonic()
    deadline = began + max(r.deadline_s for r in service.settings.routes.routes.values())
    health = partial(
        Health,
        name,
        circuit=seat.circuit(),
        unvalidated=_unvalidated(service, name),
        fingerprint=seat.scorer.fingerprint,
        facts=_facts(service, name),
    )
    probes = [Probe(text, policies, stage) for text in (HARMLESS, HARMFUL)]
    try:
        answer = await seat.ask(probes, deadline, Priority.BACKGROUND)
        ms = (time.monotonic() - began) * 1000
        checks = await _checks(seat.scorer, deadline) if thorough else ()
    except (ScoringError, TextRefused) as silent:
        return health(is_well=False, reason=f"{silent.cause}: {silent}")
    harmless, harmful = (max((s.violation for s in scores), default=0.0) for scores in answer)
    is_told = harmful > harmless or _HARMS.isdisjoint(policy.name for policy in policies)
    reasons = [] if is_told else ["it does not tell a harmful text from a harmless one"]
    reasons += [f"{check.name}: {check.detail}" for check in checks if not check.is_well]
    return health(
        is_well=not reasons,
        ms=ms,
        harmless=harmless,
        harmful=harmful,
        reason="; ".join(reasons),
        checks=checks,
    )


def _facts(service: Service, name: str) -> dict[str, str]:
    scorer = service.panel.seats[name].scorer
    told = dict(scorer.describe()) if isinstance(scorer, Described) else {}
    file, _ = service.settings.calibrations.get(name, ("", None))
    return {**told, "calibration": _calibration(file, _unvalidated(service, name))}


def _calibration(file: str, unvalidated: Sequence[str]) -> str:
    if not file:
        return "none: its scores are unvalidated" if unvalidated else "its own"
    return f"{file}, none for {', '.join(unvalidated)}" if unvalidated else file


def _unvalidated(service: Service, name: str) -> tuple[str, ...]:
    found = {
        f"{policy} at {stage}": None
        for stage in Stage
        for ask in _asks(service, name, stage)
        for policy in service.doubtful(name, ask.names, stage)
    }
    return tuple(found)


def _asks(service: Service, name: str, stage: Stage) -> Iterator[Ask]:
    for route in service.settings.routes.routes.values():
        for ask in route.plans[stage].asks:
            by_fallback = route.fallback and route.fallback.scorer == name
            if ask.scorer == name or (by_fallback and not ask.policies[0].patterns):
                yield ask


async def _checks(scorer: Scorer, deadline: float) -> tuple[Check, ...]:
    if not isinstance(scorer, Examined):
        return ()
    return tuple(await scorer.examine(deadline=deadline))


def _judged(service: Service, name: str) -> tuple[Stage, tuple[Policy, ...]]:
    """The policies that any route asks `name` about, at the first stage that has some."""
    for stage in Stage:
        asked = {
            policy: None
            for ask in _asks(service, name, stage)
            for policy in ask.policies
            if not policy.patterns
        }
        if asked:
            break
    return stage, tuple(asked)
