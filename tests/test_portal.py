"""Sync code waits for async work anywhere, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gemma_guard.errors import NotServing, UsageError
from gemma_guard.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "gemma-guard-portal"]


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_a_call_returns_what_the_work_returns(portal: Portal) -> None:
    assert portal.call(double(21)) == 42


def test_a_call_raises_what_the_work_raises(portal: Portal) -> None:
    async def broken() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        portal.call(broken())


async def test_it_can_be_called_inside_a_running_loop(portal: Portal) -> None:
    assert portal.call(double(21)) == 42


def test_many_threads_share_one_loop(portal: Portal) -> None:
    before = len(threads())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: portal.call(double(n)), range(100)))
    assert answers == [2 * n for n in range(100)]
    assert len(threads()) == before + 1


def test_it_starts_nothing_before_the_first_call() -> None:
    before = len(threads())
    Portal().close()
    assert len(threads()) == before


def test_closing_ends_the_thread_and_may_be_done_twice(portal: Portal) -> None:
    before = len(threads())
    portal.call(double(1))
    portal.close()
    portal.close()
    assert len(threads()) == before


def test_whoever_waits_when_it_closes_is_answered(portal: Portal) -> None:
    all_wait = threading.Barrier(5)

    async def for_ever() -> None:
        await asyncio.to_thread(all_wait.wait, 10)
        await asyncio.Event().wait()

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(lambda: portal.call(for_ever())) for _ in range(4)]
        all_wait.wait(10)
        portal.close()
        for call in calls:
            with pytest.raises(NotServing, match="closed while the call waited"):
                call.result(10)


def test_work_that_is_closed_away_cleans_up_first(portal: Portal) -> None:
    waits, cleaned = threading.Event(), threading.Event()

    async def careful() -> None:
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: portal.call(careful()))
        assert waits.wait(10)
        portal.close()
        assert cleaned.is_set()
        assert isinstance(call.exception(10), NotServing)


def test_a_call_from_its_own_thread_is_refused_and_not_waited_for(portal: Portal) -> None:
    async def call_again() -> int:
        return portal.call(double(1))

    with pytest.raises(UsageError, match="would wait for itself"):
        portal.call(call_again())


def test_the_thread_ends_when_nobody_holds_the_portal_any_more() -> None:
    before = threads()
    portal = Portal()
    portal.call(double(1))
    [thread] = [thread for thread in threads() if thread not in before]
    del portal
    thread.join(10)
    assert not thread.is_alive()
