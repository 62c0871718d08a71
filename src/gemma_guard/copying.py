"""What a guard is once it was copied or pickled: itself, or in another process one like it."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from typing import Any, Self

from gemma_guard.configuration import Settings

_alive: weakref.WeakValueDictionary[tuple[int, str], Copied] = weakref.WeakValueDictionary()
_remaking = threading.Lock()


class Copied:
    """Holds threads, devices and files, of which there are no copies: a copy of it is itself.

    What is pickled is its settings, which are as secret as guard.yaml. Unpickled where it lives, it
    is itself. In another process it is made of those settings once, by whichever pickle comes
    first, and opens scorers of its own; it may carry another fingerprint there.
    """

    _closed: bool
    _name: str | None = None

    def _described(self) -> tuple[Settings, dict[str, Any]]:
        """What it can be made of again, and with which options; `UsageError` if of nothing."""
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Its settings, and a name to find it by where it lives."""
        settings, options = self._described()
        self._name = self._name or uuid.uuid4().hex
        _alive[os.getpid(), self._name] = self  # a forked process has no threads of this one
        return _unpickled, (type(self), self._name, settings, options)


def _unpickled(kind: Any, name: str, settings: Settings, options: dict[str, Any]) -> Copied:
    place = os.getpid(), name
    with _remaking:
        alive = _alive.get(place)
        if alive is None or alive._closed:  # noqa: SLF001  a friend
            _alive[place] = alive = kind(settings, **options)
            alive._name = name  # noqa: SLF001  likewise
        return alive
