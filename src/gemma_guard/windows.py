"""Windows over a scorer's tokens: what a long text is judged in, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

from gemma_guard.errors import Cause, TextRefused
from gemma_guard.verdict import Score, Span

Offsets = Sequence[tuple[int, int]]
"""Where in the text each token stands, as fast tokenizers give it: `(start, end)` in characters."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `first <= i < end`, and the characters they stand for; None in a text that has none.

    Characters without a token, as spaces may be, belong to the window of the token before them.
    """

    first: int
    end: int
    span: Span | None


def windows(
    offsets: Offsets, *, length: int, size: int, overlap: int, max_windows: int | None = None
) -> Iterator[Window]:
    """Windows of at most `size` tokens over a text of `length` characters, made one at a time.

    Neighbours share about `overlap` tokens, so that none begins or ends inside a character of
    several tokens; the last one ends with the text and is as full as the others.
    Only a character of more than `size` tokens is divided: each part then spans all of it.
    Raises `TextRefused` at once where more than `max_windows` would be needed.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows need 0 <= overlap < size, got {overlap}, {size}")
    if max_windows is not None:
        found = sum(1 for _ in islice(_ranges(offsets, size, overlap), max_windows + 1))
        if found > max_windows:
            message = f"more than {max_windows} windows of {size} tokens"
            raise TextRefused(Cause.TOO_MANY_WINDOWS, message)
    ranges = _ranges(offsets, size, overlap)
    return (Window(first, end, _span(offsets, first, end, length)) for first, end in ranges)


def worst(judged: Iterable[tuple[Window, Score]]) -> Score:
    """The worst score, with the window that it is about where there were several."""
    scores = [replace(score, window=window.span) for window, score in judged]
    if len(scores) == 1:
        return replace(scores[0], window=None)
    return max(scores, key=_badness)


def _badness(score: Score) -> tuple[float, float]:
    return score.violation, -inf if score.margin is None else score.margin


def _ranges(offsets: Offsets, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    first, done, count = 0, 0, len(offsets)
    while count - first > size:
        end = _cut_before(offsets, first + size, above=first)
        if end > done:  # else a wide character waits until a window has room for it
            yield first, end
        done = max(done, end)
        first = _next_first(offsets, first, end, overlap)
    if first:  # the rest fits: give it as much of what came before as fits with it
        first = _cut_after(offsets, count - size, upto=first)
    yield first, count


def _next_first(offsets: Offsets, first: int, end: int, overlap: int) -> int:
    wanted = max(end - overlap, first + 1)
    cut = _cut_before(offsets, wanted, above=first)
    return cut if _is_cut(offsets, cut) else _cut_after(offsets, wanted, upto=end)


def _cut_before(offsets: Offsets, index: int, *, above: int) -> int:
    """The nearest cut at or before `index`; `index` itself where there is none above `above`."""
    return next((i for i in range(index, above, -1) if _is_cut(offsets, i)), index)


def _cut_after(offsets: Offsets, index: int, *, upto: int) -> int:
    return next((i for i in range(index, upto) if _is_cut(offsets, i)), upto)


def _is_cut(offsets: Offsets, index: int) -> bool:
    """Whether token `index` begins a character that no earlier token has a part of."""
    start, _ = offsets[index]
    before = (offsets[i] for i in range(index - 1, -1, -1))
    earlier_end = next((stop for begin, stop in before if begin < stop), 0)
    return earlier_end <= start


def _span(offsets: Offsets, first: int, end: int, length: int) -> Span | None:
    start = offsets[first][0] if first else 0
    stop = max(offsets[end][0], offsets[end - 1][1]) if end < len(offsets) else length
    return Span(start, stop) if start < stop else None
