"""What every form of stream needs: which texts a chunk adds to, and how they are written back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gemma_guard import Gap, Part, Place, Release, Verdict


class Codec(Protocol):
    """One stream's form; it keeps what it has seen of that stream."""

    def read(self, chunk: Any) -> Sequence[Part | Gap]:
        """The texts that `chunk` adds to."""

    def write(self, release: Release[Any]) -> Any | None:
        """What may be sent of the release's chunk; None for nothing."""

    def refuse(self, verdict: Verdict) -> Iterable[Any]:
        """Chunks that end the stream as if the model had refused, after what was sent of it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A text in a chunk, and how another is written in its place, in a copy of the chunk."""

    part: Part | Gap
    write: Callable[[Any, str], None]


class Undeliverable(Exception):
    """A redaction has no place to be written to; the stream is blocked instead."""


class Ends:
    """The texts that have begun, by the answer they belong to, to be ended together."""

    def __init__(self) -> None:
        self._open: dict[Any, dict[Place, None]] = {}

    def begin(self, owner: Any, place: Place) -> None:
        """Note that a text of `owner` has begun."""
        self._open.setdefault(owner, {})[place] = None

    def end(self, owner: Any) -> list[Part]:
        """Say that nothing more comes of `owner`."""
        return [Part(place, ends=True) for place in self._open.pop(owner, {})]
