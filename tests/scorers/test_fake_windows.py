"""The keyword scorer reads a long text in windows, as a model has to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import Bands, Guard, Guideline, Policy, Span
from gemma_guard.scorers.fake import Fake

POLICY = Policy("harassment", Bands(block=0.5), guideline=Guideline("a", "b"))
WORDS = {"harassment": {"idiot": 0.9}}


@given(st.integers(0, 300), st.integers(1, 60))
def test_a_word_is_found_wherever_it_stands_and_its_window_holds_it(at: int, window: int) -> None:
    words = ["fine"] * 300
    words.insert(at, "idiot")
    text = " ".join(words)
    guard = Guard.of([POLICY], Fake(WORDS, window=window), sinks=())

    [score] = guard.check_sync(text).scores

    start = text.index("idiot")
    assert score.violation == 0.9
    assert score.spans == (Span(start, start + 5),)
    assert score.window is not None
    assert score.window.start <= start < start + 5 <= score.window.end


def test_a_text_that_fits_has_no_window() -> None:
    [score] = Guard.of([POLICY], Fake(WORDS, window=40), sinks=()).check_sync("you idiot").scores

    assert score.window is None


@pytest.mark.parametrize("window", [-1, 1.5, "all"])
def test_a_window_is_a_number_of_words(window: int) -> None:
    with pytest.raises(ValueError, match="a number of words is needed"):
        Fake(WORDS, window=window)
