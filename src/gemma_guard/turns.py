"""What a model runs next: by budget, urgency and deadline, without threads or clocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gemma_guard.scorer import Priority

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Job(Generic[P]):
    """Something to run. `tokens` is its cost; `deadline` is in seconds of `time.monotonic()`.

    Whoever ran a job of the same `stream` before can run this one for less.
    """

    payload: P = field(repr=False)
    tokens: int
    deadline: float
    priority: Priority = Priority.LIVE
    stream: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would fit into every batch, and a deadline that never comes nor passes."""
        if self.tokens < 1:
            raise ValueError(f"a job costs at least one token, got {self.tokens}")
        if self.deadline != self.deadline:  # only NaN does
            raise ValueError("a job needs a deadline, got NaN")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much runs at once and how much may wait.

    A job of more than `batch_tokens` runs alone; an empty queue takes a job of any size. Every
    `oldest_every`-th batch is led by the job that waits longest, whatever its priority. For
    `sticky_s`, but no more than a quarter of its time, the next job of a stream is left to whoever
    ran the last one.
    """

    batch_tokens: int = 4096
    batch_jobs: int = 64
    queue_tokens: int = 1_048_576
    queue_jobs: int = 2048
    oldest_every: int = 8
    sticky_s: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a limit under which nothing could run."""
        for name in self.__slots__:
            value, least = getattr(self, name), 0 if name == "sticky_s" else 1
            if value < least:
                raise ValueError(f"{name}: {value} is too little; use {least} or more")


@dataclass(frozen=True, slots=True)
class Plan:
    """Places of the jobs to run next, most urgent first, and of those whose deadline has passed."""

    batch: tuple[int, ...] = ()
    late: tuple[int, ...] = ()


def plan(jobs: Sequence[Job[Any]], *, now: float, turn: int, limits: Limits) -> Plan:
    """The batch number `turn` out of `jobs`, which are in order of arrival.

    Live jobs come before background ones, then the earliest deadline; what does not fit is passed
    over for something smaller, but the first in order always runs. So that nothing waits for ever,
    the k-th job in line runs within `k * oldest_every` batches.
    """
    late = tuple(i for i, job in enumerate(jobs) if job.deadline <= now)
    waiting = set(range(len(jobs))).difference(late)
    order = sorted(waiting, key=lambda i: (jobs[i].priority, jobs[i].deadline, i))
    if order and (turn + 1) % limits.oldest_every == 0:
        oldest = min(waiting)
        order.remove(oldest)
        order.insert(0, oldest)
    return Plan(_fill(order, jobs, limits), late)


def _fill(order: Sequence[int], jobs: Sequence[Job[Any]], limits: Limits) -> tuple[int, ...]:
    """The first of `order`, whatever it costs, and all that fits beside it."""
    batch, room = list(order[:1]), limits.batch_tokens - sum(jobs[i].tokens for i in order[:1])
    for i in order[1:]:
        if room < 1 or len(batch) == limits.batch_jobs:
            break
        if jobs[i].tokens <= room:
            batch.append(i)
            room -= jobs[i].tokens
    return tuple(batch)


class Homes:
    """Who ran the last job of each of the `most` most recent streams."""

    def __init__(self, sticky_s: float, *, most: int = 4096) -> None:
        self._sticky_s, self._most = sticky_s, most
        self._of: OrderedDict[str, int] = OrderedDict()

    def settle(self, job: Job[Any], worker: int) -> None:
        """`worker` runs it."""
        if job.stream is None:
            return
        self._of[job.stream] = worker
        self._of.move_to_end(job.stream)
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def free_at(self, job: Job[Any], since: float, worker: int) -> float:
        """From when on `worker` may take a job that waits `since` then."""
        if job.stream is None or self._of.get(job.stream, worker) == worker:
            return since
        return since + min(self._sticky_s, (job.deadline - since) / 4)
