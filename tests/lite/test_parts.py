from __future__ import annotations

import numpy as np
import pytest
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.words import LIMIT, WordList
from hypothesis import given
from hypothesis import strategies as st

WORDS = WordList.load(WEIGHTS / "words.npz")
PIECES = st.lists(st.lists(st.text(max_size=40), min_size=1, max_size=3).map(tuple), min_size=1)


def margin(*texts: str) -> float:
    return float(WORDS.margins([texts])[0, 0])


@given(st.text(max_size=200))
def test_any_text_has_a_margin_within_the_limit(text: str) -> None:
    assert -LIMIT <= margin(text) <= LIMIT


@given(PIECES)
def test_pieces_looked_up_together_say_what_each_says_alone(pieces: list[tuple[str, ...]]) -> None:
    alone = np.concatenate([WORDS.margins([piece]) for piece in pieces])
    assert WORDS.margins(pieces).tolist() == alone.tolist()


@given(st.permutations(["a knife.", "I will, and you know it.", "Good morning!", "me"]))
def test_several_sentences_say_what_they_say_in_one(texts: list[str]) -> None:
    assert margin(*texts) == pytest.approx(margin(" ".join(texts)), abs=1e-5)


@pytest.mark.parametrize("text", ["You IDIOT", "you idiot"])
def test_case_does_not_matter(text: str) -> None:
    assert margin(text) == margin(text.swapcase())


def test_the_word_list_tells_abuse_from_small_talk() -> None:
    assert margin("you stupid idiot") > 0 > margin("hello there my friend")
