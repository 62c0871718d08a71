from __future__ import annotations

import numpy as np
import pytest
from gemma_guard_lite.lexicon import Lexicon
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.ngrams import char_slots, word_slots, words_of
from gemma_guard_lite.words import LIMIT
from hypothesis import given
from hypothesis import strategies as st

LEXICON = Lexicon.load(WEIGHTS)
PIECES = st.lists(st.lists(st.text(max_size=40), min_size=1, max_size=3).map(tuple), min_size=1)


def word_list(text: str) -> float:
    return float(LEXICON.margins([(text,)])[0, -1])


@given(st.text(max_size=200))
def test_any_text_has_finite_margins(text: str) -> None:
    assert np.isfinite(LEXICON.margins([(text,)])).all()
    assert -LIMIT <= word_list(text) <= LIMIT


def test_slots_do_not_change_between_versions() -> None:
    past = 1 << 17
    slots, starts = char_slots(["ab c"])
    assert slots.tolist() == [
        [124762, 99991, 83471, 103803, past, past],
        [82722, 122672, 65494, past, past, past],
        [102102, 84760, past, past, past, past],
    ]
    assert starts.tolist() == [0]
    assert word_slots(words_of("Hello there")) == [27681, 46175, 55845]


@given(PIECES)
def test_pieces_read_together_say_what_each_says_alone(pieces: list[tuple[str, ...]]) -> None:
    alone = np.concatenate([Lexicon.load(WEIGHTS).margins([piece]) for piece in pieces[:3]])
    assert LEXICON.margins(pieces)[:3].tolist() == alone.tolist()


@given(st.permutations(["a knife.", "I will, and you know it.", "Good morning!", "me"]))
def test_several_sentences_say_the_same_in_any_order(texts: list[str]) -> None:
    found = LEXICON.margins([tuple(texts), tuple(sorted(texts))])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize("text", ["You IDIOT", "you idiot"])
def test_case_does_not_matter(text: str) -> None:
    both = LEXICON.margins([(text,), (text.swapcase(),)])
    assert both[0].tolist() == both[1].tolist()


def test_the_word_list_tells_abuse_from_small_talk() -> None:
    assert word_list("you stupid idiot") > 0 > word_list("hello there my friend")
