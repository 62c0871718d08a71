"""Wait for work until a deadline, without a timer where it answers at once."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from gemma_guard.handover import on_a_loop

T = TypeVar("T")


async def within(work: Coroutine[Any, Any, T], deadline: float) -> T:
    """What `work` returns; raises `TimeoutError` past `deadline`, in `time.monotonic()` seconds.

    Its first step runs before the clock is set: scorers that never wait are most of the traffic,
    and a timer costs as much as the rest of a check.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    await on_a_loop()
    async with asyncio.timeout(deadline - time.monotonic()):
        return await _resumed(work, waits_for)


@types.coroutine
def _resumed(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """The rest of `work`, which has come to wait for something."""
    while True:
        try:
            try:
                answer = yield waits_for
            except BaseException as error:  # noqa: BLE001  cancellation is the work's to handle
                waits_for = work.throw(error)
            else:
                waits_for = work.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
