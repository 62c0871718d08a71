from __future__ import annotations

import re
from itertools import pairwise

from gemma_guard_lite.windows import SHORTEST, sentences, spans, windows
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 5_000), st.integers(50, 300), st.integers(0, 49))
def test_windows_cover_every_token_and_are_never_too_long(
    length: int, longest: int, overlap: int
) -> None:
    found = list(windows(length, longest=longest, overlap=overlap))
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(end - start <= longest for start, end in found)
    assert all(later[0] <= earlier[1] for earlier, later in pairwise(found))


@given(st.integers(1, 400))
def test_the_first_span_is_the_whole_and_the_rest_cover_it_again(length: int) -> None:
    whole, *rest = spans(length)
    assert whole == (0, length)
    if rest:
        assert {at for start, end in rest for at in range(start, end)} == set(range(length))


@given(st.lists(st.sampled_from(["a", "b.", "c!", "d\n", 'e: "', 'f."', "g"]), max_size=60))
def test_sentences_cover_every_token_once_and_none_is_tiny(words: list[str]) -> None:
    text = " ".join(words)
    offsets = [match.span() for match in re.finditer(r"\S+", text)]
    found = sentences(text, offsets)
    assert [at for start, end in found for at in range(start, end)] == list(range(len(offsets)))
    assert len(found) == 1 or all(end - start >= SHORTEST for start, end in found)


def test_a_quotation_is_read_apart_from_who_quotes_it() -> None:
    text = 'On a Tuesday somebody wrote: "go and boil your head now." Then they left the house.'
    offsets = [match.span() for match in re.finditer(r"\S+", text)]
    pieces = [text[offsets[a][0] : offsets[b - 1][1]] for a, b in sentences(text, offsets)]
    assert pieces[1] == '"go and boil your head now."'
