"""Chunks from a source through `streaming` to a consumer; what is decided, is decided there."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from concurrent.futures import Future
from contextlib import closing
from math import inf
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from gemma_guard.ahead import Ahead
from gemma_guard.pacing import Pacing
from gemma_guard.strand import Ruling, Window
from gemma_guard.streaming import Parts, Release, Streaming
from gemma_guard.verdict import Verdict

C = TypeVar("C")
T = TypeVar("T")

Submit: TypeAlias = Callable[[Coroutine[Any, Any, T]], Future[T]]
Read: TypeAlias = Callable[[C], Parts]
"""The parts of a chunk, in order; none where it has no text."""

Show: TypeAlias = Callable[[Release[C]], T | None]
"""A release as the consumer gets it; None for nothing."""

_LET_WAIT = 16
"""Releases that may wait for a consumer without anybody counting their characters."""

CLOSING_S = 0.1
"""How long a source is waited for that has to close, before its consumer is answered."""


class Judge(Protocol):
    """Who decides about windows, and sums up. `prepares` says that it gains by `prepare`."""

    prepares: bool

    def prepare(self, text: str) -> Coroutine[Any, Any, None]:
        """Make the first window take less time, which begins with `text`; raises nothing."""

    def rule(self, window: Window) -> Coroutine[Any, Any, Ruling]:
        """What is decided about `window`."""

    def conclude(self, streaming: Streaming[Any]) -> Verdict:
        """The verdict on all that was judged; called once, at the end."""

    def leave(self, streaming: Streaming[Any]) -> None:
        """The same for a stream that its consumer has left, or that broke."""


class Flow(Generic[C, T]):
    """One stream. A task reads the source while another has windows judged; both wait for room."""

    def __init__(self, pacing: Pacing, judge: Judge, read: Read[C], show: Show[C, T]) -> None:
        self._streaming: Streaming[C] = Streaming(pacing)
        self._pacing = pacing
        self._judge = judge
        self._read = read
        self._show = show
        self._out: deque[Release[C]] = deque()
        self._news = asyncio.Event()  # for the consumer
        self._work = asyncio.Event()  # for the judge
        self._room = asyncio.Event()  # for the reader
        self._is_idle = False  # whether the judge waits for work
        self._broken: Exception | None = None  # what the source raised
        self._ahead: Ahead | None = None

    async def of(self, source: AsyncIterable[C]) -> AsyncGenerator[T, None]:
        """What may go of `source`, as soon as it may."""
        if self._judge.prepares:
            self._ahead = Ahead(self._judge.prepare, asyncio.create_task)
        reading = asyncio.create_task(self._reading(source))
        judging = asyncio.create_task(self._judging())
        judging.add_done_callback(lambda _: self._news.set())
        verdict: Verdict | None = None
        try:
            while not (judging.done() and not self._out):
                await self._next()
                while self._out:
                    shown = self._show(self._out.popleft())
                    if shown is not None:
                        yield shown
                    self._room.set()
            judging.result()
            await _stopped(reading, within=CLOSING_S)
            verdict = self._judge.conclude(self._streaming)
            if self._broken and not verdict.blocked:
                raise self._broken
            if (last := self._show(Release(None, verdict=verdict))) is not None:
                yield last
        finally:
            ending = self._ahead.end() if self._ahead else ()
            await _stopped(reading, judging, *ending, within=10 * CLOSING_S)
            if verdict is None:
                self._judge.leave(self._streaming)

    async def _next(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def _reading(self, source: AsyncIterable[C]) -> None:
        chunks = aiter(source)
        try:
            async for chunk in chunks:
                if self._feed(chunk):
                    await self._has_room()
        except Exception as error:  # noqa: BLE001  it goes to the consumer, after what came before
            self._broken = error
        finally:
            self._streaming.end()
            self._work.set()
            await _close(chunks, source)

    def _feed(self, chunk: C) -> bool:
        """Take a chunk; whether the scorer or the consumer is behind."""
        streaming, now = self._streaming, time.monotonic()
        waited = streaming.unjudged
        parts = tuple(self._read(chunk))
        streaming.feed(chunk, parts, now)
        if self._ahead:
            self._ahead.see(parts)
        waits = streaming.unjudged
        if streaming.may_take:
            self._pass_on()
        if self._is_idle and waits and (not waited or streaming.is_due(now)):
            self._work.set()
        return waits >= self._pacing.max_hold_chars or len(self._out) > _LET_WAIT

    async def _has_room(self) -> None:
        while self._streaming.unjudged >= self._pacing.max_hold_chars or self._is_late():
            self._room.clear()
            await self._room.wait()

    def _is_late(self) -> bool:
        """Whether the consumer leaves more than a window lying."""
        waiting = sum([len(text) for release in self._out for text in release.texts])
        return waiting >= self._pacing.max_hold_chars

    async def _judging(self) -> None:
        while not (self._streaming.is_settled or self._streaming.is_blocked):
            windows = self._streaming.windows(time.monotonic())
            if windows:
                if self._ahead:
                    self._ahead.end()
                for window, ruling in zip(windows, await self._rulings(windows), strict=True):
                    self._streaming.rule(window, ruling)
                self._pass_on()
                self._room.set()
            else:
                await self._idle()

    async def _rulings(self, windows: Sequence[Window]) -> list[Ruling]:
        if len(windows) == 1:
            return [await self._judge.rule(windows[0])]
        async with asyncio.TaskGroup() as group:
            ruled = [group.create_task(self._judge.rule(window)) for window in windows]
        return [task.result() for task in ruled]

    async def _idle(self) -> None:
        """Until something changes, or has waited long enough."""
        self._work.clear()
        self._is_idle = True
        wakes_at = self._streaming.wakes_at()
        try:
            async with asyncio.timeout(None if wakes_at == inf else wakes_at - time.monotonic()):
                await self._work.wait()
        except TimeoutError:
            pass
        finally:
            self._is_idle = False

    def _pass_on(self) -> None:
        self._out.extend(self._streaming.take())
        if self._out:
            self._news.set()


class SyncFlow(Generic[C, T]):
    """The same in the thread of the caller, who reads the source by asking for what may go.

    Windows are judged elsewhere meanwhile. While the source has nothing to say, nothing goes on.
    """

    def __init__(
        self,
        pacing: Pacing,
        judge: Judge,
        read: Read[C],
        show: Show[C, T],
        *,
        submit: Submit[Any],
    ) -> None:
        self._streaming: Streaming[C] = Streaming(pacing)
        self._pacing = pacing
        self._judge = judge
        self._read = read
        self._show = show
        self._submit = submit
        self._asked: list[tuple[Window, Future[Ruling]]] = []
        self._ahead: Ahead | None = None

    def of(self, source: Iterable[C]) -> Generator[T, None, None]:
        """What may go of `source`, as soon as it may."""
        with closing(self._releases(source)) as releases:
            for release in releases:
                if (shown := self._show(release)) is not None:
                    yield shown

    def _releases(self, source: Iterable[C]) -> Generator[Release[C], None, None]:
        verdict: Verdict | None = None
        try:
            if self._judge.prepares:
                self._ahead = Ahead(self._judge.prepare, self._submit)
            broken = yield from self._reading(source)
            self._streaming.end()
            while not (self._streaming.is_settled or self._streaming.is_blocked):
                self._ask()
                self._hear(wait=True)
                yield from self._streaming.take()
            verdict = self._judge.conclude(self._streaming)
            if broken and not verdict.blocked:
                raise broken
            yield Release(None, verdict=verdict)
        finally:
            if self._ahead:
                self._ahead.end()
            for _, ruled in self._asked:
                ruled.cancel()
            if verdict is None:
                self._judge.leave(self._streaming)

    def _reading(self, source: Iterable[C]) -> Generator[Release[C], None, Exception | None]:
        """Until the source ends, is blocked or breaks; in the last case with its error."""
        chunks = iter(source)
        try:
            while not self._streaming.is_blocked:
                try:
                    chunk = next(chunks)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001  raised after what came before it
                    return error
                parts = tuple(self._read(chunk))
                self._streaming.feed(chunk, parts, time.monotonic())
                if self._ahead:
                    self._ahead.see(parts)
                self._hear(wait=self._streaming.unjudged >= self._pacing.max_hold_chars)
                self._ask()
                yield from self._streaming.take()
        finally:
            for each in (chunks, source):
                if close := getattr(each, "close", None):
                    close()
        return None

    def _ask(self) -> None:
        if not self._asked:
            windows = self._streaming.windows(time.monotonic())
            if windows and self._ahead:
                self._ahead.end()
            self._asked = [(window, self._submit(self._judge.rule(window))) for window in windows]

    def _hear(self, *, wait: bool) -> None:
        if wait or all(ruled.done() for _, ruled in self._asked):
            asked, self._asked = self._asked, []
            for window, ruled in asked:
                self._streaming.rule(window, ruled.result())


async def _stopped(*tasks: asyncio.Task[None], within: float) -> None:
    """Cancel `tasks` and wait for them a little while."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=within)


async def _close(*sources: object) -> None:
    """Close what can be closed: generators by `aclose`, responses of HTTP clients by `close`."""
    for source in sources:
        close = getattr(source, "aclose", None) or getattr(source, "close", None)
        closing = close() if close else None
        if inspect.isawaitable(closing):
            await closing
