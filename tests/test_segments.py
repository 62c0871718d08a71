"""Segments follow each other, leave nothing out, and do not move when a text grows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.segments import clauses, last_boundary, sentences
from gemma_guard.verdict import Span

Cutter = Callable[..., Iterator[Span]]
CUTTERS = pytest.mark.parametrize("cut", [sentences, clauses])

SENTENCES = json.loads((Path(__file__).parent / "data/sentences.json").read_text(encoding="utf-8"))
PIECES = st.one_of(
    st.sampled_from([s for found in SENTENCES.values() for s in found]),
    st.sampled_from([*" \n\n\t.!?\u2026\"')]-*#12aA,;\u3002\u300d\u200d\u0301", "\ud800", "\0"]),
    st.sampled_from(["```", "1. ", "- ", "Dr. ", "e.g. ", "U.S. ", "3.14", "long" * 9]),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=15).map("".join)


def pieces(cut: Cutter, text: str, **options: int) -> list[str]:
    return [text[span.start : span.end] for span in cut(text, **options)]


@CUTTERS
@given(text=TEXTS, longest=st.integers(16, 60))
def test_segments_joined_are_the_text(cut: Cutter, text: str, longest: int) -> None:
    found = pieces(cut, text, longest=longest)
    assert "".join(found) == text
    assert all(0 < len(piece) <= longest for piece in found)


@given(TEXTS)
def test_every_sentence_ends_where_a_clause_ends(text: str) -> None:
    ends = {span.end for span in clauses(text, longest=10_000)}
    assert {span.end for span in sentences(text, longest=10_000)} <= ends


@given(TEXTS, TEXTS, st.integers(16, 60))
def test_a_boundary_stays_one_when_text_is_appended(text: str, more: str, longest: int) -> None:
    told = last_boundary(text, longest=longest)
    ends = {0, *(span.end for span in sentences(text + more, longest=longest))}
    assert told in ends
    assert told <= last_boundary(text + more, longest=longest)


@given(TEXTS, st.integers(16, 60))
def test_a_boundary_is_told_as_soon_as_it_is_settled(text: str, longest: int) -> None:
    inner = [span.end for span in sentences(text, longest=longest)][:-1]
    assert last_boundary(text, longest=longest) == (inner[-1] if inner else 0)


@pytest.mark.parametrize(
    "expected",
    [
        ["It rained. ", "We left! ", "Why? ", "Nobody knows\u2026 ", "Good night."],
        ["Dr. Smith and Mrs. Jones met at 3.14 p.m. in the U.S. Senate, e.g. on Monday. ", "Yes."],
        ["J. R. R. Tolkien wrote it. ", "C. S. Lewis read it."],
        ["Version 2.0.1 is out. ", "See https://a.example/b.html?c=1. ", "It costs $3.50."],
        ["Am 31. Dezember kam er z. B. nicht. ", "Schade."],
        ["\u201cStop!\u201d he said. ", "(She did not.) ", "\u201cFine.\u201d ", "They left."],
        [
            "\u4eca\u5929\u4e0b\u96e8\u3002",
            "\u4ed6\u8bf4\uff1a\u201c\u597d\uff01\u201d",
            "\u8d70\u5427\uff1f",
        ],
        [
            "\u0928\u092e\u0938\u094d\u0924\u0947\u0964 ",
            "\u0915\u0948\u0938\u0947 \u0939\u0948\u0902?",
        ],
        ["\u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f ", "\u0628\u062e\u064a\u0631."],
        ["A heading\n\n", "A paragraph\non two lines\n\n", "Another"],
        ["To do:\n", "- one\n", "- two\n", "1. three\n", "2) four"],
        ["Run this:\n", "```\nx = 1\n", "```\n", "# Then"],
        ["Wait... what? ", "No"],
        ["\n\n  ", "Begin here. ", "End"],
        ["Really?! ", "Yes."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(expected: list[str]) -> None:
    assert pieces(sentences, "".join(expected)) == expected


def test_clauses_end_at_pauses() -> None:
    expected = [
        "First, ",
        "wash your hands; ",
        "then, ",
        "at 3,500 m \u2014 ",
        "rest. ",
        "Done: ",
        "go",
    ]
    assert pieces(clauses, "".join(expected)) == expected


def test_a_long_sentence_is_cut_at_spaces() -> None:
    found = pieces(sentences, "word " * 100, longest=33)
    assert "".join(found) == "word " * 100
    assert {len(piece) for piece in found[:-1]} == {30}


def test_a_long_word_is_cut_between_seen_characters() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert pieces(sentences, family * 5, longest=17) == [family * 3, family * 2]
    assert all(piece[0] == "e" for piece in pieces(sentences, "e\u0301" * 50, longest=17))


def test_the_last_sentence_of_a_growing_text_is_open() -> None:
    assert last_boundary("It rained. ") == 0
    assert last_boundary("It rained. W") == 11
    assert last_boundary("It rained. We left.") == 11
    assert last_boundary("It rained. We left. ", at_least=12) == 0
    assert last_boundary("") == 0


def test_a_sentence_without_end_is_cut_one_character_after_the_longest() -> None:
    assert last_boundary("word " * 20, longest=100) == 0
    assert last_boundary("word " * 20 + "w", longest=100) == 100


def test_segments_cannot_be_too_short() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        list(sentences("text", longest=15))


@CUTTERS
@pytest.mark.parametrize(
    "piece", ["Word. ", "a", " ", "\n", ".", "\u3002", "e\u0301", "1. ", "Dr.", '."']
)
def test_five_megabytes_are_cut_in_one_go(cut: Cutter, piece: str) -> None:
    text = piece * (5_000_000 // len(piece))
    assert sum(span.end - span.start for span in cut(text)) == len(text)
