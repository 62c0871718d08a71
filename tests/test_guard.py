"""What `Guard.check` promises, with real scorers and with scorers that break."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import (
    Action,
    Bands,
    Blocked,
    Cause,
    ConfigError,
    Guard,
    Guideline,
    NotServing,
    Overloaded,
    Patterns,
    Policy,
    Priority,
    Probe,
    Score,
    ScoringFailed,
    Stage,
    TextRefused,
    Unreachable,
    UsageError,
    Verdict,
)
from gemma_guard.configuration import ScorerSpec, Settings
from gemma_guard.route import DEFAULT, Fallback, Route, Routes, Rule
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads

CANARY = "canary-7f3a"
WORDING = Guideline("no insults in prompts", "no insults in answers")
HARASSMENT = Policy(
    "harassment",
    input=Bands(log=0.3, block=0.6),
    output=Bands(log=0.3, redact=0.5, block=0.8),
    guideline=WORDING,
)
WORDS = {"harassment": {"twerp": 0.4, "idiot": 0.55, "scum": 0.9}}


class Odd:
    """A scorer that does one odd thing on every call."""

    def __init__(self, act: Any) -> None:
        self._act = act
        self.fingerprint = "odd"
        self.calls = 0

    def judges(self, _policy: Policy, _stage: Stage, /) -> bool:
        return True

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> Sequence[tuple[Score, ...]]:
        assert deadline > time.monotonic()
        assert priority is Priority.LIVE
        self.calls += 1
        answer = self._act(probes)
        scores: Sequence[tuple[Score, ...]] = (
            await answer if asyncio.iscoroutine(answer) else answer
        )
        return scores

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


def raises(error: Exception) -> Odd:
    def act(_probes: Sequence[Probe]) -> Any:
        raise error

    return Odd(act)


def hangs() -> Odd:
    return Odd(lambda _probes: asyncio.sleep(3600))


def calm(probes: Sequence[Probe]) -> list[tuple[Score, ...]]:
    return [tuple(Score(policy.name, 0.0) for policy in probe.policies) for probe in probes]


def guard_with(scorer: Any, *, fallback: Any = None, **route: Any) -> Guard:
    rule = Rule(HARASSMENT, HARASSMENT.input, HARASSMENT.output, "judge")
    specs = {"judge": ScorerSpec("judge")}
    scorers = {"judge": scorer}
    if fallback is not None:
        scorers["second"] = fallback
        route["fallback"] = Fallback("second")
    routes = Routes({DEFAULT: Route(DEFAULT, (rule,), **route)})
    return Guard(Settings(routes, specs), scorers=scorers, sinks=())


@pytest.mark.parametrize(
    ("text", "stage", "action", "left"),
    [
        ("good morning", "input", Action.ALLOW, "good morning"),
        ("you twerp", "input", Action.LOG, "you twerp"),
        ("you idiot", "input", Action.LOG, "you idiot"),
        ("you scum", "input", Action.BLOCK, None),
        ("you twerp", "output", Action.LOG, "you twerp"),
        ("you idiot!", "output", Action.REDACT, "you [redacted: harassment]!"),
        ("you scum", "output", Action.BLOCK, None),
    ],
)
async def test_the_bands_of_the_stage_decide_what_may_go_on(
    text: str, stage: str, action: Action, left: str | None
) -> None:
    verdict = await Guard.of([HARASSMENT], Fake(WORDS)).check(text, stage=stage)

    assert (verdict.action, verdict.text) == (action, left)
    assert verdict.status == "scored"
    assert verdict.policies == (("harassment",) if action else ())


async def test_a_blocked_verdict_raises_with_the_policy_and_without_text_or_score() -> None:
    verdict = await Guard.of([HARASSMENT], Fake(WORDS)).check("you scum")

    with pytest.raises(Blocked) as blocked:
        verdict.raise_if_blocked()

    assert blocked.value.verdict is verdict
    assert str(blocked.value) == f"block: harassment (decision {verdict.id})"
    assert verdict.fault == "content"


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1))
def test_several_policies_decide_as_the_hardest_of_each(violations: dict[str, float]) -> None:
    bands = Bands(log=0.2, block=0.7)
    policies = [Policy(name, bands, bands, WORDING) for name in violations]
    scorer = Fake({name: {"x": violation} for name, violation in violations.items()}, rest=0.0)

    verdict = Guard.of(policies, scorer, sinks=()).check_sync("x")

    assert verdict.action == max(bands.judge(violation)[0] for violation in violations.values())


async def test_a_judged_redaction_without_a_place_to_cut_becomes_a_block() -> None:
    guard = guard_with(Odd(lambda probes: [(Score("harassment", 0.6),) for _ in probes]))

    verdict = await guard.check("anything", stage="output")

    assert verdict.action is Action.BLOCK
    assert verdict.policies == ("harassment",)


async def test_a_redacted_text_that_the_judge_still_objects_to_is_blocked() -> None:
    stubborn = Policy("word", output=Bands.of(Action.REDACT), patterns=Patterns(words=("word_1",)))

    verdict = await Guard.of([stubborn], Fake(), sinks=()).check("a word_1 here", stage="output")

    assert verdict.action is Action.BLOCK
    assert verdict.text is None


async def test_equal_matches_get_equal_placeholders_across_the_messages_of_a_request() -> None:
    email = Policy("email", input=Bands.of(Action.REDACT), patterns=Patterns(("email",)))
    messages = [
        {"role": "user", "content": "a@example.com and b@example.com"},
        {"role": "user", "content": "again b@example.com"},
    ]

    verdict = await Guard.of([email], Fake(), sinks=()).check(messages=messages)

    assert [m["content"] for m in verdict.apply(messages)] == [
        "[EMAIL_1] and [EMAIL_2]",
        "again [EMAIL_2]",
    ]
    assert messages[0]["content"] == "a@example.com and b@example.com"


async def test_a_shadowed_policy_is_recorded_and_enforces_nothing() -> None:
    rule = Rule(HARASSMENT, HARASSMENT.input, HARASSMENT.output, "judge", shadow=True)
    routes = Routes({DEFAULT: Route(DEFAULT, (rule,))})
    settings = Settings(routes, {"judge": ScorerSpec("judge")})

    verdict = await Guard(settings, scorers={"judge": Fake(WORDS)}).check("you scum")

    assert (verdict.action, verdict.text) == (Action.ALLOW, "you scum")
    assert [(f.policy, f.action, f.shadow) for f in verdict.findings] == [
        ("harassment", Action.BLOCK, True)
    ]


async def test_a_request_may_tighten_and_never_loosen() -> None:
    guard = Guard.of([HARASSMENT], Fake(WORDS))

    tight = await guard.check("you twerp", tighten={"harassment": Bands(block=0.4)})
    loose = await guard.check("you scum", tighten={"harassment": Bands(log=1.0)})

    assert tight.action is Action.BLOCK
    assert tight.findings[-1].key == "request.harassment.block"
    assert loose.action is Action.BLOCK
    with pytest.raises(UsageError, match="did you mean 'harassment'"):
        await guard.check("x", tighten={"harasment": Bands(block=0.4)})


async def test_a_request_cannot_break_the_judge_with_a_policy_it_cannot_judge_at_a_stage() -> None:
    scorer = Odd(calm)
    scorer.judges = lambda _policy, stage, /: stage is Stage.INPUT  # type: ignore[method-assign]
    rule = Rule(HARASSMENT, HARASSMENT.input, None, "judge")
    routes = Routes({DEFAULT: Route(DEFAULT, (rule,), on_error="fail_open")})
    guard = Guard(Settings(routes, {"judge": ScorerSpec("judge")}), scorers={"judge": scorer})

    with pytest.raises(UsageError, match=r"tighten: .*'judge' cannot judge policy 'harassment'"):
        await guard.check("x", tighten={"harassment": Bands(log=0.1)})


async def test_the_output_stage_judges_the_answer_in_the_light_of_the_newest_question() -> None:
    seen: list[Probe] = []

    def act(probes: Sequence[Probe]) -> Any:
        seen.extend(probes)
        return calm(probes)

    await guard_with(Odd(act)).check(
        messages=[
            {"role": "user", "content": "old"},
            {"role": "assistant", "content": "older answer"},
            {"role": "user", "content": "new"},
            {"role": "assistant", "content": "the answer"},
        ],
        stage="output",
    )

    assert [(probe.text, probe.prompt, probe.stage) for probe in seen] == [
        ("the answer", "new", Stage.OUTPUT)
    ]


async def test_no_text_is_allowed_and_never_in_silence() -> None:
    for verdict in (
        await Guard.of([HARASSMENT], Fake()).check(""),
        await Guard.of([HARASSMENT], Fake()).check(messages=[{"role": "user", "content": ""}]),
    ):
        assert (verdict.action, verdict.status) == (Action.ALLOW, "not_scanned")
        assert [gap.cause for gap in verdict.gaps] == [Cause.EMPTY]


async def test_a_stage_without_policies_is_a_gap() -> None:
    only_input = Policy("harassment", input=Bands(block=0.6), guideline=WORDING)

    verdict = await Guard.of([only_input], Fake()).check("x", stage="output")

    assert (verdict.action, verdict.status) == (Action.ALLOW, "not_scanned")
    assert [gap.cause for gap in verdict.gaps] == [Cause.NO_POLICY]


@pytest.mark.parametrize(("media", "action"), [("refuse", Action.BLOCK), ("gap", Action.ALLOW)])
async def test_an_image_is_a_gap_and_refused_where_the_route_says_so(
    media: str, action: Action
) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "x"}}]

    verdict = await guard_with(Odd(calm), media=media).check(
        messages=[{"role": "user", "content": parts}]
    )

    assert verdict.action is action
    assert [(gap.cause, gap.place) for gap in verdict.gaps] == [(Cause.MEDIA, (0, "content", 1))]


@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open"])
@pytest.mark.parametrize(
    ("text", "cause"), [("x" * 101, Cause.TOO_LONG), ("half \ud800", Cause.UNDECODABLE)]
)
async def test_what_no_judge_can_read_is_refused_whatever_on_error_says(
    on_error: str, text: str, cause: Cause
) -> None:
    scorer = Odd(calm)

    verdict = await guard_with(scorer, on_error=on_error, max_chars=100).check(text)

    assert (verdict.action, verdict.fault) == (Action.BLOCK, "request")
    assert [gap.cause for gap in verdict.gaps] == [cause]
    assert scorer.calls == 0


async def test_nul_bytes_and_every_script_are_judged() -> None:
    text = "\0 scum \0 \U0001f600 \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d"

    assert (await Guard.of([HARASSMENT], Fake(WORDS)).check(text)).action is Action.BLOCK


async def test_ten_thousand_policies_are_judged_in_one_call() -> None:
    policies = [Policy(f"p{i}", Bands(block=0.5), guideline=WORDING) for i in range(10_000)]

    verdict = await Guard.of(policies, Fake({"p9999": {"x": 0.9}})).check("x")

    assert verdict.policies == ("p9999",)
    assert len(verdict.scores) == 10_000


FAULTS = [
    pytest.param(lambda: raises(RuntimeError(CANARY)), Cause.CRASHED, id="raises"),
    pytest.param(lambda: raises(ScoringFailed("worker gone")), Cause.CRASHED, id="fails"),
    pytest.param(lambda: raises(Unreachable("refused")), Cause.UNREACHABLE, id="unreachable"),
    pytest.param(lambda: raises(Overloaded("queue full")), Cause.FULL, id="full"),
    pytest.param(lambda: raises(TimeoutError()), Cause.TIMED_OUT, id="times out"),
    pytest.param(hangs, Cause.TIMED_OUT, id="hangs"),
    pytest.param(lambda: Odd(lambda _: []), Cause.CRASHED, id="answers too few"),
    pytest.param(lambda: Odd(lambda p: calm(p) * 2), Cause.CRASHED, id="answers too many"),
    pytest.param(lambda: Odd(lambda _: [()]), Cause.CRASHED, id="misses a policy"),
    pytest.param(lambda: Odd(lambda _: [(Score("other", 0.0),)]), Cause.CRASHED, id="mixes up"),
    pytest.param(lambda: Odd(lambda _: None), Cause.CRASHED, id="answers nothing"),
    pytest.param(
        lambda: Odd(lambda _: [(Score("harassment", float("nan")),)]), Cause.CRASHED, id="nan"
    ),
]


@pytest.mark.parametrize("deadline_s", [0.05, 0.2])
@pytest.mark.parametrize(
    ("on_error", "action"), [("fail_closed", Action.BLOCK), ("fail_open", Action.LOG)]
)
@pytest.mark.parametrize(("fault", "cause"), FAULTS)
async def test_a_scorer_that_breaks_is_a_named_gap_and_on_error_decides(
    fault: Any, cause: Cause, on_error: str, action: Action, deadline_s: float
) -> None:
    guard = guard_with(fault(), on_error=on_error, deadline_s=deadline_s)

    async with asyncio.timeout(10):
        verdict = await guard.check(f"some text {CANARY}")

    assert verdict.action is action
    assert [(gap.cause, gap.policy) for gap in verdict.gaps] == [(cause, "harassment")]
    assert verdict.status == "not_scanned"
    assert verdict.fault == ("judge" if action is Action.BLOCK else None)
    assert (verdict.text is None) == (action is Action.BLOCK)
    assert CANARY not in repr(verdict) + repr(verdict.gaps)


@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open"])
async def test_a_text_that_a_scorer_refuses_never_passes(on_error: str) -> None:
    scorer = raises(TextRefused(Cause.TOO_MANY_WINDOWS, "81 windows"))

    verdict = await guard_with(scorer, on_error=on_error).check("x")

    assert (verdict.action, verdict.fault) == (Action.BLOCK, "request")


@pytest.mark.parametrize(("fault", "cause"), FAULTS[:6])
async def test_a_fallback_judges_instead_and_the_verdict_says_degraded(
    fault: Any, cause: Cause
) -> None:
    guard = guard_with(fault(), fallback=Fake(WORDS), deadline_s=0.5)

    harmless, harmful = await asyncio.gather(guard.check("hello"), guard.check("you scum"))

    assert (harmless.action, harmful.action) == (Action.LOG, Action.BLOCK)
    assert harmful.fault == "content"
    assert {harmless.status, harmful.status} == {"degraded"}
    assert [(gap.cause, gap.judged_by) for gap in harmful.gaps] == [(cause, "second")]


async def test_a_judge_that_hangs_leaves_time_for_a_fallback_that_takes_some() -> None:
    async def slowly(probes: Sequence[Probe]) -> list[tuple[Score, ...]]:
        await asyncio.sleep(0.01)
        return calm(probes)

    guard = guard_with(hangs(), fallback=Odd(slowly), deadline_s=0.5)

    verdict = await guard.check("hello")

    assert (verdict.action, verdict.status) == (Action.LOG, "degraded")


async def test_a_fallback_that_breaks_too_fails_closed() -> None:
    guard = guard_with(raises(ScoringFailed("a")), fallback=raises(ScoringFailed("b")))

    verdict = await guard.check("hello")

    assert (verdict.action, verdict.fault) == (Action.BLOCK, "judge")


async def test_cancelling_a_check_cancels_the_scorer_and_leaves_the_guard_serving() -> None:
    cancelled = asyncio.Event()

    async def wait_for_ever() -> Any:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    first = iter([True])
    guard = guard_with(Odd(lambda probes: wait_for_ever() if next(first, None) else calm(probes)))

    check = asyncio.create_task(guard.check("x"))
    await asyncio.sleep(0.01)
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check

    assert cancelled.is_set()
    assert (await guard.check("x")).action is Action.ALLOW


@pytest.mark.parametrize("steps", range(6))
async def test_a_check_can_be_cancelled_at_every_await(steps: int) -> None:
    async def in_steps(probes: Sequence[Probe]) -> Any:
        for _ in range(4):
            await asyncio.sleep(0)
        return calm(probes)

    guard = guard_with(Odd(in_steps))
    check = asyncio.create_task(guard.check("x"))
    for _ in range(steps):
        await asyncio.sleep(0)
    check.cancel()
    outcome = (await asyncio.gather(check, return_exceptions=True))[0]

    assert isinstance(outcome, asyncio.CancelledError | Verdict)
    assert (await guard.check("x")).status == "scored"


class Counted(Odd):
    """Counts how often it is opened and closed."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__(calm)
        self.opened = self.closed = 0
        self._fails = fails

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0.01)
        if self._fails:
            self._fails = False
            raise OSError("no weights")
        self.opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed += 1


