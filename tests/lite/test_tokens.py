from __future__ import annotations

import pytest
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.tokens import Tokens, WordPieces
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

PIECES = WordPieces(WEIGHTS / "tokenizer.json")
LIBRARY = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
LIBRARY.no_padding()
LIBRARY.no_truncation()
LIBRARY.encode_special_tokens = True
WORDS = st.sampled_from(sorted(PIECES.vocabulary)) | st.text(st.characters(codec="ascii"))
TEXTS = st.text() | st.lists(WORDS | st.sampled_from(" \n\t.,'")).map("".join)


def by_the_library(text: str) -> Tokens:
    return Tokens.of(LIBRARY.encode(text, add_special_tokens=False))


@given(TEXTS)
@example("")
@example("Unaffable TOKENISATIONS, don't: $5.00_a#b\r\n\tEnd")
@example("[CLS] said [MASK]")
@example("a\x00b\x0bc\x7fd")
@example("x" * 101 + " and a " + "b" * 100)
@example("naïve Straße 中文 \u0130")
def test_a_text_is_cut_as_the_library_cuts_it(text: str) -> None:
    assert PIECES.cut(text) == by_the_library(text)


@pytest.mark.parametrize("word", ["the", "zzyzzx", "THE", "##the", "[unused1]", "[CLS]", "x" * 101])
def test_so_is_a_long_text_with_one_strange_word(word: str) -> None:
    text = f"It was the best of times, it was {word} and nobody knew why; so it went on, and on."
    assert PIECES.cut(text) == by_the_library(text)


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"])
def test_no_text_becomes_a_token_that_only_the_judge_may_use(name: str) -> None:
    assert PIECES.vocabulary[name] not in PIECES.cut(f"He said {name} and {name.lower()} again").ids
    assert PIECES.vocabulary[name] not in PIECES.cut(f"Ärger: {name}").ids
