"""What was worked out before and may be asked for again, within so many bytes."""

from __future__ import annotations

import os
from collections import OrderedDict
from hashlib import blake2b
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")
_ENTRY = 256
"""Bytes of a key and its place."""


class Cache(Generic[Value]):
    """The values used last. Keys are hashes with a secret of this process: no text is kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._secret = os.urandom(16)
        self._entries: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def key(self, material: bytes) -> bytes:
        """The key of whatever `material` stands for."""
        return blake2b(material, digest_size=16, key=self._secret).digest()

    def get(self, key: bytes) -> Value | None:
        """The value kept under `key`, if it still is."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: bytes, value: Value, size: int) -> None:
        """Keep a value of `size` bytes; what was not asked for longest makes room."""
        with self._lock:
            self._drop(key)
            self._entries[key] = value, size + _ENTRY
            self._held += size + _ENTRY
            while self._held > self._most:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._held = 0

    def _drop(self, key: bytes) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self._held -= size
