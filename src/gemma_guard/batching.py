"""Dynamic batching: many callers, one model call at a time; bounded; every caller answered.

```
submit ──▶ Line (bounded) ──▶ plan ──▶ _Worker: run(payloads) ──▶ a Future per job
```

What waits while a batch runs forms the next batch, so batches grow with the load and a lone job
waits for nobody.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from gemma_guard.errors import (
    DeadlineExceeded,
    GuardError,
    NotServing,
    Overloaded,
    ScoringError,
    ScoringFailed,
    TextRefused,
    Unreachable,
)
from gemma_guard.line import Line, Ticket
from gemma_guard.scorer import Observe, unobserved
from gemma_guard.turns import Job, Limits

P = TypeVar("P")
R = TypeVar("R")

Run: TypeAlias = Callable[[Sequence[P]], Sequence[R]]
"""One blocking model call: as many answers as payloads, in order.

It may raise `ScoringError` where the judge is known to be gone, which nothing retries, and
`MemoryError` where the batch was too big. See `Absent` for one that is not always there.
"""


@runtime_checkable
class Absent(Protocol):
    """A run that may be away for a while, such as a process that is being started again."""

    def ready(self) -> bool:
        """True once it can run, False if it never will again; until then others take the jobs."""


class Batcher(Generic[P, R]):
    """Runs the jobs of callers on any event loop and thread, a batch at a time.

    Each `run` has a thread of its own and all take from one queue; what continues a stream is left
    a moment to the one that ran the stream before. When a batch breaks, halves of
    it are tried, so that one poisonous job does not fail its neighbours: a half that works answers
    its callers, a half that breaks is halved on, and if both break, both fail. Only where the
    error belongs to single jobs or to the size (`TextRefused`, `MemoryError`) are both halved on.

    Every future is answered: by a result; `DeadlineExceeded`, without being run; `NotServing`; or
    the error that `run` raised, as a `ScoringFailed` without its text where it is not ours. A batch
    that is running cannot be interrupted: who cannot wait for its end bounds the waiting, as
    `Panel.ask` does.
    """

    def __init__(
        self,
        *runs: Run[P, R],
        limits: Limits | None = None,
        name: str = "gemma-guard-batcher",
        observe: Observe = unobserved,
    ) -> None:
        """Tell `observe` of every batch; it is called on the thread that runs it."""
        if not runs:
            raise ValueError("a batcher needs something to run")
        line: Line[P, R] = Line(limits or Limits(), observe, workers=len(runs))
        self._line = line
        self._workers = [_Worker(line, i, run, f"{name}-{i}") for i, run in enumerate(runs)]
        weakref.finalize(self, line.abandon)

    def submit(self, job: Job[P]) -> Future[R]:
        """The future answer to `job`; `Overloaded` where the queue is full. Never blocks.

        Cancelling it takes the job out of the queue; once it runs, that has no effect.
        """
        return self._submit((job,))[0]

    async def ask(self, jobs: Iterable[Job[P]]) -> list[R]:
        """The answers to `jobs`, in order; all of them are queued, or none.

        The first failure is raised, and what has not begun by then is not run any more.
        """
        futures = self._submit(tuple(jobs))
        try:
            return [await asyncio.wrap_future(future) for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _submit(self, jobs: Sequence[Job[P]]) -> list[Future[R]]:
        futures = self._line.join(jobs)
        for worker in self._workers:
            worker.start()
        return futures

    @property
    def waiting(self) -> tuple[int, int]:
        """How many jobs, and tokens of theirs, are queued."""
        return self._line.size

    async def aclose(self, *, drain: bool = True, grace_s: float = 30.0) -> None:
        """Take no more jobs, answer everyone, and end the threads.

        Without `drain`, what has not begun is answered `NotServing` at once. So is whoever still
        waits after `grace_s`, if `run` hangs: its thread is left to end when `run` does.
        """
        self._line.close(drain=drain)
        for worker in self._workers:  # a job may have joined the line and not yet started them
            worker.start()
        ended = {asyncio.wrap_future(worker.ended) for worker in self._workers}
        _, hanging = await asyncio.wait(ended, timeout=grace_s)
        if hanging:
            self._line.close(drain=False)
            self._line.give_up()
        for worker in self._workers:
            worker.join()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Worker(Generic[P, R]):
    """A thread that runs batches until its line is closed and empty; started by the first job."""

    def __init__(self, line: Line[P, R], number: int, run: Run[P, R], name: str) -> None:
        self._line, self._number = line, number
        self._run = run
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._is_started = False
        self.ended: Future[None] = Future()
        self.ended.set_running_or_notify_cancel()  # a caller of `aclose` who gives up ends nothing

    def start(self) -> None:
        if self._is_started:
            return
        with self._starting:
            if not self._is_started:
                self._thread.start()
                self._is_started = True

    def join(self) -> None:
        """Wait for the thread where it has come to its end."""
        if self.ended.done():
            self._thread.join()

    def _work(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._serve(batch)
        except BaseException:  # a bug of ours, or no memory left: still nobody waits for ever
            self._line.close(drain=False)
            self._line.give_up()
            raise
        finally:
            self.ended.set_result(None)

    def _next(self) -> list[Ticket[P, R]] | None:
        if isinstance(self._run, Absent) and not self._run.ready():
            return None
        return self._line.take(self._number)

    def _serve(self, batch: Sequence[Ticket[P, R]]) -> None:
        if batch and (error := self._attempt(batch)):
            self._split(batch, error)

    def _attempt(self, batch: Sequence[Ticket[P, R]]) -> BaseException | None:
        """Run and answer all of `batch`, or none and say what broke."""
        try:
            answers = tuple(self._run([ticket.job.payload for ticket in batch]))
        except BaseException as error:  # noqa: BLE001  one bad batch must not stop the next ones
            return error
        if len(answers) != len(batch):
            return ScoringFailed(f"{len(answers)} answers to {len(batch)} jobs")
        for ticket, answer in zip(batch, answers, strict=True):
            ticket.answer(answer)
        return None

    def _split(self, batch: Sequence[Ticket[P, R]], error: BaseException) -> None:
        """Answer a batch that broke with `error`: by what its halves say, or by the error."""
        batch = _in_time(batch)
        if len(batch) < 2 or isinstance(error, ScoringError):  # noqa: PLR2004  one has no halves
            return _fail(batch, error)
        middle = len(batch) // 2
        tried = [(half, self._attempt(half)) for half in (batch[:middle], batch[middle:])]
        broken = [(half, error) for half, error in tried if error]
        for half, why in broken:
            if len(broken) == 1 or isinstance(why, _OF_SIZE_OR_JOB):
                self._split(half, why)
            else:
                _fail(half, why)
        return None


_OF_SIZE_OR_JOB = (MemoryError, TextRefused)


def _in_time(batch: Iterable[Ticket[P, R]]) -> list[Ticket[P, R]]:
    """Those of a batch that may be tried again; the others are answered."""
    now, waiting = time.monotonic(), []
    for ticket in batch:
        if ticket.job.deadline > now:
            waiting.append(ticket)
        else:
            ticket.fail(DeadlineExceeded("the deadline passed while a batch was tried again"))
    return waiting


def _fail(batch: Sequence[Ticket[P, R]], error: BaseException) -> None:
    for ticket in batch:
        failure = _failure(error, len(batch))  # one each: raising an error writes its traceback
        failure.__cause__ = error
        ticket.fail(failure)


def _failure(error: BaseException, jobs: int) -> GuardError:
    """What the callers of a broken batch are told: only errors of our own may speak."""
    if isinstance(error, ScoringError):
        known = (Unreachable, DeadlineExceeded, Overloaded)
        kind = next((k for k in known if k.cause is error.cause), ScoringFailed)
        return kind(str(error))
    if isinstance(error, TextRefused) and jobs == 1:
        return TextRefused(error.cause, str(error))
    if isinstance(error, NotServing):
        return NotServing(str(error))
    return ScoringFailed(f"{type(error).__name__} in a batch of {jobs}")
