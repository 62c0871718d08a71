from __future__ import annotations

import numpy as np
import pytest
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.ngrams import HashedNgrams, char_slots, word_slots
from gemma_guard_lite.words import LIMIT, WordList
from hypothesis import given
from hypothesis import strategies as st

NGRAMS = HashedNgrams.load(WEIGHTS / "ngrams.npz")
WORDS = WordList.load(WEIGHTS / "words.npz")


@given(st.text(max_size=200))
def test_any_text_has_finite_margins(text: str) -> None:
    assert np.isfinite(NGRAMS.margins([text])).all()
    assert -LIMIT <= WORDS.margin(text) <= LIMIT


def test_slots_do_not_change_between_versions() -> None:
    assert char_slots(["ab c"]).slots.tolist() == [
        124762,
        99991,
        83471,
        103803,
        82722,
        122672,
        65494,
        102102,
        84760,
    ]
    assert word_slots(["Hello there"]).slots.tolist() == [27681, 46175, 55845]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_texts_read_together_say_what_each_says_alone(texts: list[str]) -> None:
    alone = np.concatenate([NGRAMS.margins([text]) for text in texts])
    assert NGRAMS.margins(texts).tolist() == alone.tolist()


@pytest.mark.parametrize("text", ["You IDIOT", "you idiot"])
def test_case_does_not_matter(text: str) -> None:
    assert NGRAMS.margins([text]).tolist() == NGRAMS.margins([text.swapcase()]).tolist()
    assert WORDS.margin(text) == WORDS.margin(text.swapcase())


def test_the_word_list_tells_abuse_from_small_talk() -> None:
    assert WORDS.margin("you stupid idiot") > 0 > WORDS.margin("hello there my friend")
