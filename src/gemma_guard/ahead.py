"""What is read before the first window of a stream is full: the prompt, then each sentence."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

from gemma_guard.segments import last_boundary
from gemma_guard.streaming import Part
from gemma_guard.verdict import Gap, Place

_FAR = 2_000  # characters; each sentence has all before it looked at again


class Begun(Protocol):
    """A task, or a future."""

    def cancel(self, /) -> Any:
        """End it."""

    def add_done_callback(self, done: Callable[[Any], object], /) -> None:
        """Call `done` with it once it has ended."""


Prepare: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]
"""Given the whole sentences there are of an answer, which are none to begin with; never raises."""


class Ahead:
    """Begins to prepare at once, and again when a sentence of the first text has ended.

    What was begun before ends then, for the new one has all of it.
    """

    def __init__(
        self, prepare: Prepare, begin: Callable[[Coroutine[Any, Any, None]], Begun]
    ) -> None:
        self._prepare, self._begin = prepare, begin
        self._place: Place | None = None
        self._whole = self._open = ""
        self._is_over = False
        self._begun: set[Any] = set()
        self._again()

    def see(self, parts: Sequence[Part | Gap]) -> None:
        """A chunk came."""
        if self._is_over:
            return
        for part in parts:
            if isinstance(part, Part) and part.text and part.call is None:
                self._place = part.place if self._place is None else self._place
                if part.place == self._place:
                    self._see(part.text)

    def end(self) -> set[Any]:
        """A window is judged, or none will be; what has not ended yet is ended."""
        self._is_over = True
        return self._cancelled()

    def _see(self, text: str) -> None:
        self._open += text
        end = last_boundary(self._open)
        if not end:
            return
        self._whole, self._open = self._whole + self._open[:end], self._open[end:]
        self._is_over = len(self._whole) > _FAR
        if not self._is_over:
            self._again()

    def _again(self) -> None:
        self._cancelled()
        begun = self._begin(self._prepare(self._whole))
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)

    def _cancelled(self) -> set[Any]:
        """What was under way, ending."""
        ending = set(self._begun)
        for each in ending:
            each.cancel()
        return ending
