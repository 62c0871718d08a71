"""One guard per guard.yaml in this process, however many stanzas name it."""

from __future__ import annotations

import threading
from pathlib import Path

from gemma_guard import Guard

_guards: dict[Path, Guard] = {}
_lock = threading.Lock()


def guard_of(path: Path) -> Guard:
    """The guard of the file at `path`; raises `ConfigError`."""
    with _lock:
        if path not in _guards:
            _guards[path] = Guard.from_config(path)
        return _guards[path]
