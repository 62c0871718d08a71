"""The time one text may take, so that no text can hang a pattern."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, thread_time

import regex


class Allowance:
    """Until `deadline` (in seconds of `time.monotonic()`), at most `cpu_s` of this thread's work.

    `concurrent` lets other threads run while a pattern is matched.
    """

    __slots__ = ("_cpu_end", "_deadline", "_patience", "concurrent")

    def __init__(
        self, deadline: float, *, cpu_s: float | None = None, concurrent: bool = False
    ) -> None:
        self._deadline = deadline
        self._cpu_end = None if cpu_s is None else thread_time() + cpu_s
        self._patience = 1
        self.concurrent = concurrent

    def left(self) -> float:
        """Seconds for the next run of a pattern. `TimeoutError` if there are none."""
        left = self._deadline - monotonic()
        if self._cpu_end is not None:
            left = min(left, self._cpu_end - thread_time())
        if left <= 0:  # `regex` takes a negative timeout for none at all
            raise TimeoutError
        return left * self._patience

    def insist(self) -> None:
        """After a timeout: carry on if this thread has time left, else `TimeoutError`.

        `regex` counts the processor time of the whole process, so where other threads are busy it
        gives up too early. Doubling what we ask for finds the right amount in a few attempts.
        """
        self._patience *= 2
        self.left()


def matches(
    pattern: regex.Pattern[str], text: str, allowance: Allowance, *, partial: bool = False
) -> Iterator[regex.Match[str]]:
    """Every match in `text`, as `finditer` gives them. `TimeoutError` when the time is used up.

    With `partial`, the last one may be one that only more text would finish.
    """
    at, concurrent = 0, allowance.concurrent
    while True:
        try:
            # Most texts match nothing, and `search` says so in half the time of `finditer`.
            if not pattern.search(
                text, at, timeout=allowance.left(), concurrent=concurrent, partial=partial
            ):
                return
            left = allowance.left()
            for match in pattern.finditer(
                text, at, timeout=left, concurrent=concurrent, partial=partial
            ):
                at = match.end()
                yield match
        except TimeoutError:
            allowance.insist()
        else:
            return
