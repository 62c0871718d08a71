"""A thousand checks from threads and loops, cancelled and failed: every caller is answered."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from gemma_guard import (
    Bands,
    Guard,
    Guideline,
    NotServing,
    Overloaded,
    Policy,
    Priority,
    Probe,
    Score,
    ScoringFailed,
    Stage,
    Unreachable,
    Verdict,
)

POLICY = Policy("harassment", Bands(block=0.6), Bands(block=0.6), guideline=Guideline("a", "b"))
ON_A_LOOP, IN_A_THREAD = 500, 50  # two loops with a thousand at once, and four threads


class Weak:
    """Answers most of the time, after a while, and fails in every way it may."""

    fingerprint = "weak"

    def __init__(self) -> None:
        self._random = random.Random(7)  # noqa: S311  no secret
        self._lock = threading.Lock()
        self.running = 0

    def judges(self, _policy: Policy, _stage: Stage, /) -> bool:
        return True

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        del deadline, priority
        with self._lock:
            self.running += 1
            kind, wait = self._random.random(), self._random.random() * 0.01
        try:
            await asyncio.sleep(wait)
            if kind < 0.2:
                errors = ScoringFailed("a"), Unreachable("b"), Overloaded("c"), RuntimeError("d")
                raise errors[int(kind * 20)]
            return [tuple(Score(p.name, 0.9) for p in probe.policies) for probe in probes]
        finally:
            with self._lock:
                self.running -= 1

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.running


def kind_of(outcome: Any) -> str:
    if isinstance(outcome, Verdict):
        return outcome.status
    return "cancelled" if isinstance(outcome, asyncio.CancelledError) else repr(outcome)


async def many(guard: Guard, seed: int) -> list[str]:
    """Checks at once on this loop; about a third is cancelled at some moment."""
    chance = random.Random(seed)  # noqa: S311  no secret

    async def one(number: int) -> Any:
        text = f"text {chance.randrange(200)} of {seed % 3}"  # some are asked by several
        task = asyncio.create_task(guard.check(text, tenant=str(number % 2)))
        if number % 3 == 0:
            await asyncio.sleep(chance.random() * 0.02)
            task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]

    outcomes = await asyncio.gather(*(one(number) for number in range(ON_A_LOOP)))
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
    return [kind_of(outcome) for outcome in outcomes]


def test_every_caller_is_answered_and_nothing_is_left() -> None:
    gc.collect()
    threads = set(threading.enumerate())
    scorer = Weak()
    answers: list[str] = []
    guard = Guard.of([POLICY], scorer, sinks=())

    def on_a_loop(seed: int) -> None:
        answers.extend(asyncio.run(many(guard, seed)))

    def without_one(seed: int) -> None:
        answers.extend(
            [kind_of(guard.check_sync(f"{i} of {seed % 2}")) for i in range(IN_A_THREAD)]
        )

    callers = [threading.Thread(target=without_one, args=(seed,)) for seed in range(4)]
    callers += [threading.Thread(target=on_a_loop, args=(seed,)) for seed in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)

    assert not any(caller.is_alive() for caller in callers)
    found = Counter(answers)
    assert found.total() == 2 * ON_A_LOOP + 4 * IN_A_THREAD
    assert set(found) <= {"scored", "not_scanned", "cancelled"}, found
    assert found["scored"]
    assert not scorer.running
    assert not guard._cache._flights, "a question is left in the air"  # type: ignore[union-attr]  # noqa: SLF001

    asyncio.run(guard.aclose())
    gc.collect()
    assert set(threading.enumerate()) <= threads


def test_closing_under_load_answers_everyone() -> None:
    gc.collect()
    threads = set(threading.enumerate())
    answers: list[str] = []
    guard = Guard.of([POLICY], Weak(), sinks=())
    begun = threading.Barrier(4)

    def checks(seed: int) -> None:
        begun.wait()
        for number in range(200):
            try:
                answers.append(kind_of(guard.check_sync(f"{seed} {number}")))
            except NotServing:
                answers.append("not serving")

    callers = [threading.Thread(target=checks, args=(seed,)) for seed in range(3)]
    for caller in callers:
        caller.start()
    begun.wait()
    asyncio.run(close_soon(guard))
    for caller in callers:
        caller.join(60)

    assert not any(caller.is_alive() for caller in callers)
    found = Counter(answers)
    assert found.total() == 600
    assert set(found) <= {"scored", "not_scanned", "not serving"}, found
    assert found["not serving"]
    gc.collect()
    assert set(threading.enumerate()) <= threads


async def close_soon(guard: Guard) -> None:
    await asyncio.sleep(0.05)
    await guard.aclose()
