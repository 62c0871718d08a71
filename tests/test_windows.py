"""Windows cover the text, share tokens, never divide a character, and the worst one is named."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.errors import Cause, TextRefused
from gemma_guard.verdict import Score, Span
from gemma_guard.windows import Window, windows, worst

WORDS = [(i * 5, i * 5 + 4) for i in range(100)]


@st.composite
def tokens(draw: st.DrawFn, most_per_character: int = 3) -> tuple[list[tuple[int, int]], int]:
    """Offsets as fast tokenizers give them: gaps, several tokens a character, some of no width."""
    offsets: list[tuple[int, int]] = []
    at = 0
    kinds = st.sampled_from(["word", "bytes", "gap", "nothing"])
    for kind in draw(st.lists(kinds, max_size=60)):
        if kind == "nothing":
            offsets.append((at, at))
            continue
        if kind != "gap":
            width = draw(st.integers(1, 6)) if kind == "word" else 1
            parts = 1 if kind == "word" else draw(st.integers(1, most_per_character))
            offsets += [(at, at + width)] * parts
        at += width if kind == "word" else 1
    return offsets, at


SIZES = st.integers(4, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(tokens(), SIZES)
def test_windows_cover_every_token_and_every_character(
    text: tuple[list[tuple[int, int]], int], sizes: tuple[int, int]
) -> None:
    (offsets, length), (size, overlap) = text, sizes
    found = list(windows(offsets, length=length, size=size, overlap=overlap))
    assert {i for w in found for i in range(w.first, w.end)} == set(range(len(offsets)))
    assert all(w.end - w.first <= size for w in found)
    assert (found[0].first, found[-1].end) == (0, len(offsets))
    assert all(a.first < b.first <= a.end < b.end for a, b in pairwise(found))
    covered = {i for w in found if w.span for i in range(w.span.start, w.span.end)}
    assert covered == set(range(length))


@given(tokens(), SIZES)
def test_a_window_holds_every_token_of_the_characters_it_spans(
    text: tuple[list[tuple[int, int]], int], sizes: tuple[int, int]
) -> None:
    (offsets, length), (size, overlap) = text, sizes
    for window in windows(offsets, length=length, size=size, overlap=overlap):
        if not window.span or has_wide_run(offsets, size):
            continue
        within = range(window.first, window.end)
        for i, (start, end) in enumerate(offsets):
            touches = max(start, window.span.start) < min(end, window.span.end)
            assert not touches or i in within


def has_wide_run(offsets: list[tuple[int, int]], size: int) -> bool:
    """Whether some stretch of `size` tokens has nowhere to be cut."""
    cuts = [0, *(i for i in range(1, len(offsets)) if is_cut(offsets, i)), len(offsets)]
    return any(b - a > size for a, b in pairwise(cuts))


def is_cut(offsets: list[tuple[int, int]], index: int) -> bool:
    start, _ = offsets[index]
    return all(stop <= start for begin, stop in offsets[:index] if begin < stop)


def test_a_text_that_fits_is_one_window() -> None:
    only = Window(0, 100, Span(0, 500))
    assert list(windows(WORDS, length=500, size=100, overlap=20)) == [only]


def test_a_text_without_tokens_is_one_window() -> None:
    assert list(windows([], length=0, size=4, overlap=1)) == [Window(0, 0, None)]
    assert list(windows([], length=3, size=4, overlap=1)) == [Window(0, 0, Span(0, 3))]


def test_the_last_window_is_as_full_as_the_others() -> None:
    found = [(w.first, w.end) for w in windows(WORDS, length=500, size=40, overlap=10)]
    assert found == [(0, 40), (30, 70), (60, 100)]
    found = [(w.first, w.end) for w in windows(WORDS[:75], length=375, size=40, overlap=10)]
    assert found == [(0, 40), (30, 70), (35, 75)]


def test_no_window_begins_or_ends_inside_a_character() -> None:
    emoji = [(0, 1), (1, 2), *[(2, 3)] * 4, (3, 4), (4, 5), (5, 6)]
    found = list(windows(emoji, length=6, size=5, overlap=1))
    assert [(w.first, w.end, w.span) for w in found] == [
        (0, 2, Span(0, 2)),
        (1, 6, Span(1, 3)),
        (2, 7, Span(2, 4)),
        (6, 9, Span(3, 6)),
    ]


def test_a_character_of_too_many_tokens_is_divided_and_spanned_whole() -> None:
    ligature = [(0, 1)] * 9
    found = list(windows(ligature, length=1, size=4, overlap=1))
    assert {w.span for w in found} == {Span(0, 1)}
    assert all(w.end - w.first <= 4 for w in found)


def test_too_many_windows_are_refused_before_any_is_judged() -> None:
    with pytest.raises(TextRefused) as refused:
        windows(WORDS, length=500, size=10, overlap=2, max_windows=12)
    assert refused.value.cause is Cause.TOO_MANY_WINDOWS
    found = list(windows(WORDS, length=500, size=10, overlap=2, max_windows=13))
    assert len(found) == 13


@pytest.mark.parametrize("overlap", [-1, 4, 5])
def test_an_overlap_must_leave_something_new(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        windows(WORDS, length=500, size=4, overlap=overlap)


def test_windows_of_a_long_text_are_made_one_at_a_time() -> None:
    offsets = [(i, i + 1) for i in range(1_000_000)]
    tracemalloc.start()
    count = sum(1 for _ in windows(offsets, length=1_000_000, size=1024, overlap=64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1042
    assert peak < 100_000


def test_the_worst_window_decides_and_is_named() -> None:
    found = list(windows(WORDS, length=500, size=40, overlap=10))
    judged = [Score("hate", 0.2), Score("hate", 0.9), Score("hate", 0.4)]
    assert worst(zip(found, judged, strict=True)) == Score("hate", 0.9, window=Span(150, 350))


def test_margins_tell_equal_violations_apart() -> None:
    one, two = Window(0, 1, Span(0, 1)), Window(1, 2, Span(1, 2))
    scores = [(one, Score("hate", 1.0, margin=20.0)), (two, Score("hate", 1.0, margin=30.0))]
    assert worst(scores).window == Span(1, 2)


def test_the_only_window_needs_no_name() -> None:
    score = Score("hate", 0.3)
    assert worst([(Window(0, 1, Span(0, 4)), score)]) == score
