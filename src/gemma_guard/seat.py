"""One scorer of a guard: opened once, asked by a deadline, spared while it fails, closed once."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from gemma_guard.breaker import Breaker, State
from gemma_guard.deadline import within
from gemma_guard.errors import (
    DeadlineExceeded,
    GuardError,
    NotServing,
    ScoringError,
    ScoringFailed,
    TextRefused,
    Unreachable,
)
from gemma_guard.handover import on_a_loop
from gemma_guard.scorer import Preparing, Priority, Probe, Scorer, answers_at_once
from gemma_guard.verdict import Score

Scores = Sequence[tuple[Score, ...]]


class Seat:
    """For callers on any event loop and thread; the first who asks opens the scorer."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._at_once = answers_at_once(scorer)
        self._preparing = scorer if isinstance(scorer, Preparing) else None
        self._breaker = Breaker()
        self._lock = threading.Lock()
        self._opening: Future[AsyncExitStack] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_closed = False

    def circuit(self) -> State:
        """Whether the scorer is asked at present."""
        return self._breaker.state(time.monotonic())

    async def open(self) -> None:
        """Open the scorer, once; callers that come meanwhile wait for it."""
        if self._is_closed:
            raise NotServing("this guard is closed")
        if self._is_open:
            return
        with self._lock:
            opening = self._opening
            if opening is None:
                opening = self._opening = Future()
                self._task = asyncio.create_task(self._open(opening))
        # shielded, in a task of its own: who gives up must not cancel the opening for the others
        opened = asyncio.wrap_future(opening)
        opened.add_done_callback(_seen)
        await asyncio.shield(opened)

    async def aclose(self) -> None:
        """Close the scorer; asking again raises `NotServing`."""
        with self._lock:
            opening, self._opening = self._opening, None
            self._is_open, self._is_closed = False, True
        if opening and opening.done() and not opening.exception():
            await opening.result().aclose()

    async def ask(self, probes: Sequence[Probe], deadline: float, priority: Priority) -> Scores:
        """What the scorer answers by `deadline`; raises `ScoringError` or `TextRefused`.

        Cancellation passes through; whatever else a scorer raises becomes a `ScoringError` whose
        message holds no text.
        """
        if not (self._at_once and self._is_open):
            await on_a_loop()  # for all callers without one the same: scorers may rely on theirs
        if not self._is_open:
            await self._open_to_ask(deadline)
        admission = self._breaker.admit(time.monotonic(), deadline=deadline)
        if admission is None:
            raise Unreachable("it failed several times in a row and is left alone for a while")
        try:
            answer = await self._answer(probes, deadline, priority)
        except BaseException as error:
            cause = error.cause if isinstance(error, ScoringError | TextRefused) else None
            self._breaker.silent(admission, cause, time.monotonic())
            raise
        self._breaker.answered(admission)
        return answer

    @property
    def prepares(self) -> bool:
        """Whether the scorer gains by reading beforehand."""
        return self._preparing is not None

    async def prepare(self, probe: Probe, deadline: float) -> None:
        """Have `probe` read beforehand, if the scorer is there; raises nothing of it."""
        if self._preparing and self._is_open and self.circuit() == "closed":
            with suppress(Exception):
                await within(self._preparing.prepare(probe, deadline=deadline), deadline)

    async def _open_to_ask(self, deadline: float) -> None:
        try:
            await within(self.open(), deadline)
        except GuardError:
            raise
        except TimeoutError as late:
            raise DeadlineExceeded("it did not open before the deadline") from late
        except Exception as error:  # a scorer may raise anything; the next call tries again
            raise ScoringFailed(f"it did not open: {_without_text(error)}") from error

    async def _answer(self, probes: Sequence[Probe], deadline: float, priority: Priority) -> Scores:
        try:
            scoring = self.scorer.score(probes, deadline=deadline, priority=priority)
            answer = await within(scoring, deadline)
            fits = _fits(answer, probes)
        except (ScoringError, TextRefused, NotServing):
            raise
        except TimeoutError as late:
            raise DeadlineExceeded("it did not answer before the deadline") from late
        except Exception as error:  # a scorer may raise anything; one rule for all
            raise ScoringFailed(_without_text(error)) from error
        if not fits:
            raise ScoringFailed("its answer does not have one score per policy, in order")
        return answer

    async def _open(self, opening: Future[AsyncExitStack]) -> None:
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(self.scorer)
        except Exception as error:  # noqa: BLE001  whoever waits is told
            self._opening = None
            opening.set_exception(error)
            return
        except BaseException:
            self._opening = None
            opening.set_exception(ScoringFailed("its opening was given up"))
            raise
        with self._lock:
            self._is_open = is_wanted = not self._is_closed
        if is_wanted:
            opening.set_result(stack)
            return
        opening.set_exception(NotServing("this guard is closed"))
        await stack.aclose()


def _fits(answer: Scores, probes: Sequence[Probe]) -> bool:
    return len(answer) == len(probes) and all(
        len(scores) == len(probe.policies)
        and all(s.policy == p.name for s, p in zip(scores, probe.policies, strict=True))
        for scores, probe in zip(answer, probes, strict=True)
    )


def _seen(opened: asyncio.Future[AsyncExitStack]) -> None:
    """Nobody may be left to see how it failed; asyncio would log that, with its message."""
    if not opened.cancelled():
        opened.exception()


def _without_text(error: Exception) -> str:
    """Where a scorer broke; its message may quote the judged text and is left out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
