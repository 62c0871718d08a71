"""What a judge writes about a text, for a person to read: no verdict rests on it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gemma_guard.errors import UsageError, unknown
from gemma_guard.route import Route
from gemma_guard.scorer import Probe, Reasoning
from gemma_guard.service import Service
from gemma_guard.verdict import Stage

MOST_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Why a text would violate one policy. `seconds` and `tokens` bound the answer."""

    text: str = field(repr=False)
    policy: str
    stage: Stage = Stage.INPUT
    prompt: str | None = field(default=None, repr=False)
    tokens: int = 256
    seconds: float = 120.0


async def reason(service: Service, route: Route, about: Inquiry) -> str:
    """The words of the judge that `route` has for the policy; `UsageError` where it has none."""
    if not 1 <= about.tokens <= MOST_TOKENS:
        raise UsageError(f"tokens: use 1 to {MOST_TOKENS}, got {about.tokens}")
    rules = {rule.policy.name: rule for rule in route.rules if rule.policy.kind == "judged"}
    if about.policy not in rules:
        raise UsageError(unknown("policy", about.policy, rules))
    rule = rules[about.policy]
    seat = service.panel.seats[rule.scorer]
    if not isinstance(seat.scorer, Reasoning):
        raise UsageError(
            f"scorer {rule.scorer!r} gives scores and no words; shieldgemma and remote do"
        )
    await seat.open()
    probe = Probe(about.text, (rule.policy,), about.stage, about.prompt)
    deadline = time.monotonic() + about.seconds
    return await seat.scorer.reason(probe, tokens=about.tokens, deadline=deadline)