async def test_scorers_are_opened_once_however_many_ask_first() -> None:
    scorer = Counted()
    guard = guard_with(scorer)

    await asyncio.gather(*(guard.check("x") for _ in range(20)))
    await guard.aclose()

    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_a_failed_opening_reaches_its_caller_and_the_next_one_tries_again() -> None:
    guard = guard_with(Counted(fails=True))

    with pytest.raises(OSError, match="no weights"):
        async with guard:
            pass
    guard = guard_with(Counted(fails=True))
    first, second = await asyncio.gather(guard.check("x"), guard.check("x"), return_exceptions=True)

    for verdict in (first, second):
        assert isinstance(verdict, Verdict)
        assert [gap.cause for gap in verdict.gaps] == [Cause.CRASHED]
    assert (await guard.check("x")).action is Action.ALLOW


class Slow(Counted):
    """Opens when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open, self.is_closed = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.may_open.wait()
        return await super().__aenter__()

    async def __aexit__(self, *of: object) -> None:
        await super().__aexit__(*of)
        self.is_closed.set()


async def test_a_scorer_that_does_not_open_is_waited_for_until_the_deadline_and_no_longer() -> None:
    scorer = Slow()
    guard = guard_with(scorer, deadline_s=0.05)

    late = await guard.check("x")
    scorer.may_open.set()
    guard_is_open = await guard.check("x")
    await guard.aclose()

    assert [gap.cause for gap in late.gaps] == [Cause.TIMED_OUT]
    assert (late.action, guard_is_open.action) == (Action.BLOCK, Action.ALLOW)
    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_who_gives_up_while_a_scorer_opens_spares_the_others() -> None:
    scorer = Slow()
    guard = guard_with(scorer)
    first, second = (asyncio.create_task(guard.check("x")) for _ in range(2))
    await asyncio.sleep(0.01)

    first.cancel()
    await asyncio.sleep(0)
    scorer.may_open.set()

    assert (await second).action is Action.ALLOW
    assert scorer.opened == 1
    await guard.aclose()


async def test_a_scorer_that_opens_after_the_guard_was_closed_is_closed_at_once() -> None:
    scorer = Slow()
    guard = guard_with(scorer, deadline_s=0.05)
    await guard.check("x")

    await guard.aclose()
    scorer.may_open.set()
    await asyncio.wait_for(scorer.is_closed.wait(), 5)

    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_a_closed_guard_says_so() -> None:
    async with Guard.of([HARASSMENT], Fake()) as guard:
        await guard.check("x")

    with pytest.raises(NotServing):
        await guard.check("x")
    with pytest.raises(NotServing):
        guard.check_sync("x")


async def test_check_sync_works_inside_a_running_loop_and_from_many_threads() -> None:
    gc.collect()  # guards of other tests end their threads
    threads_before = threading.active_count()
    guard = Guard.of([HARASSMENT], Fake(WORDS))
    inside = guard.check_sync("you scum")
    verdicts: list[Verdict] = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(guard.check_sync("you scum")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await guard.aclose()

    assert inside.action is Action.BLOCK
    assert [verdict.action for verdict in verdicts] == [Action.BLOCK] * 8
    assert threading.active_count() <= threads_before


def test_one_guard_serves_several_event_loops() -> None:
    guard = Guard.of([HARASSMENT], Fake(WORDS))

    actions = [asyncio.run(guard.check("you scum")).action for _ in range(3)]

    assert actions == [Action.BLOCK] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "either a text or messages"),
        ({"text": "x", "messages": []}, "either a text or messages"),
        ({"text": b"x"}, "a str is needed, got bytes"),
        ({"text": "x", "stage": "midway"}, "unknown stage 'midway'.*input, output"),
        ({"text": "x", "route": "kids"}, "unknown route 'kids'.*default"),
        ({"text": "x", "trusted": {"modle": "a"}}, "did you mean 'model'"),
        ({"text": "x", "claimed": {"team": "a"}}, "unknown field 'team'"),
        ({"messages": "x"}, "a list of messages is needed, got str"),
        ({"messages": 5}, "a list of messages is needed, got int"),
        ({"messages": {"role": "user"}}, "a list of messages is needed, got dict"),
        ({"messages": iter(())}, "a list of messages is needed, got tuple_iterator"),
        ({"messages": [], "stage": "output"}, "the answer as the last message"),
    ],
)
async def test_a_wrong_call_says_what_is_wrong(call: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await Guard.of([HARASSMENT], Fake()).check(**call)


class Picky(Odd):
    """Judges nothing at the output stage."""

    def judges(self, _policy: Policy, stage: Stage, /) -> bool:
        return stage is Stage.INPUT


def test_a_policy_its_scorer_cannot_judge_stops_the_load() -> None:
    with pytest.raises(ConfigError, match="'judge' cannot judge policy 'harassment' at output"):
        guard_with(Picky(calm))
    with pytest.raises(ConfigError, match="'second' cannot judge policy 'harassment' at output"):
        guard_with(Odd(calm), fallback=Picky(calm))


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        (
            "{judge: {type: fake, wrods: {}}}",
            "scorers.judge: unknown option 'wrods'",
        ),
        ("{judge: {type: fake, keywords: 3}}", r"scorers.judge"),
        ("{judge: {type: fkae}}", r"unknown scorer 'fkae'; did you mean 'fake'"),
    ],
)
def test_a_scorer_that_cannot_be_made_stops_the_load(
    tmp_path: Path, scorers: str, message: str
) -> None:
    config = tmp_path / "guard.yaml"
    config.write_text(f"scorers: {scorers}\nroutes: {{default: {{scorer: judge}}}}\n")

    with pytest.raises(ConfigError, match=message) as refused:
        Guard.from_config(config)
    assert str(refused.value).startswith(str(config))


def test_the_fingerprint_changes_with_bands_packs_and_scorers() -> None:
    texts = [
        "routes: {default: {scorer: fake}}",
        "routes: {default: {scorer: fake, packs: [strict]}}",
        "routes: {default: {scorer: fake, policies: {harassment: {shadow: true}}}}",
        "scorers: {fake: {type: fake, rest: 0.1}}\nroutes: {default: {scorer: fake}}",
    ]

    assert len({Guard(loads(text), sinks=()).fingerprint for text in texts}) == len(texts)
    assert Guard(loads(texts[0])).fingerprint == Guard(loads(texts[0])).fingerprint


async def test_every_decision_is_recorded_without_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "guard.yaml"
    config.write_text(
        "scorers: {judge: {type: fake, keywords: {harassment: {canary: 0.9}}}}\n"
        "records: {jsonl: decisions.jsonl}\n"
        "routes: {default: {scorer: judge}}\n"
    )
    caplog.set_level(logging.DEBUG)

    async with Guard.from_config(config) as guard:
        verdict = await guard.check(f"a {CANARY}")

    line = (tmp_path / "decisions.jsonl").read_text()
    record = json.loads(line)
    assert (record["id"], record["action"]) == (verdict.id, "block")
    assert record["findings"][0]["key"].endswith("policies.harassment.bands.input.block")
    assert verdict.id in caplog.text
    assert CANARY not in line + caplog.text + repr(verdict)


async def test_a_role_that_a_caller_makes_up_reaches_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "guard.yaml"
    config.write_text("records: {jsonl: decisions.jsonl}\nroutes: {default: {scorer: fake}}\n")
    caplog.set_level(logging.DEBUG)

    async with Guard.from_config(config) as guard:
        await guard.check(messages=[{"role": CANARY, "content": "x"}])

    assert CANARY not in (tmp_path / "decisions.jsonl").read_text() + caplog.text


class FullDisk:
    """A sink that cannot write."""

    def write(self, _verdict: Verdict, /) -> None:
        raise OSError(28, "No space left on device")


async def test_a_sink_that_fails_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    verdict = await Guard.of([HARASSMENT], Fake(), sinks=[FullDisk()]).check("x")

    assert verdict.action is Action.ALLOW
    assert f"decision {verdict.id} was not recorded" in caplog.text
