"""A sync check runs on the thread of its caller until it has to wait, then on one loop for all."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, NoReturn

import pytest

from gemma_guard.errors import Cause
from gemma_guard.guard import Guard
from gemma_guard.handover import by_hand, on_a_loop
from gemma_guard.policy import Bands, Guideline, Patterns, Policy
from gemma_guard.scorer import Probe, at_once
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads
from gemma_guard.verdict import Action, Score

HARM = Policy("harm", Bands(block=0.5), Bands(block=0.5), Guideline("in", "out"))
WORDS = {"harm": {"scum": 0.9}}
CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")


class Noting(Fake):
    """Writes down where it is asked."""

    def __init__(self) -> None:
        super().__init__(WORDS)
        self.threads: list[threading.Thread] = []
        self.callers: list[str] = []

    def note(self) -> None:
        self.threads.append(threading.current_thread())
        self.callers.append(CALLER.get())


class Immediate(Noting):
    @at_once
    async def score(self, *args: Any, **options: Any) -> list[tuple[Score, ...]]:
        self.note()
        return await super().score(*args, **options)


class Waiting(Noting):
    """Needs a running loop, and stays on the one it was asked on first."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.cancelled = threading.Event()

    async def score(self, *args: Any, **options: Any) -> list[tuple[Score, ...]]:
        self.note()
        self.loops.add(asyncio.get_running_loop())
        try:
            if not self.may_answer.is_set():
                await asyncio.to_thread(self.may_answer.wait, 10)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await super().score(*args, **options)


def refuse(work: Any) -> NoReturn:
    work.close()
    raise AssertionError("nothing of it needs a loop")


def test_work_that_never_waits_needs_no_loop() -> None:
    async def work() -> int:
        return 42

    assert by_hand(work(), refuse) == 42


def test_work_goes_on_elsewhere_from_where_it_needs_a_loop() -> None:
    steps: list[str] = []

    async def work() -> str:
        steps.append("here")
        await on_a_loop()
        steps.append("there")
        await asyncio.sleep(0)
        await on_a_loop()
        return "done"

    assert by_hand(work(), asyncio.run) == "done"
    assert steps == ["here", "there"]


def test_work_begun_by_hand_within_other_work_leaves_it_by_hand() -> None:
    async def inner() -> int:
        return 1

    async def outer() -> int:
        one = by_hand(inner(), refuse)
        await on_a_loop()
        return one

    assert by_hand(outer(), asyncio.run) == 1


async def test_on_a_loop_gives_nobody_else_a_turn() -> None:
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "another")
    await on_a_loop()
    assert not turns


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_what_is_answered_at_once_is_answered_on_the_thread_that_asks(in_a_loop: bool) -> None:
    scorer = Immediate()
    guard = Guard.of([HARM], scorer, sinks=())

    async def check_twice() -> list[Action]:
        return [guard.check_sync(text).action for text in ("you scum", "you scum too")]

    if in_a_loop:
        actions = asyncio.run(check_twice())
    else:
        actions = [guard.check_sync(text).action for text in ("you scum", "you scum too")]

    assert actions == [Action.BLOCK, Action.BLOCK]
    opened_on, then = scorer.threads
    assert opened_on.name == "gemma-guard-portal"  # opening may outlast the check
    assert then is threading.current_thread()


def test_a_guard_that_is_open_and_answers_at_once_starts_no_thread() -> None:
    async def check() -> None:
        async with Guard.of([HARM], Fake(WORDS), sinks=()) as guard:
            before = threading.active_count()
            assert guard.check_sync("you scum").blocked
            assert threading.active_count() == before

    asyncio.run(check())


def test_a_scorer_that_waits_is_asked_on_one_loop_whoever_calls() -> None:
    scorer = Waiting()
    guard = Guard.of([HARM], scorer, sinks=())

    async def inside() -> bool:
        return guard.check_sync("you scum inside").blocked

    with ThreadPoolExecutor(4) as pool:
        blocked = list(pool.map(lambda n: guard.check_sync(f"you scum {n}").blocked, range(20)))
    blocked.append(asyncio.run(inside()))

    assert all(blocked)
    assert len(scorer.loops) == 1
    assert {thread.name for thread in scorer.threads} == {"gemma-guard-portal"}


def test_a_known_answer_needs_no_loop_whatever_the_scorer() -> None:
    scorer = Waiting()
    guard = Guard.of([HARM], scorer, sinks=())
    guard.check_sync("you scum")

    assert by_hand(guard.check("you scum"), refuse).blocked
    assert len(scorer.threads) == 1


def test_a_scorer_that_answers_late_is_a_gap() -> None:
    scorer = Waiting()
    scorer.may_answer.clear()
    guard = Guard(
        loads("routes: {default: {packs: [default], scorer: fake, deadline_ms: 50}}"),
        scorers={"fake": scorer},
        sinks=(),
    )
    verdict = guard.check_sync("hello")

    assert {gap.cause for gap in verdict.gaps} == {Cause.TIMED_OUT}
    assert verdict.action is Action.BLOCK
    assert scorer.cancelled.wait(10)


