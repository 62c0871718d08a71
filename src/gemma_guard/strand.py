"""One growing text: which of it is judged next, and how much of it may go."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gemma_guard.pacing import Pacing
from gemma_guard.segments import last_boundary
from gemma_guard.verdict import Action, Gap, Place, Verdict

_MAY_END = re.compile("[^\\w ,'\"-]")  # all but what stands inside sentences
_UNDECIDED = 16  # characters in which it may still have to be seen whether a sentence ended


@dataclass(frozen=True, slots=True)
class Window:
    """A text to judge: all of it so far, redactions in place.

    Its first `released` characters are out and cannot be redacted any more. `call` is the name of
    the function whose arguments the text is; `is_last` says that nothing will follow. On a trial,
    an opinion against it is not acted on yet. Where there is a `gap`, the window stands for
    something that no scorer judges, and has no text.
    """

    place: Place
    text: str = field(repr=False)
    released: int = 0
    call: str | None = None
    is_last: bool = False
    is_trial: bool = False
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    """`text` in the place of the characters `start <= i < end` of a window."""

    start: int
    end: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided about a window: of its first `upto` characters all but the `swaps` may go.

    `swaps` are in order and overlap nowhere.
    """

    verdict: Verdict
    upto: int = 0
    swaps: tuple[Swap, ...] = ()

    @property
    def is_opinion(self) -> bool:
        """Whether it acts on what no scorer can point at: what follows may change that."""
        action = self.verdict.action
        acting = [f for f in self.verdict.findings if f.is_enforced and f.action is action]
        if action is Action.REDACT:
            return not all(finding.spans for finding in acting)
        if action is not Action.BLOCK or not acting:
            return False
        has_failed = bool(self.verdict.redactions)  # what they left was thought to be no better
        return has_failed or not any(finding.spans for finding in acting)


def limit(window: Window, swaps: Sequence[Swap], hold_from: int | None) -> int:
    """How far `window` may go where something begins at `hold_from` that may still grow.

    A redaction that reaches into it is put off until more is known.
    """
    upto = len(window.text)
    if hold_from is not None and not window.is_last:
        upto = min(upto, hold_from)
    for swap in reversed(swaps):
        if swap.end > upto:
            upto = min(upto, swap.start)
    return max(upto, window.released)


@dataclass(slots=True, eq=False)
class Slice:
    """What one chunk brings to a strand: its text as it may be seen, and how much of it may go."""

    place: Place
    text: str = field(repr=False)
    free: int = 0
    is_free: bool = False
    is_changed: bool = False
    verdict: Verdict | None = None


