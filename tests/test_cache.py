"""What the score cache promises: the scorer's own answers, asked once, and nothing else kept."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_guard.cache import ScoreCache, Store
from gemma_guard.errors import (
    Cause,
    DeadlineExceeded,
    ScoringError,
    ScoringFailed,
    TextRefused,
    Unreachable,
)
from gemma_guard.policy import Bands, Guideline, Patterns, Policy
from gemma_guard.scorer import Probe
from gemma_guard.verdict import Score, Span, Stage

CANARY = "canary-7f3a"
NEVER = float("inf")
WORDING = Guideline("in", "out")
ABC = tuple(Policy(name, Bands(block=0.5), Bands(block=0.5), WORDING) for name in "abc")


class Judge:
    """Scores by length of text and name; remembers what it was asked, may wait or break."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.calls: list[Sequence[Probe]] = []
        self.gate: asyncio.Event | None = None
        self.error = error

    async def __call__(self, probes: Sequence[Probe]) -> list[tuple[Score, ...]]:
        self.calls.append(probes)
        self.asked += [(probe.text, policy.name) for probe in probes for policy in probe.policies]
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error
        return [answer(probe) for probe in probes]


def answer(probe: Probe) -> tuple[Score, ...]:
    return tuple(
        Score(policy.name, len(probe.text) % 10 / 10, raw=ord(policy.name[0]) / 1000)
        for policy in probe.policies
    )


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def scores(
    cache: ScoreCache, judge: Any, *probes: Probe, deadline: float = NEVER, **scope: Any
) -> list[tuple[Score, ...]]:
    scope = {"fingerprint": "judge-1", **scope}
    return await cache.scores(probes, judge, deadline=deadline, **scope)


async def begun(judge: Judge, calls: int = 1) -> None:
    while len(judge.calls) < calls:  # noqa: ASYNC110  every step of the loop may be the one
        await asyncio.sleep(0)


