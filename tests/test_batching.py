"""What the batcher promises: every caller answered, one by one or together, whatever breaks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_guard.batching import Batcher
from gemma_guard.errors import (
    Cause,
    DeadlineExceeded,
    GuardError,
    NotServing,
    Overloaded,
    ScoringError,
    ScoringFailed,
    TextRefused,
    Unreachable,
)
from gemma_guard.scorer import Batch, Priority
from gemma_guard.turns import Homes, Job, Limits, plan

CANARY = "canary-7f3a"
NEVER = float("inf")


def job(payload: Any = 0, tokens: int = 1, deadline: float = NEVER, **more: Any) -> Job[Any]:
    return Job(payload, tokens, deadline, **more)


def doubled(payloads: Sequence[int]) -> list[int]:
    return [2 * payload for payload in payloads]


class Gate:
    """A run that says when it has begun, holds until opened, and remembers its batches."""

    def __init__(self, run: Callable[[Sequence[Any]], Any] = list) -> None:
        self.began, self.opened = threading.Semaphore(0), threading.Event()
        self.batches: list[list[Any]] = []
        self._run = run

    def __call__(self, payloads: Sequence[Any]) -> Any:
        self.batches.append(list(payloads))
        self.began.release()
        assert self.opened.wait(10)
        return self._run(payloads)


def raising(error: BaseException) -> Callable[[Sequence[Any]], Any]:
    def run(_payloads: Sequence[Any]) -> Any:
        raise error

    return run


def refusing(bad: set[int], error: BaseException) -> Callable[[Sequence[int]], list[int]]:
    def run(payloads: Sequence[int]) -> list[int]:
        if bad & set(payloads):
            raise error
        return doubled(payloads)

    return run


def held(batcher: Batcher[Any, Any], gate: Gate) -> Future[Any]:
    """Keep the batcher busy, so that what comes now forms the next batch."""
    first = batcher.submit(job(-1))
    assert gate.began.acquire(timeout=10)
    return first


def outcome(future: Future[Any]) -> Any:
    """What a caller gets: the answer, or the kind of error."""
    try:
        return future.result(timeout=10)
    except (GuardError, concurrent.futures.CancelledError) as error:
        return type(error)


# deciding

jobs_in_line = st.lists(
    st.builds(
        Job,
        st.none(),
        st.integers(1, 200),
        st.one_of(st.floats(0, 100), st.just(NEVER)),
        st.sampled_from(Priority),
    ),
    max_size=40,
)
some_limits = st.builds(
    Limits, st.integers(1, 300), st.integers(1, 10), oldest_every=st.integers(1, 5)
)


@given(jobs_in_line, some_limits, st.floats(0, 100), st.integers(0, 100))
def test_a_batch_keeps_to_the_budget_unless_one_job_alone_does_not(
    jobs: list[Job[None]], limits: Limits, now: float, turn: int
) -> None:
    planned = plan(jobs, now=now, turn=turn, limits=limits)

    tokens = sum(jobs[i].tokens for i in planned.batch)
    assert len(planned.batch) <= limits.batch_jobs
    assert tokens <= limits.batch_tokens or len(planned.batch) == 1
    assert len(set(planned.batch)) == len(planned.batch)


@given(jobs_in_line, some_limits, st.floats(0, 100), st.integers(0, 100))
def test_exactly_those_past_their_deadline_are_late_and_the_others_go_on(
    jobs: list[Job[None]], limits: Limits, now: float, turn: int
) -> None:
    planned = plan(jobs, now=now, turn=turn, limits=limits)

    assert set(planned.late) == {i for i, job in enumerate(jobs) if job.deadline <= now}
    assert not set(planned.late) & set(planned.batch)
    assert bool(planned.batch) == (len(planned.late) < len(jobs))


@given(jobs_in_line, some_limits, st.integers(0, 100))
def test_the_most_urgent_leads_except_where_it_is_the_turn_of_the_oldest(
    jobs: list[Job[None]], limits: Limits, turn: int
) -> None:
    planned = plan(jobs, now=-1.0, turn=turn, limits=limits)

    if jobs:
        urgent = min(range(len(jobs)), key=lambda i: (jobs[i].priority, jobs[i].deadline, i))
        oldest = (turn + 1) % limits.oldest_every == 0
        assert planned.batch[0] == (0 if oldest else urgent)


@given(jobs_in_line.filter(bool), some_limits, st.integers(0, 100))
def test_nothing_in_the_batch_pushed_out_something_more_urgent_that_would_have_fitted(
    jobs: list[Job[None]], limits: Limits, turn: int
) -> None:
    batch = plan(jobs, now=-1.0, turn=turn, limits=limits).batch

    left = set(range(len(jobs))) - set(batch)
    room = limits.batch_tokens - sum(jobs[i].tokens for i in batch)
    if len(batch) < limits.batch_jobs:
        assert all(jobs[i].tokens > room for i in left)


@given(some_limits, st.integers(0, 10), st.integers(1, 200), st.integers(0, 20))
def test_no_stream_of_more_urgent_jobs_starves_the_one_that_waits(
    limits: Limits, ahead: int, tokens: int, turn: int
) -> None:
    patient = job("patient", tokens, priority=Priority.BACKGROUND)
    line: list[Job[Any]] = [job(None, tokens, priority=Priority.BACKGROUND) for _ in range(ahead)]
    line.append(patient)

    for turns in count(1):
        line += [job(None, deadline=1.0) for _ in range(limits.batch_jobs)]
        batch = plan(line, now=0.0, turn=turn + turns, limits=limits).batch
        if line.index(patient) in batch:
            break
        line = [waiting for i, waiting in enumerate(line) if i not in batch]
    assert turns <= (ahead + 1) * limits.oldest_every


@pytest.mark.parametrize(
    "wrong",
    [lambda: job(tokens=0), lambda: job(deadline=float("nan")), lambda: Limits(batch_jobs=0)],
)
def test_a_job_or_limit_that_makes_no_sense_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"at least one token|deadline, got NaN|use 1 or more"):
        wrong()


def test_the_repr_of_a_job_shows_no_payload() -> None:
    assert CANARY not in repr(job(CANARY))


# doing


async def test_every_batch_is_told_with_its_waits_its_size_and_what_it_leaves() -> None:
    gate, told = Gate(), list[Batch]()
    async with Batcher(gate, limits=Limits(batch_jobs=2), observe=told.append) as batcher:
        held(batcher, gate)
        futures = [batcher.submit(job(i, tokens=5)) for i in range(3)]
        late = batcher.submit(job(9, deadline=time.monotonic()))
        gate.opened.set()
        outcomes = [await asyncio.wrap_future(f) for f in futures]
    assert outcomes == [0, 1, 2]
    assert outcome(late) is DeadlineExceeded
    assert [(len(b.waits_s), b.tokens, b.late, b.left) for b in told] == [
        (1, 1, 0, 0),
        (2, 10, 1, 1),
        (1, 5, 0, 0),
    ]
    assert all(wait >= 0 for batch in told for wait in batch.waits_s)


class Away:
    """A run that is not there until it is told to come, or never to come."""

    def __init__(self, *, comes: bool = True) -> None:
        self.comes = comes
        self.back = threading.Event()
        self.waited = threading.Event()
        self.batches: list[list[int]] = []

    def ready(self) -> bool:
        self.waited.set()
        assert self.back.wait(10)
        return self.comes

    def __call__(self, payloads: Sequence[int]) -> list[int]:
        self.batches.append(list(payloads))
        return doubled(payloads)


async def test_a_run_that_is_away_takes_nothing_from_the_queue_until_it_is_back() -> None:
    away = Away()
    async with Batcher(away, doubled, limits=Limits(batch_jobs=1)) as batcher:
        assert await batcher.ask([job(i) for i in range(20)]) == doubled(range(20))
        assert away.waited.wait(10)
        assert away.batches == []
        away.back.set()


async def test_a_run_that_never_comes_back_leaves_all_to_the_others() -> None:
    away = Away(comes=False)
    away.back.set()
    async with Batcher(away, doubled, limits=Limits(batch_jobs=1)) as batcher:
        assert await batcher.ask([job(i) for i in range(20)]) == doubled(range(20))
    assert away.batches == []


async def test_an_error_of_a_run_that_closes_is_told_as_it_is() -> None:
    async with Batcher(raising(NotServing("it closes"))) as batcher:
        with pytest.raises(NotServing, match="it closes"):
            await batcher.ask([job()])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from(Priority)), max_size=60),
    some_limits,
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_batching_answers_as_one_by_one_does_whatever_the_order_sizes_and_limits(
    asked: list[tuple[int, Priority]], limits: Limits, devices: int, chance: random.Random
) -> None:
    jobs = [Job(i, tokens, NEVER, priority) for i, (tokens, priority) in enumerate(asked)]
    chance.shuffle(jobs)

    async def together() -> list[int]:
        async with Batcher(*[doubled] * devices, limits=limits) as batcher:
            asking = [batcher.ask([one]) for one in jobs[::2]]
            answers = await asyncio.gather(batcher.ask(jobs[1::2]), *asking)
            return [*answers[0], *(answer for [answer] in answers[1:])]

    expected = doubled([j.payload for j in jobs[1::2]]) + doubled([j.payload for j in jobs[::2]])
    assert asyncio.run(together()) == expected


async def test_what_waits_while_a_batch_runs_is_the_next_batch_live_and_urgent_first() -> None:
    gate = Gate()
    async with Batcher(gate, limits=Limits(batch_tokens=2)) as batcher:
        futures = [
            held(batcher, gate),
            batcher.submit(job("background", priority=Priority.BACKGROUND)),
            batcher.submit(job("later", deadline=time.monotonic() + 2000)),
            batcher.submit(job("huge", tokens=99, deadline=time.monotonic() + 1500)),
            batcher.submit(job("sooner", deadline=time.monotonic() + 1000)),
        ]
        gate.opened.set()
        answers = await asyncio.gather(*map(asyncio.wrap_future, futures))

    assert answers == [-1, "background", "later", "huge", "sooner"]
    assert gate.batches == [[-1], ["sooner", "later"], ["huge"], ["background"]]


async def test_several_devices_share_one_queue() -> None:
    gates = [Gate(), Gate()]
    async with Batcher(*gates, limits=Limits(batch_jobs=1)) as batcher:
        for gate in gates:  # both asleep, having run something
            gate.opened.set()
        await asyncio.gather(*(batcher.ask([job(i)]) for i in range(9)))
        for gate in gates:
            gate.opened.clear()
            while gate.began.acquire(blocking=False):
                pass
        asking = asyncio.create_task(batcher.ask([job(i) for i in range(4)]))
        await asyncio.sleep(0)
        begun = [gate.began.acquire(timeout=10) for gate in gates]
        for gate in gates:
            gate.opened.set()
        assert begun == [True, True]
        assert await asking == [0, 1, 2, 3]


async def test_a_full_queue_refuses_at_once_and_takes_again_what_has_room() -> None:
    gate = Gate()
    limits = Limits(queue_jobs=2, queue_tokens=10)
    async with Batcher(gate, limits=limits) as batcher:
        first = held(batcher, gate)
        alone = batcher.submit(job("an empty queue takes any size", tokens=11))
        with pytest.raises(Overloaded, match="1 jobs, 11 tokens are waiting"):
            batcher.submit(job())
        alone.cancel()
        futures = [batcher.submit(job(i, tokens=5)) for i in range(2)]
        with pytest.raises(Overloaded):
            await batcher.ask([job(2)])
        futures[0].cancel()
        with pytest.raises(Overloaded):
            await batcher.ask([job(3), job(4)])
        assert batcher.waiting == (1, 5)
        futures.append(batcher.submit(job(5, tokens=5)))
        gate.opened.set()
        assert [outcome(f) for f in (first, *futures[1:])] == [-1, 1, 5]

    assert gate.batches == [[-1], [1, 5]]
    assert batcher.waiting == (0, 0)


async def test_a_caller_that_gives_up_is_not_worked_for_and_its_mates_are() -> None:
    gate = Gate()
    async with Batcher(gate) as batcher:
        first = asyncio.create_task(batcher.ask([job("running")]))
        await asyncio.to_thread(gate.began.acquire)
        gone = asyncio.create_task(batcher.ask([job("gone"), job("gone too")]))
        stays = asyncio.create_task(batcher.ask([job("stays")]))
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()
        await asyncio.wait({gone, first})
        assert batcher.waiting[0] == 1
        gate.opened.set()
        assert await stays == ["stays"]

    assert gone.cancelled()
    assert first.cancelled()
    assert gate.batches == [["running"], ["stays"]]


async def test_who_waits_for_a_cancelled_future_from_a_thread_is_told() -> None:
    gate = Gate()
    async with Batcher(gate) as batcher:
        held(batcher, gate)
        future = batcher.submit(job())
        waiting = threading.Thread(target=concurrent.futures.wait, args=([future],))
        waiting.start()
        future.cancel()
        gate.opened.set()
    waiting.join(10)
    assert not waiting.is_alive()


async def test_a_job_past_its_deadline_is_answered_and_not_run() -> None:
    gate = Gate()
    async with Batcher(gate) as batcher:
        held(batcher, gate)
        late = batcher.submit(job("late", deadline=time.monotonic()))
        on_time = batcher.submit(job("on time", deadline=time.monotonic() + 1000))
        gate.opened.set()
        assert [outcome(late), outcome(on_time)] == [DeadlineExceeded, "on time"]

    assert gate.batches == [[-1], ["on time"]]


BROKEN = [
    pytest.param(raising(RuntimeError(CANARY)), ScoringFailed, id="raises"),
    pytest.param(raising(asyncio.CancelledError()), ScoringFailed, id="is cancelled"),
    pytest.param(raising(SystemExit(1)), ScoringFailed, id="exits"),
    pytest.param(raising(MemoryError(CANARY)), ScoringFailed, id="out of memory"),
    pytest.param(raising(Unreachable("gone")), Unreachable, id="is unreachable"),
    pytest.param(raising(Overloaded("full")), Overloaded, id="is full"),
    pytest.param(raising(ScoringFailed("killed")), ScoringFailed, id="was killed"),
    pytest.param(raising(TextRefused(Cause.TOO_LONG, "long")), TextRefused, id="refuses"),
    pytest.param(lambda _: None, ScoringFailed, id="answers nothing"),
    pytest.param(lambda _: [], ScoringFailed, id="answers too few"),
    pytest.param(lambda p: [*p, 1], ScoringFailed, id="answers too many"),
]


@pytest.mark.parametrize(("fault", "kind"), BROKEN)
async def test_a_failing_batch_answers_its_callers_and_spares_the_next(
    fault: Callable[[Sequence[Any]], Any], kind: type[GuardError]
) -> None:
    broken = [True]
    gate = Gate(lambda payloads: fault(payloads) if broken and payloads != [-1] else list(payloads))
    async with Batcher(gate) as batcher:
        held(batcher, gate)
        futures = [batcher.submit(job(i)) for i in range(4)]
        gate.opened.set()
        failures = [future.exception(10) for future in futures]
        assert [type(failure) for failure in failures] == [kind] * 4
        assert len({id(failure) for failure in failures}) == 4
        assert CANARY not in "".join(map(str, failures))
        broken.clear()
        assert await batcher.ask([job("next")]) == ["next"]


async def test_a_failure_names_its_cause_and_chains_it() -> None:
    async with Batcher(raising(RuntimeError(CANARY))) as batcher:
        with pytest.raises(ScoringFailed, match=r"^RuntimeError in a batch of 1$") as failed:
            await batcher.ask([job()])

    assert isinstance(failed.value.__cause__, RuntimeError)


@pytest.mark.parametrize("poison", range(8))
async def test_one_poisonous_job_fails_alone(poison: int) -> None:
    gate = Gate(refusing({poison}, RuntimeError(CANARY)))
    async with Batcher(gate) as batcher:
        held(batcher, gate)
        futures = [batcher.submit(job(i)) for i in range(8)]
        gate.opened.set()
        answers = [outcome(future) for future in futures]

    assert answers == [ScoringFailed if i == poison else 2 * i for i in range(8)]


@given(st.sets(st.integers(0, 15)), st.sampled_from([MemoryError(), TextRefused(Cause.EMPTY, "")]))
@settings(deadline=None, max_examples=30)
def test_what_is_of_single_jobs_fails_those_only(bad: set[int], error: Exception) -> None:
    async def ask() -> list[Any]:
        gate = Gate(refusing(bad, error))
        async with Batcher(gate) as batcher:
            held(batcher, gate)
            futures = [batcher.submit(job(i)) for i in range(16)]
            gate.opened.set()
            return [outcome(future) for future in futures]

    kind = TextRefused if isinstance(error, TextRefused) else ScoringFailed
    assert asyncio.run(ask()) == [kind if i in bad else 2 * i for i in range(16)]


async def test_a_batch_too_big_for_the_memory_is_run_in_parts() -> None:
    def small(payloads: Sequence[int]) -> list[int]:
        if len(payloads) > 2:
            raise MemoryError
        return doubled(payloads)

    gate = Gate(small)
    async with Batcher(gate) as batcher:
        held(batcher, gate)
        asking = batcher.ask([job(i) for i in range(9)])
        gate.opened.set()
        assert await asking == doubled(range(9))


@pytest.mark.parametrize(
    ("error", "runs"), [(RuntimeError(), 3), (Unreachable("gone"), 1), (ScoringFailed("x"), 1)]
)
async def test_a_dead_judge_is_not_asked_again_job_by_job(error: Exception, runs: int) -> None:
    gate = Gate(raising(error))
    gate.opened.set()
    async with Batcher(gate) as batcher:
        with pytest.raises(ScoringError):
            await batcher.ask([job(i) for i in range(64)])

    assert len(gate.batches) == runs


async def test_a_deadline_that_passes_between_tries_ends_them() -> None:
    deadline = time.monotonic() + 0.05

    def slow(_payloads: Sequence[Any]) -> Any:
        time.sleep(max(0.0, deadline - time.monotonic()) + 0.01)
        raise RuntimeError

    gate = Gate(slow)
    gate.opened.set()
    async with Batcher(gate) as batcher:
        with pytest.raises(DeadlineExceeded):
            await batcher.ask([job(i, deadline=deadline) for i in range(4)])

    assert len(gate.batches) == 1


@pytest.mark.parametrize("drain", [True, False])
async def test_closing_answers_everyone(drain: bool) -> None:
    gate = Gate()
    batcher = Batcher[Any, Any](gate)
    running = held(batcher, gate)
    waiting = [batcher.submit(job(i)) for i in range(3)]
    closing = asyncio.create_task(batcher.aclose(drain=drain))
    await asyncio.sleep(0)
    with pytest.raises(NotServing):
        batcher.submit(job())
    if not drain:
        assert [outcome(future) for future in waiting] == [NotServing] * 3
    gate.opened.set()
    await closing

    assert outcome(running) == -1
    assert [outcome(future) for future in waiting] == ([0, 1, 2] if drain else [NotServing] * 3)
    assert not threads()
    await batcher.aclose()


async def test_closing_before_anything_was_asked_leaves_nothing() -> None:
    async with asyncio.timeout(10):
        await Batcher(doubled).aclose()

    assert not threads()


async def test_a_run_that_hangs_does_not_hold_the_closing_or_its_callers() -> None:
    gate = Gate()
    batcher = Batcher[Any, Any](gate)
    futures = [held(batcher, gate), batcher.submit(job())]

    await batcher.aclose(grace_s=0.01)

    assert [outcome(future) for future in futures] == [NotServing] * 2
    gate.opened.set()
    await batcher.aclose()
    assert not threads()


async def test_giving_up_on_closing_does_not_undo_it() -> None:
    gate = Gate()
    batcher = Batcher[Any, Any](gate)
    running = held(batcher, gate)
    closing = asyncio.create_task(batcher.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    gate.opened.set()
    await batcher.aclose()

    assert outcome(running) == -1
    assert not threads()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_bug_in_planning_answers_everyone(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    batcher = Batcher[Any, Any](gate)
    running = held(batcher, gate)
    waiting = batcher.submit(job())
    monkeypatch.setattr("gemma_guard.line.plan", None)
    gate.opened.set()

    assert [outcome(running), outcome(waiting)] == [-1, NotServing]
    with pytest.raises(NotServing):
        batcher.submit(job())
    await batcher.aclose()


def test_a_batcher_nobody_holds_ends_its_thread() -> None:
    batcher = Batcher[int, int](doubled)
    assert batcher.submit(job(1)).result(10) == 2
    [thread] = threads()

    del batcher
    gc.collect()
    thread.join(10)

    assert not thread.is_alive()


def test_an_event_loop_that_dies_while_its_callers_wait_holds_up_nobody() -> None:
    gate = Gate()
    batcher = Batcher[Any, Any](gate)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it says that tasks were destroyed, rightly
    tasks = [loop.create_task(batcher.ask([job(f"dead {i}")])) for i in range(2)]
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert gate.began.acquire(timeout=10)
    other = batcher.submit(job("alive"))
    loop.close()
    tasks.clear()
    gc.collect()
    gate.opened.set()

    assert outcome(other) == "alive"
    asyncio.run(batcher.aclose())
    assert not threads()


# everything at once

CALLERS = 1000


def test_a_thousand_callers_from_four_threads_and_two_loops_are_all_answered() -> None:
    seen: list[Any] = []
    chance = random.Random(7)  # noqa: S311  repeatable, not secret
    batcher = Batcher[int, int](
        *[flaky(chance), flaky(chance)], limits=Limits(batch_tokens=64, queue_jobs=CALLERS)
    )
    work = [Job(i, chance.randint(1, 99), soon(chance), Priority(i % 2)) for i in range(CALLERS)]
    asking = [(ask_from_loop, work[start : start + 250]) for start in (0, 250)]
    asking += [(ask_from_thread, work[start : start + 125]) for start in (500, 625, 750, 875)]
    callers = [threading.Thread(target=ask, args=(batcher, part, seen)) for ask, part in asking]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    asyncio.run(batcher.aclose())

    assert len(seen) == CALLERS
    assert [(i, said) for i, said in seen if said not in EXPECTED and said != 2 * i] == []
    assert {ScoringFailed, DeadlineExceeded, "cancelled"} <= {said for _, said in seen}
    assert batcher.waiting == (0, 0)
    assert not threads()


EXPECTED = (ScoringFailed, Unreachable, DeadlineExceeded, Overloaded, "cancelled")


def flaky(chance: random.Random) -> Callable[[Sequence[int]], list[int]]:
    def run(payloads: Sequence[int]) -> list[int]:
        time.sleep(chance.random() / 1000)
        if chance.random() < 0.1:
            raise chance.choice([RuntimeError(CANARY), Unreachable("gone"), MemoryError()])
        if any(payload % 41 == 0 for payload in payloads):
            raise ValueError(CANARY)
        return doubled(payloads) if chance.random() < 0.98 else []

    return run


def soon(chance: random.Random) -> float:
    return time.monotonic() + chance.choice([-1.0, 60.0, 60.0, 60.0, 60.0, 60.0])


def ask_from_loop(batcher: Batcher[int, int], work: Sequence[Job[int]], seen: list[Any]) -> None:
    async def one(asked: Job[int]) -> None:
        await asyncio.sleep(asked.payload % 7 / 1000)
        asking = asyncio.ensure_future(batcher.ask([asked]))
        if asked.payload % 5 == 0:
            await asyncio.sleep(asked.payload % 3 / 1000)
            asking.cancel()
        await asyncio.wait({asking})
        seen.append((asked.payload, said(asking)))

    async def every() -> None:
        await asyncio.gather(*map(one, work))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(every())


def ask_from_thread(batcher: Batcher[int, int], work: Sequence[Job[int]], seen: list[Any]) -> None:
    futures = [(asked, batcher.submit(asked)) for asked in work]
    for asked, future in futures:
        if asked.payload % 5 == 0:
            future.cancel()
    concurrent.futures.wait([future for _, future in futures], timeout=60)
    seen.extend((asked.payload, said(future)) for asked, future in futures)


def said(future: Any) -> Any:
    if future.cancelled():
        return "cancelled"
    if error := future.exception():
        return type(error)
    answer = future.result()
    return answer[0] if isinstance(answer, list) else answer


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "batcher" in thread.name]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    assert not threads()
    yield
    assert not threads()


# streams


def ids_of(gates: Sequence[Gate]) -> list[list[Any]]:
    return [[payload for batch in gate.batches for payload in batch] for gate in gates]


async def test_a_stream_stays_with_whoever_ran_it_before() -> None:
    gates = [Gate(), Gate(), Gate()]
    for gate in gates:
        gate.opened.set()
    async with Batcher(*gates) as batcher:
        for turn in range(20):
            for stream in "abcd":
                await asyncio.wrap_future(batcher.submit(job((stream, turn), stream=stream)))
    ran = ids_of(gates)
    for stream in "abcd":
        assert sum(any(name == stream for name, _ in each) for each in ran) == 1


async def test_a_stream_whose_worker_hangs_is_run_by_another() -> None:
    gates = [Gate(), Gate()]
    async with Batcher(*gates, limits=Limits(batch_jobs=1)) as batcher:
        first = batcher.submit(job("first", stream="s"))
        home, other = gates if gates[0].began.acquire(timeout=1) else reversed(gates)
        second = batcher.submit(job("second", stream="s"))
        other.opened.set()
        assert await asyncio.wrap_future(second) == "second"
        assert other.batches == [["second"]]
        home.opened.set()
        assert await asyncio.wrap_future(first) == "first"


async def test_what_continues_no_stream_does_not_wait_for_one_that_does() -> None:
    gates = [Gate(), Gate()]
    limits = Limits(batch_jobs=1, sticky_s=3600)
    async with Batcher(*gates, limits=limits) as batcher:
        first = batcher.submit(job("first", stream="s"))
        home, other = gates if gates[0].began.acquire(timeout=1) else reversed(gates)
        left = batcher.submit(job("left", stream="s"))
        other.opened.set()
        assert await asyncio.wrap_future(batcher.submit(job("free"))) == "free"
        assert not left.done()
        home.opened.set()
        assert await asyncio.wrap_future(left) == "left"
        assert first.result() == "first"
    assert home.batches == [["first"], ["left"]]


def test_nothing_is_left_to_anyone_for_more_than_a_quarter_of_its_time() -> None:
    homes = Homes(sticky_s=10)
    homes.settle(job(stream="s"), 0)
    later = job(stream="s", deadline=104.0)
    assert homes.free_at(later, 100.0, 0) == 100.0
    assert homes.free_at(later, 100.0, 1) == 101.0
    assert homes.free_at(job(stream="s"), 100.0, 1) == 110.0
    assert homes.free_at(job(stream="other"), 100.0, 1) == 100.0


def test_of_too_many_streams_the_least_recent_has_no_home() -> None:
    homes = Homes(sticky_s=10, most=2)
    for stream in ("a", "b", "a", "c"):
        homes.settle(job(stream=stream), 0)
    assert [homes.free_at(job(stream=s), 0.0, 1) for s in "abc"] == [10, 0, 10]
