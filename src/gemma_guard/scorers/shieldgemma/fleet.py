"""Engines on several devices, each in a process of its own, behind one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from gemma_guard.batching import Batcher
from gemma_guard.errors import Unreachable
from gemma_guard.scorer import Observe, unobserved
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.worker import Worker
from gemma_guard.turns import Job, Limits

_DRAIN_S = 30.0


class Fleet:
    """Whichever device is free takes the next batch; one that starts again takes none.

    A stream stays with the device that keeps its prefix, unless that is busy for a moment.
    """

    def __init__(
        self, workers: Sequence[Worker], *, limits: Limits, observe: Observe = unobserved
    ) -> None:
        self.workers = tuple(workers)
        self._batcher = Batcher[Question, tuple[Reading, ...]](
            *self.workers, limits=limits, name="gemma-guard-shieldgemma", observe=observe
        )

    def describe(self) -> str:
        """Which processes there are, whether they are up, and how much waits for them."""
        jobs, tokens = self._batcher.waiting
        states = [f"{w.pid} {'up' if w.is_up else 'starting again'}" for w in self.workers]
        return f"{', '.join(states)}; {jobs} questions of {tokens} tokens wait"

    async def ask(self, jobs: Iterable[Job[Question]]) -> list[tuple[Reading, ...]]:
        """One tuple of readings per question; `Unreachable` at once where no device is up."""
        if not any(worker.is_up for worker in self.workers):
            raise Unreachable("its process is being started again")
        return await self._batcher.ask(jobs)

    async def __aenter__(self) -> Self:
        starting = [asyncio.to_thread(worker.start) for worker in self.workers]
        try:
            await asyncio.gather(*starting)
        except BaseException:  # those that did start have nobody else to close them
            await _close(self.workers)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer the queue, for half a minute at most, then end the processes."""
        serving = [worker for worker in self.workers if worker.is_up]
        await _close(worker for worker in self.workers if worker not in serving)
        await self._batcher.aclose(drain=bool(serving), grace_s=_DRAIN_S)
        await _close(serving)


async def _close(workers: Iterable[Worker]) -> None:
    await asyncio.gather(*(asyncio.to_thread(worker.close) for worker in workers))