def test_opening_that_outlasts_the_check_is_finished_for_the_next() -> None:
    may_open = threading.Event()

    class Opening(Immediate):
        opened = 0

        async def __aenter__(self) -> Any:
            await asyncio.to_thread(may_open.wait, 10)
            self.opened += 1
            return self

    scorer = Opening()
    guard = Guard(
        loads("routes: {default: {packs: [default], scorer: fake, deadline_ms: 50}}"),
        scorers={"fake": scorer},
        sinks=(),
    )
    late = guard.check_sync("hello")
    may_open.set()
    until = time.monotonic() + 10
    while (verdict := guard.check_sync("hello")).gaps and time.monotonic() < until:
        pass

    assert late.gaps
    assert verdict.action is Action.ALLOW
    assert scorer.opened == 1


async def test_a_check_inside_a_loop_has_no_part_in_it() -> None:
    guard = Guard.of([HARM], Waiting(), sinks=())
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "another")

    assert guard.check_sync("you scum").blocked
    assert turns == []
    assert (await asyncio.to_thread(guard.check_sync, "you scum again")).blocked
    assert turns == ["another"]
    await guard.aclose()


def test_two_threads_with_one_question_ask_it_once() -> None:
    scorer = Waiting()
    scorer.may_answer.clear()
    guard = Guard.of([HARM], scorer, sinks=())
    with ThreadPoolExecutor(4) as pool:
        checks = [pool.submit(guard.check_sync, "you scum") for _ in range(4)]
        while not scorer.threads:
            time.sleep(0.001)
        scorer.may_answer.set()
        assert all(check.result(10).blocked for check in checks)
    assert len(scorer.threads) == 1


@pytest.mark.parametrize("kind", [Immediate, Waiting])
def test_a_scorer_sees_the_context_of_the_caller(kind: type[Noting]) -> None:
    scorer = kind()
    guard = Guard.of([HARM], scorer, sinks=())
    for name in ("a", "b"):
        token = CALLER.set(name)
        guard.check_sync(f"hello {name}")
        CALLER.reset(token)

    assert scorer.callers == ["a", "b"]


@pytest.mark.parametrize("text", ["mail a@example.com " + "x " * 3_000, "a@example.com " * 6_000])
def test_long_texts_go_where_they_hold_nobody(text: str) -> None:
    mail = Policy(
        "mail", Bands(block=1.0), Bands(block=1.0), patterns=Patterns(detectors=("email",))
    )

    async def check() -> list[tuple[str, ...]]:
        async with Guard.of([mail], Fake(), sinks=()) as guard:
            inside = guard.check_sync(text)
            outside = await asyncio.to_thread(guard.check_sync, text)
        return [inside.policies, outside.policies]

    assert asyncio.run(check()) == [("mail",), ("mail",)]


def test_a_score_that_overrides_one_marked_at_once_may_wait() -> None:
    class Patient(Fake):
        async def score(self, *args: Any, **options: Any) -> list[tuple[Score, ...]]:
            await asyncio.sleep(0)
            return await super().score(*args, **options)

    guard = Guard.of([HARM], Patient(WORDS), sinks=())
    assert [guard.check_sync(f"you scum {n}").blocked for n in range(3)] == [True] * 3


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_a_score_marked_at_once_that_waits_is_a_gap(in_a_loop: bool) -> None:
    class Lying(Fake):
        @at_once
        async def score(self, *args: Any, **options: Any) -> list[tuple[Score, ...]]:
            await asyncio.sleep(0.001)
            return await super().score(*args, **options)

    async def check() -> Any:
        async with Guard.of([HARM], Lying(WORDS), sinks=()) as guard:
            here = guard.check_sync if in_a_loop else None
            return here("hello") if here else await asyncio.to_thread(guard.check_sync, "hello")

    verdict = asyncio.run(check())
    assert [gap.cause for gap in verdict.gaps] == [Cause.CRASHED]
    assert verdict.action is Action.BLOCK


def test_an_interrupt_while_a_scorer_works_leaves_nothing_behind() -> None:
    class Interrupted(Fake):
        interrupts = 1

        @at_once
        async def score(
            self, probes: Sequence[Probe], /, **options: Any
        ) -> list[tuple[Score, ...]]:
            if self.interrupts:
                self.interrupts -= 1
                raise KeyboardInterrupt
            return await super().score(probes, **options)

    async def check() -> None:
        async with Guard.of([HARM], Interrupted(WORDS), sinks=()) as guard:
            with pytest.raises(KeyboardInterrupt):
                guard.check_sync("you scum")
            assert guard.check_sync("you scum").blocked

    asyncio.run(asyncio.wait_for(check(), 10))


def test_an_interrupt_while_a_scorer_is_waited_for_gives_it_up() -> None:
    scorer = Waiting()
    scorer.may_answer.clear()
    guard = Guard(
        loads("routes: {default: {packs: [default], scorer: fake, deadline_ms: 60000}}"),
        scorers={"fake": scorer},
        sinks=(),
    )
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while not scorer.threads:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)

    # a background job of a shell ignores the signal, and so would what it starts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            guard.check_sync("you scum")
    finally:
        signal.signal(signal.SIGINT, before)
    assert scorer.cancelled.wait(10)
    scorer.may_answer.set()
    assert not guard.check_sync("you scum").gaps
    asyncio.run(asyncio.wait_for(guard.aclose(), 10))
