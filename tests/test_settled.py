"""A check is settled at once only as `judge` would have it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import Bands, Guideline, Policy, Stage, UsageError
from gemma_guard.cache import ScoreCache
from gemma_guard.calibration import Calibration, Platt
from gemma_guard.exemption import Exemption, today
from gemma_guard.judging import Case, judge
from gemma_guard.panel import Panel
from gemma_guard.route import Route, Rule
from gemma_guard.scorers.fake import Fake
from gemma_guard.seat import Seat
from gemma_guard.settled import settled

WORDING = Guideline("no insults in prompts", "no insults in answers")
WORDS = {"rude": {"twerp": 0.4, "scum": 0.9}, "rough": {"scum": 0.5}}
PLAIN = [{"role": "user", "content": "How do trains brake?"}]
ANSWERED = [*PLAIN, {"role": "assistant", "content": "With air."}]


def rule(name: str, log: float, scorer: str = "fake") -> Rule:
    policy = Policy(name, guideline=WORDING)
    return Rule(policy, Bands(log=log), Bands(log=log), scorer)


RULES = (rule("rude", 0.3), rule("rough", 0.45))


def panel(**changes: Any) -> Panel:
    seats = {name: Seat(Fake(WORDS)) for name in ("fake", "other")}
    return replace(Panel(seats, {}, ScoreCache()), **changes)


async def both(case: Case, asked: Panel | None = None, known: Case | None = None) -> Any:
    """What is settled once the scorers have answered, and what they make of it."""
    asked = asked or panel()
    judged = await judge(known or case, asked)
    return settled(case, asked), judged


roles = st.sampled_from(["user", "assistant", "tool", "system", "User", "function", "wizard", ""])
contents = st.sampled_from(["Hello.", "caf\u00e9"]) | st.sampled_from(
    ["", "you twerp", "you scum", "s c u m", "sc\u200bum", "\ud800", "x" * 300]
)
plain = st.fixed_dictionaries({"role": roles, "content": contents})
odd = st.sampled_from(
    [
        {"role": "user", "content": "Hello.", "name": "scum"},
        {"role": "user", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "user", "content": None},
        {"role": ["user"], "content": "Hello."},
        {"content": "Hello.", "type": "reasoning"},
        {"role": "assistant", "tool_calls": []},
        "Hello.",
    ]
)
usual = st.sampled_from([["user"], ["tool", "user"], ["user", "assistant"]])
chats = st.builds(
    lambda spoken, said: [{"role": r, "content": c} for r, c in zip(spoken, said, strict=False)],
    usual,
    st.lists(contents, min_size=2, max_size=2),
)
sources = contents | chats | st.lists(plain | odd, max_size=4) | st.tuples(plain, plain)
routes = st.builds(
    Route,
    st.just("default"),
    st.sampled_from(
        [RULES, (), (*RULES, rule("rude", 0.3, "other")), (*RULES, replace(RULES[0], shadow=True))]
    ),
    max_chars=st.sampled_from([200, 200_000]),
    judge_system=st.booleans(),
    scope=st.sampled_from(["all", "new"]),
)


@given(source=sources, route=routes, stage=..., prompt=st.none() | contents)
def test_what_is_settled_is_what_would_be_judged(
    source: Any, route: Route, stage: Stage, prompt: str | None
) -> None:
    try:
        at_once, judged = asyncio.run(both(Case(source, route, stage, prompt)))
    except UsageError:
        assert settled(Case(source, route, stage, prompt), panel()) is None
        return
    assert at_once in (None, judged)


@pytest.mark.parametrize(
    ("source", "stage"),
    [
        pytest.param("How do trains brake?", Stage.INPUT, id="text"),
        pytest.param("With air.", Stage.OUTPUT, id="answer alone"),
        pytest.param(PLAIN, Stage.INPUT, id="question"),
        pytest.param([{"role": "tool", "content": ""}, *PLAIN], Stage.INPUT, id="nothing beside"),
        pytest.param(ANSWERED, Stage.OUTPUT, id="answer"),
        pytest.param(
            [{"role": "user", "content": "Comment \u00e7a va ?"}], Stage.INPUT, id="French"
        ),
    ],
)
async def test_a_plain_text_of_which_all_is_known_is_settled(source: Any, stage: Stage) -> None:
    at_once, judged = await both(Case(source, Route("default", RULES), stage))

    assert at_once == judged
    assert at_once.passages[0].scores


FOR_A_WHILE = Exemption("k", "why", "who", today() + timedelta(days=9), text="0" * 32)
ROUTE = Route("default", RULES)
KNOWN = Case(PLAIN, ROUTE, Stage.INPUT)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(KNOWN._replace(tenant="another"), id="known to another tenant"),
        pytest.param(KNOWN._replace(prompt="a question"), id="known to answer nothing"),
        pytest.param(KNOWN._replace(stage=Stage.OUTPUT), id="known as a prompt"),
        pytest.param(KNOWN._replace(stream="1"), id="of a stream"),
        pytest.param(KNOWN._replace(route=replace(ROUTE, max_chars=9)), id="too long"),
        pytest.param(KNOWN._replace(route=replace(ROUTE, rules=())), id="no policy"),
        pytest.param(
            KNOWN._replace(route=replace(ROUTE, exemptions=(FOR_A_WHILE,))), id="exceptions"
        ),
        pytest.param(
            KNOWN._replace(route=replace(ROUTE, rules=(rule("rude", 0.02),))), id="at a band"
        ),
    ],
)
async def test_what_is_not_known_or_not_plain_is_not_settled(case: Case) -> None:
    at_once, _ = await both(case, known=KNOWN)

    assert at_once is None


async def test_nothing_is_settled_where_nothing_is_kept() -> None:
    assert (await both(KNOWN, panel(cache=None)))[0] is None


@pytest.mark.parametrize("bias", [0.0, 9.0])
async def test_what_is_known_is_settled_by_the_calibration_in_service(bias: float) -> None:
    maps = {("rude", Stage.INPUT): Platt(1.0, bias)}
    calibrated = panel(calibrations={"fake": Calibration("fake", maps)})

    at_once, judged = await both(KNOWN, calibrated)

    assert at_once == (None if judged.findings else judged)
    assert bool(judged.findings) is (bias > 0)


@pytest.mark.parametrize("text", ["How do trains brake?", "you scum"])
async def test_what_is_known_counts_once_whoever_decides(text: str) -> None:
    kept = ScoreCache()
    asked, case = panel(cache=kept), Case(text, ROUTE, Stage.INPUT)
    for _ in range(3):
        settled(case, asked) or await judge(case, asked)

    assert (kept.counts.hits, kept.counts.misses) == (2 * len(RULES), len(RULES))
