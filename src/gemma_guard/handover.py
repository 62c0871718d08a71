"""Async work begun by hand on a thread of sync code, and handed over where it needs an event loop.

Most checks never wait: the scorer answers at once, or the answer is known. Those need no loop, and
a loop on another thread costs more than they do. What may wait says so by `on_a_loop` first; from
there on the work is another's, on whose loop timers, tasks and scorers outlive this caller.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class _Here(threading.local):
    """What runs on this thread; not a context variable, which would follow the work elsewhere."""

    is_by_hand = False


_here = _Here()


def by_hand(work: Coroutine[Any, Any, T], elsewhere: Callable[[Coroutine[Any, Any, T]], T]) -> T:
    """What `work` returns: run on this thread, or from its first `on_a_loop` on by `elsewhere`.

    Whether a loop runs on this thread makes no difference: `work` has no part in it.
    """
    outer, _here.is_by_hand = _here.is_by_hand, True
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        _here.is_by_hand = outer
    return elsewhere(work)


@types.coroutine
def on_a_loop() -> Generator[None, None, None]:
    """Go on where the event loop is that runs this; at once, but for work that is run by hand.

    To be awaited before a future, a timer, a task or the running loop is asked for.
    """
    if _here.is_by_hand:
        yield
