"""An event loop on a thread of its own, so that sync code can wait for async work anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from gemma_guard.errors import NotServing, UsageError

T = TypeVar("T")


class Portal:
    """Started by the first call, on a daemon thread; also for callers inside a running loop.

    The thread ends with `close`, or when nobody holds the portal any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None

    @property
    def is_open(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `work` on the loop of the portal; from any thread."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # not in a forked process
                self._thread = _LoopThread()
                weakref.finalize(self, self._thread.stop)
            return asyncio.run_coroutine_threadsafe(work, self._thread.loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises; the calling thread waits. `NotServing` once closed."""
        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError("this loop would wait for itself; await the async call instead")
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:
            raise NotServing("this guard was closed while the call waited") from None
        finally:
            future.cancel()  # where an interrupt ended the waiting, nobody wants the answer

    def close(self) -> None:
        """Stop the loop, answer everyone who waits, and wait for its thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread:
                thread.stop()
        if thread:
            thread.join()


class _LoopThread(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="gemma-guard-portal", daemon=True)
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self) -> None:
        try:
            self.loop.run_forever()
            self._cancel_all()
        finally:
            self.loop.close()

    def stop(self) -> None:
        """Ask the loop to end; harmless once it has."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self.loop.stop)

    def _cancel_all(self) -> None:
        waiting = asyncio.all_tasks(self.loop)
        for task in waiting:
            task.cancel()
        if waiting:
            self.loop.run_until_complete(asyncio.wait(waiting))
