"""One guard per guard.yaml in this process, however many stanzas name it."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from pathlib import Path

from gemma_guard import Guard, NotServing

_guards: dict[Path, Guard] = {}
_opening: set[asyncio.Task[None]] = set()
_lock = threading.Lock()


def guard_of(path: Path) -> Guard:
    """The guard of the file at `path`; raises `ConfigError`."""
    with _lock:
        if path not in _guards:
            _guards[path] = Guard.from_config(path)
            _open(_guards[path])
        return _guards[path]


def _open(guard: Guard) -> None:
    """Open its judges while the proxy starts: weights take longer than a first call may wait."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # nothing is served here yet: the first call opens them
        return
    task = loop.create_task(_tried(guard))
    _opening.add(task)
    task.add_done_callback(_opening.discard)


async def _tried(guard: Guard) -> None:
    with suppress(Exception):  # who does not open is named below
        await guard.open()
    with suppress(NotServing):
        for one in await guard.health():
            if not one.is_well:
                sys.stderr.write(f"gemma-guard: {one.scorer} is not well: {one.reason}\n")