class Strand:
    """The state of one text. It has no clock: times are seconds, as the caller counts them."""

    def __init__(self, place: Place, pacing: Pacing, *, call: str | None = None) -> None:
        self.place = place
        self.call = call
        self.is_blocked = self.is_live = False
        self._pacing = pacing
        self._gone: list[str] = []
        self._waiting: deque[Slice] = deque()
        self._base = 0  # where the first waiting slice begins
        self._length = self._judged = self._released = 0
        self._fresh: list[str] = []  # what came after the newest window
        self._may_end = False
        self._since = self._asked = math.inf  # of the oldest unjudged text, of the newest window
        self._strikes = 0
        self._has_ended = self._is_settled = False
        self.last: Verdict | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it has ended and the whole of it was judged."""
        return self._is_settled

    @property
    def unjudged(self) -> int:
        """Characters that wait for a window; none where windows have to wait for the end.

        A text that is too long to be judged need not be read to its end to be refused.
        """
        pacing = self._pacing
        if (pacing.is_windowed and self.call is None) or self._length > pacing.max_chars:
            return self._length - self._judged
        return 0

    @property
    def text(self) -> str:
        """All of it so far, redactions in place."""
        return "".join([*self._gone, *(piece.text for piece in self._waiting)])

    def feed(self, text: str, now: float) -> Slice:
        """Take what one chunk brings."""
        piece = Slice(self.place, text)
        self._has_ended = self._is_settled = False
        self._waiting.append(piece)
        self._length += len(text)
        if text:
            self._fresh.append(text)
            self._may_end = self._may_end or bool(_MAY_END.search(text))
            self._since = min(self._since, now)
        is_new = self.call is not None and self.last is None  # its name was not judged either
        if self._pacing.mode == "after" or (self._released == self._length and not is_new):
            self._release(self._length)
        return piece

    def end(self) -> None:
        """Nothing more comes: what is left is judged, and then goes."""
        self._has_ended = True
        is_new = self.call is not None and self.last is None
        self._is_settled = self._length == self._judged == self._released and not is_new

    def wakes_at(self) -> float:
        """When a window is due though nothing comes; infinite if none will be."""
        if not (self.unjudged or self._strikes):
            return math.inf
        return self._since + self._pacing.max_hold_ms / 1000

    def is_due(self, now: float) -> bool:
        """Whether a window is to be judged now."""
        return self._end_of_window(now) is not None

    def window(self, now: float) -> Window | None:
        """What is to be judged now."""
        end = self._end_of_window(now)
        if end is None:
            return None
        text, self._asked = self.text, now
        is_last = self._has_ended and end == self._length
        is_trial = not is_last and self._strikes + 1 < self._pacing.confirm
        return Window(self.place, text[:end], self._released, self.call, is_last, is_trial)

    def rule(self, window: Window, ruling: Ruling) -> None:
        """Take what was decided about `window`."""
        end = len(window.text)
        self.last = ruling.verdict
        self._judged = end
        self._look_beyond(end)
        if window.is_trial and ruling.is_opinion:
            self._strikes += 1
            self._since = self._asked  # what is in doubt does not wait for the source to go on
            return
        self._strikes = 0
        self.is_blocked = ruling.verdict.action is Action.BLOCK
        if self.is_blocked:
            return
        shift = self._swap(ruling)
        self._judged += shift
        self._length += shift
        self._release(ruling.upto + shift)
        self._is_settled = window.is_last and self._judged == self._length

    def _end_of_window(self, now: float) -> int | None:
        if self._is_settled or self.is_blocked:
            return None
        unjudged = self.unjudged
        if self._has_ended or unjudged >= self._pacing.max_hold_chars or now >= self.wakes_at():
            return self._length
        if unjudged < self._pacing.window_chars or not self._may_end:
            return None
        return self._boundary()

    def _look_beyond(self, end: int) -> None:
        """Count from `end` what the next window has to wait for."""
        fresh = self.text[end:]
        self._fresh = [fresh]
        self._may_end = bool(_MAY_END.search(fresh))
        self._since = self._asked if fresh else math.inf

    def _boundary(self) -> int | None:
        """Where the last sentence ends that makes a window, if one does yet."""
        fresh = "".join(self._fresh)
        self._fresh = [fresh]
        if found := last_boundary(fresh, at_least=self._pacing.window_chars):
            return self._judged + found
        self._may_end = bool(_MAY_END.search(fresh[-_UNDECIDED:]))
        return None

    def _swap(self, ruling: Ruling) -> int:
        """Put redactions in place; how many characters that adds."""
        shift = 0
        for swap in reversed(ruling.swaps):
            self._replace(swap, ruling.verdict)
            shift += len(swap.text) - (swap.end - swap.start)
        return shift

    def _replace(self, swap: Swap, verdict: Verdict) -> None:
        """The slice where it begins takes the new text; every one loses what is redacted of it."""
        new: str | None = swap.text
        for start, piece in self._placed():
            first, last = max(swap.start - start, 0), min(swap.end - start, len(piece.text))
            if first < last:
                piece.text = piece.text[:first] + (new or "") + piece.text[last:]
                piece.is_changed = True
                piece.verdict = piece.verdict if new is None else verdict
                new = None

    def _placed(self) -> Iterator[tuple[int, Slice]]:
        """The waiting slices with where they begin; a slice may change while it is looked at."""
        start = self._base
        for piece in self._waiting:
            length = len(piece.text)
            yield start, piece
            start += length

    def _release(self, upto: int) -> None:
        self._released = max(self._released, upto)
        while self._waiting and self._base + len(self._waiting[0].text) <= self._released:
            piece = self._waiting.popleft()
            piece.free, piece.is_free = len(piece.text), True
            self._base += piece.free
            self._gone.append(piece.text)
        if self._waiting:
            self._waiting[0].free = max(self._released - self._base, 0)


class Unjudged:
    """Something no scorer judges, in the place of a strand: the route says whether it may go."""

    unjudged = 0
    call = None

    def __init__(self, gap: Gap) -> None:
        self.place = gap.place
        self.is_blocked = False
        self.last: Verdict | None = None
        self.slice = Slice(gap.place, "")
        self.gap = gap
        self.is_live = False

    @property
    def is_settled(self) -> bool:
        """Whether it may go."""
        return self.slice.is_free

    def end(self) -> None:
        """It has no more to come."""

    def wakes_at(self) -> float:
        """Never: it is due at once."""
        return math.inf

    def is_due(self, _now: float) -> bool:
        """Until it was judged."""
        return self.last is None

    def window(self, _now: float) -> Window | None:
        """The question whether it may go, until that was answered."""
        return None if self.last else Window(self.place, "", is_last=True, gap=self.gap)

    def rule(self, _window: Window, ruling: Ruling) -> None:
        """Take the answer."""
        self.last = ruling.verdict
        self.is_blocked = ruling.verdict.action is Action.BLOCK
        self.slice.is_free = not self.is_blocked
