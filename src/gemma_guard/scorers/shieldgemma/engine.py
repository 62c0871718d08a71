"""The seam between the scorer and whatever runs the model: token ids in, two logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """One window of a text under several policies, as token ids.

    `prefix` begins with `<bos>` and ends where the policies part; each of `suffixes` continues it
    and ends at the position whose next token is the answer. `stream` names what a longer text may
    continue later; no answer depends on it.
    """

    prefix: tuple[int, ...] = field(repr=False)
    suffixes: tuple[tuple[int, ...], ...] = field(repr=False)
    stream: str | None = None

    @property
    def tokens(self) -> int:
        """What has to be computed: the prefix once, and each suffix."""
        return len(self.prefix) + sum(map(len, self.suffixes))


@dataclass(frozen=True, slots=True)
class Reading:
    """The logits of `Yes` and `No` after the final softcap, in float32.

    `mass` is P(Yes) + P(No) over the whole vocabulary, in [0, 1], where it was asked for.
    """

    yes: float
    no: float
    mass: float | None = None


class Engine(Protocol):
    """A loaded model."""

    def read(self, questions: Sequence[Question], /) -> Sequence[tuple[Reading, ...]]:
        """One reading per suffix of each question, in order.

        Raises `MemoryError` where that was too much at once.
        """
