"""What a guard does beside checking: reload when its files change or on SIGHUP, and a heartbeat."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_guard.configuration import Settings, Upkeep
from gemma_guard.errors import GuardError
from gemma_guard.health import Health
from gemma_guard.portal import Portal
from gemma_guard.records import logger

_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Chores:
    """What there is to do, and where: `settings` gives the configuration in service."""

    settings: Callable[[], Settings]
    reload: Callable[[], Coroutine[Any, Any, None]]
    health: Callable[[], Coroutine[Any, Any, tuple[Health, ...]]]
    portal: Portal


class Upkeeping(threading.Thread):
    """Runs until `stop`. What fails is logged, and done again when it is due."""

    def __init__(self, chores: Chores) -> None:
        super().__init__(name="gemma-guard-upkeep", daemon=True)
        self._chores = chores
        self._ending = threading.Event()
        self._ended: Future[None] = Future()
        self._hung_up = threading.Event()
        self._restore = self._listen() if chores.settings().upkeep.on_sighup else None
        self.start()

    async def stop(self) -> None:
        """End, and give SIGHUP back to whoever had it.

        The caller's event loop goes on: what is being done may wait for checks that run on it.
        """
        self._ending.set()
        if self._restore:
            self._restore()
        await asyncio.shield(asyncio.wrap_future(self._ended))
        self.join()

    def run(self) -> None:
        """Look every tenth of a second at what is due."""
        try:
            self._look()
        finally:
            self._ended.set_result(None)

    def _look(self) -> None:
        seen, looked_at, beaten_at = self._stamp(), time.monotonic(), time.monotonic()
        while not self._ending.wait(_TICK_S):
            wants, now = self._chores.settings().upkeep, time.monotonic()
            if wants.watch_s and now - looked_at >= wants.watch_s:
                stamp, looked_at = self._stamp(), now
                if stamp != seen:
                    seen = stamp
                    self._hung_up.set()
            if self._hung_up.is_set():
                self._hung_up.clear()
                self._reload()
            if wants.heartbeat_s and now - beaten_at >= wants.heartbeat_s:
                beaten_at = now
                self._beat()

    def _reload(self) -> None:
        try:
            self._chores.portal.call(self._chores.reload())
        except GuardError as error:
            logger.error("reload refused, the last good configuration stays: %s", error)
        except Exception:  # noqa: BLE001  a scorer that does not open may raise anything
            logger.exception("reload failed, the last good configuration stays")

    def _beat(self) -> None:
        try:
            healths = self._chores.portal.call(self._chores.health())
        except GuardError as error:
            logger.warning("no heartbeat: %s", error)
            return
        for health in healths:
            if not health.is_well:
                logger.warning("scorer %s is not well: %s", health.scorer, health.reason)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        return tuple(_changes(self._chores.settings().files))

    def _listen(self) -> Callable[[], None] | None:
        if threading.current_thread() is not threading.main_thread():
            logger.warning("SIGHUP is not listened to: the guard was opened off the main thread")
            return None
        before = signal.signal(signal.SIGHUP, lambda *_: self._hung_up.set())
        return lambda: _give_back(before)


def is_wanted(upkeep: Upkeep) -> bool:
    """Whether there is anything to keep up."""
    return bool(upkeep.watch_s or upkeep.on_sighup or upkeep.heartbeat_s)


def tell_unkept(settings: Settings) -> None:
    """That a guard which nobody opened does nothing beside its checks, if more is wanted."""
    if is_wanted(settings.upkeep):
        logger.warning(
            "%s: nothing is reloaded and no heart beats until this guard is opened:"
            " `async with guard` or `await guard.open()`",
            settings.source,
        )


def _give_back(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, handler)


def _changes(files: Iterable[Path]) -> Iterable[tuple[int, int]]:
    for file in files:
        try:
            state = file.stat()
            yield state.st_mtime_ns, state.st_size
        except OSError:  # being replaced
            yield 0, 0
