"""Who waits for a model, and who takes what of it: bounded; whoever leaves makes room.

`turns` decides; what is here only does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from gemma_guard.errors import DeadlineExceeded, GuardError, NotServing, Overloaded
from gemma_guard.scorer import Batch, Observe
from gemma_guard.turns import Homes, Job, Limits, plan

P = TypeVar("P")
R = TypeVar("R")

_CLOSED = "the batcher is closed"


@dataclass(frozen=True, slots=True, eq=False)
class Ticket(Generic[P, R]):
    """A job in line and the future its caller holds."""

    job: Job[P]
    future: Future[R]
    since: float

    def answer(self, answer: R) -> None:
        """Hand it over."""
        with suppress(InvalidStateError):  # closing was not willing to wait, and answered first
            self.future.set_result(answer)

    def fail(self, error: GuardError) -> None:
        """Say what went wrong."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class Line(Generic[P, R]):
    """The bounded queue. Whoever takes a ticket out of `_tickets` is the one who answers it."""

    def __init__(self, limits: Limits, observe: Observe, *, workers: int) -> None:
        self._limits = limits
        self._observe = observe
        self._lock = threading.Lock()
        self._tickets: dict[int, Ticket[P, R]] = {}
        self._running: dict[int, list[Ticket[P, R]]] = {}
        self._numbers = count()
        self._turns = count()
        self._tokens = 0
        self._homes = Homes(limits.sticky_s)
        self._asleep: dict[int, None] = {}
        self._closed = False
        # both may be written while this very thread holds the lock, when the garbage collector
        # closes the coroutine of a caller whose event loop is gone; so they need none
        self._left: deque[int] = deque()
        self._bells: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(workers)]

    @property
    def size(self) -> tuple[int, int]:
        """How many jobs wait, and how many tokens they have."""
        with self._lock:
            self._sweep()
            return len(self._tickets), self._tokens

    def join(self, jobs: Sequence[Job[P]]) -> list[Future[R]]:
        """The future answers to `jobs`; all of them join, or none. Never blocks."""
        now = time.monotonic()
        tickets: list[Ticket[P, R]] = [Ticket(job, Future(), now) for job in jobs]
        with self._lock:
            self._sweep()
            self._check_room(jobs)
            for ticket in tickets:
                number = next(self._numbers)
                self._tickets[number] = ticket
                self._tokens += ticket.job.tokens
                ticket.future.add_done_callback(_Leaving(self._left, number))
            self._ring(now)
        return [ticket.future for ticket in tickets]

    def take(self, worker: int) -> list[Ticket[P, R]] | None:
        """The next batch of `worker`, maybe empty; None once closed and empty. Waits for jobs."""
        while True:
            with self._lock:
                self._sweep()
                now = time.monotonic()
                free_at = self._free_at(worker)
                if free_at <= now:
                    late, batch = self._take_planned(worker, now)
                    self._running[worker] = batch
                    self._ring(now)
                    left = len(self._tickets)
                    break
                if self._closed and not self._tickets:
                    return None
                self._asleep[worker] = None
            self._sleep(worker, free_at - now)
        for ticket in late:
            ticket.fail(DeadlineExceeded("the deadline passed in the queue"))
        if batch or late:
            self._observe(_taken(batch, now, late=len(late), left=left))
        return batch

    def close(self, *, drain: bool) -> None:
        """Let nobody join any more; without `drain`, answer those who wait."""
        with self._lock:
            self._closed = True
            self._sweep()
            left = [] if drain else self._take_out(list(self._tickets))
        self.abandon()
        for ticket in left:
            ticket.fail(NotServing(_CLOSED))

    def give_up(self) -> None:
        """Answer those whose batch has begun and does not end."""
        with self._lock:
            running = [ticket for batch in self._running.values() for ticket in batch]
        for ticket in running:
            ticket.fail(NotServing(_CLOSED))

    def abandon(self) -> None:
        """Let the workers end once everyone is answered. Safe to call from a finalizer."""
        self._closed = True
        for bell in self._bells:
            bell.put(None)

    def _sleep(self, worker: int, seconds: float) -> None:
        """Until the bell of `worker` rings, or what is left to another has waited long enough."""
        with suppress(Empty):
            self._bells[worker].get(timeout=None if seconds == inf else seconds)
        with self._lock:
            self._asleep.pop(worker, None)  # it may have woken by itself

    def _check_room(self, jobs: Sequence[Job[P]]) -> None:
        if self._closed:
            raise NotServing(_CLOSED)
        full = len(self._tickets) + len(jobs) > self._limits.queue_jobs
        tokens = self._tokens + sum(job.tokens for job in jobs)
        if self._tickets and (full or tokens > self._limits.queue_tokens):
            raise Overloaded(f"{len(self._tickets)} jobs, {self._tokens} tokens are waiting")

    def _sweep(self) -> None:
        """Make room of those whose callers have left."""
        while self._left:
            number = self._left.popleft()
            if number in self._tickets:
                self._take_out([number])

    def _free_at(self, worker: int) -> float:
        """From when on there is something for `worker` to take."""
        free_at = inf
        for ticket in self._tickets.values():
            free_at = min(free_at, self._homes.free_at(ticket.job, ticket.since, worker))
            if free_at <= ticket.since:
                break
        return free_at

    def _take_planned(
        self, worker: int, now: float
    ) -> tuple[list[Ticket[P, R]], list[Ticket[P, R]]]:
        free_at = self._homes.free_at
        numbers = [n for n, t in self._tickets.items() if free_at(t.job, t.since, worker) <= now]
        jobs = [self._tickets[number].job for number in numbers]
        planned = plan(jobs, now=now, turn=next(self._turns), limits=self._limits)
        late = self._take_out([numbers[i] for i in planned.late])
        batch = self._take_out([numbers[i] for i in planned.batch])
        for ticket in batch:
            self._homes.settle(ticket.job, worker)
        return late, batch

    def _take_out(self, numbers: Iterable[int]) -> list[Ticket[P, R]]:
        """Those of `numbers` whose callers have not cancelled, and from now on cannot."""
        taken = [self._tickets.pop(number) for number in numbers]
        self._tokens -= sum(ticket.job.tokens for ticket in taken)
        return [ticket for ticket in taken if ticket.future.set_running_or_notify_cancel()]

    def _ring(self, now: float) -> None:
        """Wake one who may take something, who wakes the next; else all, to see how long not."""
        if not (self._asleep and self._tickets):
            return
        able = next((w for w in self._asleep if self._free_at(w) <= now), None)
        for worker in list(self._asleep) if able is None else (able,):
            del self._asleep[worker]
            self._bells[worker].put(None)


def _taken(batch: Sequence[Ticket[Any, Any]], now: float, *, late: int, left: int) -> Batch:
    waits = tuple([now - ticket.since for ticket in batch])
    return Batch(waits, sum([ticket.job.tokens for ticket in batch]), late, left)


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Notes that a caller has cancelled; runs wherever the cancelling does, so it takes no lock."""

    left: deque[int]
    number: int

    def __call__(self, future: Future[Any]) -> None:
        if future.cancelled():
            self.left.append(self.number)