async def settle() -> None:
    """Long enough for every task that can go on to have come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


# what is asked and answered


async def test_a_question_is_asked_once_and_answered_the_same_for_ever() -> None:
    cache, judge, probe = ScoreCache(), Judge(), Probe("hello", ABC)

    first = await scores(cache, judge, probe)
    second = await scores(cache, judge, Probe("hello", tuple(reversed(ABC))))

    assert first == [answer(probe)]
    assert second == [tuple(reversed(answer(probe)))]
    assert judge.asked == [("hello", "a"), ("hello", "b"), ("hello", "c")]
    assert (cache.counts.hits, cache.counts.misses, cache.counts.entries) == (3, 3, 3)


async def test_only_unknown_pairs_are_asked_and_put_back_in_order() -> None:
    cache, judge = ScoreCache(), Judge()
    a, b, c = ABC
    await scores(cache, judge, Probe("x", (b,)), Probe("yy", (a, b, c)))
    judge.asked.clear()
    probes = Probe("x", (a, b, c)), Probe("yy", (c, a)), Probe("zzz", (b,)), Probe("x", (a,))

    assert await scores(cache, judge, *probes) == [answer(probe) for probe in probes]
    assert judge.asked == [("x", "a"), ("x", "c"), ("zzz", "b")]
    assert judge.calls[-1] == [Probe("x", (a, c)), Probe("zzz", (b,))]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["", "x", "yy", "zzz"]), st.sets(st.sampled_from(ABC))),
            max_size=5,
        ),
        max_size=8,
    ),
    st.integers(0, 3000),
)
def test_answers_are_those_without_a_cache_whatever_its_size(
    calls: list[list[tuple[str, set[Policy]]]], max_bytes: int
) -> None:
    cache = ScoreCache(max_bytes=max_bytes)
    asked = [[Probe(text, tuple(policies)) for text, policies in call] for call in calls]

    async def ask() -> list[list[tuple[Score, ...]]]:
        one_by_one = [await scores(cache, Judge(), *probes) for probes in asked]
        at_once = await asyncio.gather(*(scores(cache, Judge(), *probes) for probes in asked))
        return [*one_by_one, *at_once]

    assert asyncio.run(ask()) == [[answer(probe) for probe in probes] for probes in asked] * 2
    assert cache.counts.bytes <= max_bytes


JUDGED, PATTERN = ABC[0], Policy("p", Bands(block=1), patterns=Patterns(words=("x",)))


@pytest.mark.parametrize(
    "other",
    [
        Probe("u", (JUDGED,)),
        Probe("t ", (JUDGED,)),
        Probe("t", (JUDGED,), Stage.OUTPUT),
        Probe("t", (JUDGED,), prompt=""),
        Probe("t", (JUDGED,), prompt="p"),
        Probe("t", (replace(JUDGED, name="other"),)),
        Probe("t", (replace(JUDGED, guideline=Guideline("in", "other")),)),
        Probe("t", (replace(JUDGED, head="other"),)),
        Probe("t", (replace(JUDGED, guideline=None, patterns=Patterns(words=("x",))),)),
    ],
)
async def test_whatever_a_score_may_depend_on_makes_another_question(other: Probe) -> None:
    cache, judge = ScoreCache(), Judge()
    await scores(cache, judge, Probe("t", (JUDGED,)))

    await scores(cache, judge, other)

    assert len(judge.calls) == 2


@pytest.mark.parametrize("scope", [{"fingerprint": "judge-2"}, {"tenant": "another"}])
async def test_neither_scorers_nor_tenants_share_scores(scope: dict[str, Any]) -> None:
    cache, judge = ScoreCache(), Judge()
    await scores(cache, judge, Probe("t", ABC))

    await scores(cache, judge, Probe("t", ABC), **scope)

    assert len(judge.calls) == 2


@pytest.mark.parametrize(
    "same",
    [
        Probe("t", (JUDGED,), stream="s-1"),
        Probe("t", (replace(JUDGED, input=Bands(log=0.1), output=None),)),
    ],
)
async def test_hints_and_bands_do_not(same: Probe) -> None:
    cache, judge = ScoreCache(), Judge()
    await scores(cache, judge, Probe("t", (JUDGED,)))

    await scores(cache, judge, same)

    assert len(judge.calls) == 1


async def test_no_text_passes_for_another_with_its_prompt() -> None:
    cache, judge = ScoreCache(), Judge()
    await scores(cache, judge, Probe("t", (JUDGED,), prompt="p"))

    await scores(cache, judge, Probe("1:pt", (JUDGED,)))

    assert len(judge.calls) == 2


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))
def test_prompt_and_text_never_run_together(p1: str, t1: str, p2: str, t2: str) -> None:
    cache, judge = ScoreCache(), Judge()
    for prompt, text in ((p1, t1), (p2, t2)):
        asyncio.run(scores(cache, judge, Probe(text, (JUDGED,), Stage.OUTPUT, prompt)))

    assert len(judge.calls) == len({(p1, t1), (p2, t2)})


async def test_half_a_surrogate_pair_is_a_text_like_any_other() -> None:
    cache, judge = ScoreCache(), Judge()
    for text in ("\ud83d\ude00", "\U0001f600", "\ud83d", "\ud83d\ude00"):
        await scores(cache, judge, Probe(text, (JUDGED,), Stage.OUTPUT, text))

    assert len(judge.calls) == 3


async def test_no_text_is_kept() -> None:
    cache = ScoreCache()
    await scores(cache, Judge(), Probe(CANARY, ABC, Stage.OUTPUT, CANARY))

    insides = cache, cache._store, cache._keys  # noqa: SLF001  they are the claim
    assert CANARY not in repr([vars(inside) for inside in insides])


async def test_policies_that_come_and_go_are_told_apart() -> None:
    cache, judge = ScoreCache(), Judge()
    for i in range(5000):
        policy = Policy(f"p{i}", Bands(block=0.5), guideline=WORDING)
        await scores(cache, judge, Probe("t", (policy,)))

    assert len(judge.calls) == 5000


# what is kept, and for how long


def test_the_least_recently_used_leave_first() -> None:
    store = Store(max_bytes=1300, ttl_s=10)
    for key in (b"1", b"2", b"3"):
        store.put(key, Score("p", 0.1), now=0)
    store.get(b"1", now=0)
    store.put(b"4", Score("p", 0.4), now=0)
    store.rows([(b"3",)], now=0)
    store.put(b"5", Score("p", 0.5), now=0)

    held = [key for key in (b"1", b"2", b"3", b"4", b"5") if store.peek(key, now=0)]
    assert held == [b"3", b"4", b"5"]


def test_a_score_leaves_after_its_time_however_often_it_is_used() -> None:
    store = Store(max_bytes=10_000, ttl_s=10)
    store.put(b"k", Score("p", 0.1), now=0)

    assert [store.get(b"k", now=now) is None for now in (0, 9.9, 10, 11)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_score_bigger_than_the_store_is_not_kept_and_evicts_nobody() -> None:
    store = Store(max_bytes=1000, ttl_s=10)
    store.put(b"small", Score("p", 0.1), now=0)
    store.put(b"big", Score("p", 0.1, spans=tuple(Span(i, i + 1) for i in range(10))), now=0)

    assert store.peek(b"small", now=0)
    assert not store.peek(b"big", now=0)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 5))),
    st.integers(0, 6000),
)
def test_the_bytes_never_exceed_the_bound_and_answers_are_the_newest(
    puts: list[tuple[int, int, float]], max_bytes: int
) -> None:
    store, newest, now = Store(max_bytes=max_bytes, ttl_s=10), {}, 0.0
    for key, spans, passes in puts:
        now += passes
        score = Score("p", 0.1, spans=tuple(Span(i, i + 1) for i in range(spans)))
        store.put(bytes([key]), score, now=now)
        newest[bytes([key])] = score
        assert store.counts.bytes <= max_bytes
        assert all(store.peek(k, now=now) in {None, s} for k, s in newest.items())


@pytest.mark.parametrize("spans", [0, 20])
def test_the_estimate_of_bytes_is_near_what_they_are(spans: int) -> None:
    store = Store(max_bytes=2**40, ttl_s=10)
    tracemalloc.start()
    try:
        for i in range(2000):
            places = tuple(Span(1000 * i + j, 1000 * i + j + 500) for j in range(spans))
            score = Score("p", i / 2001, raw=i / 2002, margin=i / 2003, spans=places)
            store.put(i.to_bytes(32, "big"), score, now=float(i))
        real, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.8 * store.counts.bytes < real < 1.2 * store.counts.bytes


async def test_the_time_counts_from_the_answer() -> None:
    clock, judge = Clock(), Judge()
    cache = ScoreCache(ttl_s=10, clock=clock)
    judge.gate = asyncio.Event()
    asking = asyncio.create_task(scores(cache, judge, Probe("t", ABC)))
    await begun(judge)
    clock.now += 9
    judge.gate.set()
    await asking

    clock.now += 9.9
    await scores(cache, judge, Probe("t", ABC))
    assert len(judge.calls) == 1
    clock.now += 0.1
    await scores(cache, judge, Probe("t", ABC))
    assert len(judge.calls) == 2


WRONG = [
    [],
    [()],
    [answer(Probe("t", ABC))] * 2,
    [answer(Probe("t", ABC[::-1]))],
    [answer(Probe("t", ABC[:2]))],
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_answer_that_does_not_fit_fails_and_is_not_kept(wrong: Any) -> None:
    cache, judge = ScoreCache(), Judge()

    async def mixed_up(_probes: Sequence[Probe]) -> Any:
        return wrong

    with pytest.raises(ScoringFailed, match="one score per policy, in order"):
        await scores(cache, mixed_up, Probe("t", ABC))
    assert cache.counts.entries == 0
    assert await scores(cache, judge, Probe("t", ABC)) == [answer(Probe("t", ABC))]


@pytest.mark.parametrize(
    "error", [Unreachable("gone"), TextRefused(Cause.TOO_LONG, "long"), RuntimeError("x")]
)
async def test_errors_pass_through_and_are_not_kept(error: Exception) -> None:
    cache, judge = ScoreCache(), Judge(error)

    with pytest.raises(type(error)):
        await scores(cache, judge, Probe("t", ABC))
    judge.error = None

    assert await scores(cache, judge, Probe("t", ABC)) == [answer(Probe("t", ABC))]


# asked at once


async def test_equal_questions_asked_at_once_are_asked_once() -> None:
    cache, judge = ScoreCache(), Judge()
    judge.gate = asyncio.Event()
    asking = [asyncio.create_task(scores(cache, judge, Probe("t", ABC))) for _ in range(50)]
    await begun(judge)
    await settle()
    judge.gate.set()

    assert await asyncio.gather(*asking) == [[answer(Probe("t", ABC))]] * 50
    assert len(judge.calls) == 1
    assert not cache._flights  # noqa: SLF001  nothing stays


async def test_what_is_answered_between_looking_and_asking_is_not_asked_again() -> None:
    probe, judge, clock = Probe("t", ABC), Judge(), Clock()
    looks = []

    def answered_at_the_third_look() -> float:
        looks.append(clock.now)
        if len(looks) == 3:
            keys = cache._keys.of(probe, "judge-1", "")  # noqa: SLF001
            for key, score in zip(keys, answer(probe), strict=True):
                cache._store.put(key, score, now=clock.now)  # noqa: SLF001
        return clock.now

    cache = ScoreCache(clock=answered_at_the_third_look)

    assert await scores(cache, judge, probe) == [answer(probe)]
    assert judge.calls == []


async def test_callers_that_wait_for_each_others_questions_both_get_their_answers() -> None:
    cache, judge = ScoreCache(), Judge()
    judge.gate = asyncio.Event()
    x, y, z = (Probe(text, ABC) for text in "xyz")
    asking = [
        asyncio.create_task(scores(cache, judge, *probes))
        for probes in ((x, y), (y, z), (z, x), (x, x, y, z))
    ]
    await begun(judge, 2)
    judge.gate.set()

    assert [len(rows) for rows in await asyncio.gather(*asking)] == [2, 2, 2, 4]
    assert sorted(judge.asked) == sorted((text, name) for text in "xyz" for name in "abc")


async def test_when_the_first_asker_is_cancelled_one_of_the_others_asks() -> None:
    cache, judge = ScoreCache(), Judge()
    judge.gate = asyncio.Event()
    asking = [asyncio.create_task(scores(cache, judge, Probe("t", ABC))) for _ in range(10)]
    await begun(judge)
    await settle()
    for first in asking[:2]:
        first.cancel()
    await begun(judge, 2)
    judge.gate.set()

    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(a, asyncio.CancelledError) for a in answers] == [True] * 2 + [False] * 8
    assert len(judge.calls) == 2


async def test_when_the_first_asker_fails_on_this_text_alone_all_get_the_error() -> None:
    cache, judge = ScoreCache(), Judge(Unreachable("gone"))
    judge.gate = asyncio.Event()
    asking = [asyncio.create_task(scores(cache, judge, Probe("t", ABC))) for _ in range(10)]
    await begun(judge)
    await settle()
    judge.gate.set()

    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(a) for a in answers] == [Unreachable] * 10
    assert len(judge.calls) == 1


async def test_when_it_fails_on_several_texts_the_others_ask_about_theirs() -> None:
    cache, judge = ScoreCache(), Judge(TextRefused(Cause.TOO_LONG, "long"))
    judge.gate = asyncio.Event()
    first = asyncio.create_task(scores(cache, judge, Probe("t", ABC), Probe("long", ABC)))
    await begun(judge)
    other = asyncio.create_task(scores(cache, Judge(), Probe("t", ABC)))
    await settle()
    judge.gate.set()

    with pytest.raises(TextRefused):
        await first
    assert await other == [answer(Probe("t", ABC))]


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), TimeoutError()])
async def test_the_deadline_of_the_first_asker_is_its_own(error: Exception) -> None:
    cache, judge = ScoreCache(), Judge(error)
    judge.gate = asyncio.Event()
    first = asyncio.create_task(scores(cache, judge, Probe("t", ABC)))
    await begun(judge)
    other = asyncio.create_task(scores(cache, Judge(), Probe("t", ABC)))
    await settle()
    judge.gate.set()

    with pytest.raises(type(error)):
        await first
    assert await other == [answer(Probe("t", ABC))]


async def test_nobody_waits_for_an_asker_past_its_deadline() -> None:
    clock, judge = Clock(), Judge()
    cache = ScoreCache(clock=clock)
    judge.gate = asyncio.Event()
    stuck = asyncio.create_task(scores(cache, judge, Probe("t", ABC), deadline=105))
    await begun(judge)
    clock.now = 105

    assert await scores(cache, Judge(), Probe("t", ABC)) == [answer(Probe("t", ABC))]

    judge.gate.set()
    assert await stuck == [answer(Probe("t", ABC))]
    assert not cache._flights  # noqa: SLF001  nothing stays


def test_an_asker_whose_event_loop_died_leaves_its_question_to_the_others() -> None:
    cache, judge = ScoreCache(), Judge()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it says that a task was destroyed, rightly

    async def hangs(_probes: Sequence[Probe]) -> Any:
        await asyncio.get_running_loop().create_future()

    task = loop.create_task(scores(cache, hangs, Probe("t", ABC)))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert cache._flights  # noqa: SLF001  it was asking
    loop.close()
    del task
    gc.collect()

    assert asyncio.run(scores(cache, judge, Probe("t", ABC))) == [answer(Probe("t", ABC))]


def test_many_loops_with_cancellations_and_faults_all_get_answers() -> None:
    cache, chance, seen = ScoreCache(max_bytes=20_000), random.Random(3), []  # noqa: S311

    async def flaky(probes: Sequence[Probe]) -> list[tuple[Score, ...]]:
        await asyncio.sleep(chance.random() / 500)
        if chance.random() < 0.2:
            raise chance.choice([Unreachable("gone"), TimeoutError()])
        return [answer(probe) for probe in probes]

    async def one(i: int) -> None:
        probes = [Probe("t" * chance.randint(0, 30), ABC) for _ in range(chance.randint(1, 3))]
        asking = asyncio.ensure_future(scores(cache, flaky, *probes))
        await asyncio.sleep(chance.random() / 500)
        if i % 5 == 0:
            asking.cancel()
        await asyncio.wait({asking})
        if asking.cancelled() or asking.exception():
            seen.append(
                isinstance(asking.exception(), ScoringError | TimeoutError)
                if not asking.cancelled()
                else i % 5 == 0
            )
        else:
            seen.append(asking.result() == [answer(probe) for probe in probes])

    async def every() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*map(one, range(250)))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    callers = [threading.Thread(target=asyncio.run, args=(every(),)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)

    assert seen == [True] * 1000
    assert not cache._flights  # noqa: SLF001  nothing stays
