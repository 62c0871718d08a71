"""Nothing leaves before it has been scored.

A stream has one source of chunks and any number of texts that grow side by side: the choices of an
answer, its content, reasoning and refusal, the arguments of its calls. What decides is here and in
`strand`, without a clock and without asyncio; `flow` moves the chunks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from gemma_guard.pacing import Pacing
from gemma_guard.strand import Ruling, Slice, Strand, Unjudged, Window
from gemma_guard.verdict import Edit, Gap, Place, Verdict

C = TypeVar("C")


class Piece(NamedTuple):
    """What a consumer may see next.

    `verdict` is there on the last piece, on the refusal after a block, and where `text` has
    something redacted.
    """

    text: str
    verdict: Verdict | None = None

    def __repr__(self) -> str:
        """No text."""
        return f"Piece({len(self.text)} characters, {self.verdict!r})"


class Part(NamedTuple):  # there is one per chunk, as there is a release
    """What one chunk adds to one of the texts of a stream.

    `place` tells the texts apart; by convention it begins with the number of the choice, as in
    `(0, "content")`, `(0, "reasoning")` or `(0, "tool_calls", 1)`. `call` is the name of the
    function whose arguments the text is: such a text is held until it has ended and was judged
    with the name. `ends` says that nothing more comes at this place: say so as soon as it is known,
    for the chunks behind it wait. Where it is never said, a text ends with its source.
    """

    place: Place
    text: str = ""
    call: str | None = None
    ends: bool = False

    def __repr__(self) -> str:
        """No text."""
        return f"Part({len(self.text)} characters)"


Parts: TypeAlias = Iterable[Part | Gap]
"""What a chunk brings; a `Gap` stands for something no scorer judges, such as a picture."""


class Release(NamedTuple, Generic[C]):
    """A chunk that may go on, in the order of the source.

    `texts` has, for each part that was read from `chunk`, what may be seen of it now. Where
    `is_whole`, that is all of it as it came, and the chunk itself may go. Otherwise write `texts`
    into a copy: something was redacted, or only the beginning may go yet. As long as not `is_last`
    another release of the same chunk follows, with the rest: leave out of the copy what ends an
    answer, such as a finish reason or usage.

    `verdict` comes with a redaction. The last release of a stream has no chunk and the verdict on
    all of it; where that is a block, the refusal is for the caller to be shown.
    """

    chunk: C | None
    texts: tuple[str, ...] = ()
    is_whole: bool = True
    is_last: bool = True
    verdict: Verdict | None = None

    def __repr__(self) -> str:
        """No text."""
        sizes = ", ".join(str(len(text)) for text in self.texts)
        return f"Release({sizes} characters, whole={self.is_whole}, {self.verdict!r})"


class Said:
    """The releases of a stream of one text as pieces of it."""

    def __init__(self) -> None:
        self._end = "\n"

    def piece(self, release: Release[str]) -> Piece | None:
        """What the consumer sees next; a refusal stands apart from what was said before it."""
        verdict = release.verdict
        if release.chunk is None and verdict:
            refusal = f"{_apart(self._end)}{verdict.refusal}" if verdict.blocked else ""
            return Piece(refusal, verdict)
        text = "".join(release.texts)
        self._end = (self._end + text)[-2:]
        return Piece(text, verdict) if text or verdict else None


def _apart(end: str) -> str:
    return "" if end.endswith("\n") else "\n\n"


def as_it_is(release: Release[C]) -> Release[C]:
    """A release as an adapter gets it."""
    return release


def one_text(chunk: str) -> tuple[Part]:
    """A chunk of text as the only part of it."""
    return (Part((), chunk),)


@dataclass(slots=True, eq=False)
class _Entry(Generic[C]):
    """A chunk that waits, with what it brought to each strand."""

    chunk: C
    slices: tuple[Slice, ...]
    taken: int = 0  # characters of its only slice that are out already

    def release(self) -> Release[C] | None:
        """What of it may go that is not out yet."""
        slices = self.slices
        for piece in slices:
            if not piece.is_free:
                return self._beginning() if len(slices) == 1 else None
        texts = tuple([piece.text for piece in slices])
        if self.taken:
            texts = (texts[0][self.taken :],)
        changed = any(piece.is_changed for piece in slices)
        verdict = self._verdict() if changed else None
        return Release(self.chunk, texts, not (self.taken or changed), verdict=verdict)

    def _beginning(self) -> Release[C] | None:
        (piece,), begin = self.slices, self.taken
        if piece.free <= begin:
            return None
        self.taken = piece.free
        text = piece.text[begin : piece.free]
        return Release(self.chunk, (text,), is_whole=False, is_last=False, verdict=self._verdict())

    def _verdict(self) -> Verdict | None:
        found = next((piece for piece in self.slices if piece.verdict), None)
        if found is None:
            return None
        verdict, found.verdict = found.verdict, None
        return verdict


class Streaming(Generic[C]):
    """Several strands and the chunks they came in. It has no clock: the caller says `now`, in s."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._strands: dict[Place, Strand] = {}
        self._unjudged: list[Unjudged] = []
        self._live: list[Strand | Unjudged] = []  # those that may want a window
        self._queue: deque[_Entry[C]] = deque()
        self._out: dict[Place, list[str]] = {}
        self._has_ended = False

    @property
    def is_blocked(self) -> bool:
        """Whether nothing more may go."""
        return any(strand.is_blocked for strand in self._live)

    @property
    def is_settled(self) -> bool:
        """Whether the source has ended and everything was judged."""
        return self._has_ended and not self._live

    @property
    def unjudged(self) -> int:
        """Characters of the longest text that waits for a window."""
        live = self._live
        if len(live) == 1:
            return live[0].unjudged
        return max([strand.unjudged for strand in live], default=0)

    @property
    def may_take(self) -> bool:
        """Whether what was fed last waits for nothing but itself."""
        return len(self._queue) == 1

    @property
    def verdicts(self) -> list[Verdict]:
        """The newest verdict on each text, and on what is none."""
        every: tuple[Strand | Unjudged, ...] = (*self._strands.values(), *self._unjudged)
        return [strand.last for strand in every if strand.last]

    @property
    def released(self) -> tuple[Edit, ...]:
        """What went out of each text."""
        return tuple(Edit(place, "".join(texts)) for place, texts in self._out.items())

    def feed(self, chunk: C, parts: Sequence[Part | Gap], now: float) -> None:
        """Take a chunk and what it brings."""
        slices = tuple([self._slice(part, now) for part in parts])
        self._queue.append(_Entry(chunk, slices))
        for part in parts:
            if part.__class__ is Part and part.ends:
                self._end(self._strands[part.place])

    def end(self) -> None:
        """The source has ended, and every text with it."""
        self._has_ended = True
        for strand in list(self._live):
            self._end(strand)

    def wakes_at(self) -> float:
        """When a window is due though nothing comes; infinite if none will be."""
        return min([strand.wakes_at() for strand in self._live], default=math.inf)

    def windows(self, now: float) -> list[Window]:
        """What is to be judged now, one window of each text at most."""
        found = [strand.window(now) for strand in self._live]
        return [window for window in found if window]

    def is_due(self, now: float) -> bool:
        """Whether there are any `windows`."""
        return any(strand.is_due(now) for strand in self._live)

    def rule(self, window: Window, ruling: Ruling) -> None:
        """Take what was decided about one of the `windows`."""
        strand: Strand | Unjudged = (
            next(u for u in self._unjudged if u.gap is window.gap)
            if window.gap
            else self._strands[window.place]
        )
        strand.rule(window, ruling)
        self._retire(strand)

    def take(self) -> Iterator[Release[C]]:
        """Everything that may go and was not taken yet, in the order it came."""
        queue, out = self._queue, self._out
        while queue:
            entry = queue[0]
            release = entry.release()
            if release is None:
                return
            if release.is_last:
                queue.popleft()
            for piece, text in zip(entry.slices, release.texts, strict=True):
                if text:
                    out.setdefault(piece.place, []).append(text)
            yield release

    def _slice(self, part: Part | Gap, now: float) -> Slice:
        if isinstance(part, Gap):
            unjudged = Unjudged(part)
            self._unjudged.append(unjudged)
            self._enlist(unjudged)
            return unjudged.slice
        strand = self._strands.get(part.place)
        if strand is None:
            strand = self._strands[part.place] = Strand(part.place, self._pacing)
        if part.call is not None:
            strand.call = part.call or strand.call or ""
        if not strand.is_live:
            self._enlist(strand)
        return strand.feed(part.text, now)

    def _end(self, strand: Strand | Unjudged) -> None:
        strand.end()
        self._retire(strand)

    def _retire(self, strand: Strand | Unjudged) -> None:
        if strand.is_settled and strand.is_live:
            self._live.remove(strand)
            strand.is_live = False

    def _enlist(self, strand: Strand | Unjudged) -> None:
        self._live.append(strand)
        strand.is_live = True
