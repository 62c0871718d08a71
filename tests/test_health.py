"""Health says who answers and who can tell harm from none; who is not in service is not asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Self

import pytest

from gemma_guard import (
    Action,
    Bands,
    Guard,
    Guideline,
    Patterns,
    Policy,
    Priority,
    Probe,
    Score,
    Stage,
    Unreachable,
)
from gemma_guard.calibration import Calibration, Platt
from gemma_guard.configuration import ScorerSpec, Settings
from gemma_guard.health import HARMFUL, HARMLESS, Health
from gemma_guard.route import DEFAULT, Fallback, Route, Routes, Rule
from gemma_guard.scorers.fake import Fake

WORDING = Guideline("no insults in prompts", "no insults in answers")
HARASSMENT = Policy("harassment", Bands(block=0.6), Bands(block=0.6), guideline=WORDING)
ANSWERS = Policy("harassment", output=Bands(block=0.6), guideline=WORDING)
WORD = Policy("word", Bands.of(Action.BLOCK), patterns=Patterns(words=("scoundrel",)))


class Odd:
    """Remembers what it was asked, and answers as it is told to."""

    fingerprint = "odd"

    def __init__(self, act: Any) -> None:
        self._act = act
        self.asked: list[tuple[Probe, Priority]] = []

    def judges(self, _policy: Policy, _stage: Stage, /) -> bool:
        return True

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> Sequence[tuple[Score, ...]]:
        assert deadline > time.monotonic()
        self.asked += [(probe, priority) for probe in probes]
        answer = self._act(probes)
        return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[no-any-return]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def says(harmless: float, harmful: float) -> Odd:
    def act(probes: Sequence[Probe]) -> Any:
        at = {HARMLESS: harmless, HARMFUL: harmful}
        return [tuple(Score(p.name, at.get(q.text, 0.0)) for p in q.policies) for q in probes]

    return Odd(act)


def breaks(error: Exception) -> Odd:
    def act(_probes: Sequence[Probe]) -> Any:
        raise error

    return Odd(act)


async def health_of(
    scorer: Any, *, policy: Policy = HARASSMENT, second: Any = None, **settings: Any
) -> tuple[Health, ...]:
    fallback = Fallback("second") if second else None
    rules = (Rule(policy, policy.input, policy.output, "judge"),)
    routes = Routes({DEFAULT: Route(DEFAULT, rules, fallback=fallback, deadline_s=0.2)})
    scorers = {"judge": scorer} | ({"second": second} if second else {})
    specs = {name: ScorerSpec(name) for name in scorers}
    async with Guard(Settings(routes, specs, **settings), scorers=scorers, sinks=()) as guard:
        return await guard.health()


async def test_a_scorer_that_finds_the_harmful_text_worse_is_well() -> None:
    [health] = await health_of(says(0.1, 0.9))

    assert (health.scorer, health.is_well, health.circuit) == ("judge", True, "closed")
    assert (health.harmless, health.harmful, health.reason) == (0.1, 0.9, "")


@pytest.mark.parametrize("violations", [(0.1, 0.1), (0.9, 0.2), (0.0, 0.0), (1.0, 1.0)])
async def test_one_that_cannot_tell_them_apart_is_not(violations: tuple[float, float]) -> None:
    [health] = await health_of(says(*violations))

    assert not health.is_well
    assert "does not tell" in health.reason


async def test_of_a_judge_of_other_policies_an_answer_is_enough() -> None:
    own = Policy("medical_advice", Bands(block=0.6), guideline=WORDING)

    [health] = await health_of(says(0.1, 0.1), policy=own)

    assert health.is_well


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (breaks(Unreachable("no route to it")), "unreachable: no route to it"),
        (breaks(RuntimeError("canary")), "crashed: RuntimeError in test_health.py"),
        (Odd(lambda _: asyncio.sleep(3600)), "timed_out"),
        (Odd(lambda _: []), "crashed"),
    ],
)
async def test_one_that_does_not_answer_is_not_and_says_why(scorer: Odd, reason: str) -> None:
    [health] = await health_of(scorer)

    assert not health.is_well
    assert health.reason.startswith(reason)
    assert "canary" not in repr(health)


async def test_it_is_asked_behind_the_live_checks_about_what_routes_ask_it() -> None:
    scorer = says(0.0, 1.0)

    await health_of(scorer)

    assert [(p.text, p.policies, str(p.stage), q) for p, q in scorer.asked] == [
        (HARMLESS, (HARASSMENT,), "input", Priority.BACKGROUND),
        (HARMFUL, (HARASSMENT,), "input", Priority.BACKGROUND),
    ]


async def test_one_that_judges_answers_only_is_asked_about_answers() -> None:
    scorer = says(0.0, 1.0)

    [health] = await health_of(scorer, policy=ANSWERS)

    assert health.is_well
    assert {str(probe.stage) for probe, _ in scorer.asked} == {"output"}


async def test_a_fallback_has_a_health_of_its_own() -> None:
    first, second = await health_of(breaks(Unreachable("gone")), second=Fake())

    assert (first.scorer, first.is_well) == ("judge", False)
    assert (second.scorer, second.is_well) == ("second", True)


async def test_patterns_and_scorers_that_no_route_asks_have_none() -> None:
    async with Guard.of([WORD], says(0.0, 0.0), sinks=()) as guard:
        assert await guard.health() == ()


async def test_it_says_whether_scores_are_validated_and_that_a_circuit_is_open() -> None:
    maps = {("harassment", stage): Platt() for stage in Stage}
    [calibrated] = await health_of(
        says(0.1, 0.9), calibrations={"judge": ("made.yaml", Calibration("odd", maps))}
    )
    [plain] = await health_of(says(0.1, 0.9))
    assert (calibrated.is_validated, plain.is_validated) == (True, False)
    assert plain.unvalidated == ("harassment at input", "harassment at output")

    guard = Guard.of([HARASSMENT], breaks(Unreachable("gone")), sinks=())
    for number in range(5):
        await guard.check(f"{number}")
    [health] = await guard.health()
    assert (health.is_well, health.circuit) == (False, "open")
    await guard.aclose()


async def test_a_calibration_of_one_policy_at_one_stage_validates_nothing_else() -> None:
    spam = Policy("spam", Bands(block=0.6), guideline=WORDING)
    rules = tuple(Rule(p, p.input, p.output, "judge") for p in (HARASSMENT, spam))
    made = Calibration("odd", {("harassment", Stage.INPUT): Platt()})
    settings = Settings(
        Routes({DEFAULT: Route(DEFAULT, rules)}),
        {"judge": ScorerSpec("judge")},
        calibrations={"judge": ("made.yaml", made)},
    )
    async with Guard(settings, scorers={"judge": says(0.1, 0.9)}, sinks=()) as guard:
        assert (await guard.check("hello")).unvalidated == ("spam",)
        assert (await guard.check("hello", stage="output")).unvalidated == ("harassment",)
        [health] = await guard.health()

    assert health.unvalidated == ("spam at input", "harassment at output")
    assert not health.is_validated
