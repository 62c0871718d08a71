"""Tricks are undone, ordinary text is left alone, and every place leads back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.text import plain
from gemma_guard.verdict import Span

DATA = Path(__file__).parent / "data"
SENTENCES: dict[str, list[str]] = json.loads((DATA / "sentences.json").read_text(encoding="utf-8"))
TRICKS: dict[str, dict[str, str]] = json.loads((DATA / "tricks.json").read_text(encoding="utf-8"))
WRITTEN = [trick["written"] for trick in TRICKS.values()]

# Pieces of attacks, ordinary sentences, single suspicious characters and anything at all.
PIECES = st.one_of(
    st.sampled_from(WRITTEN),
    st.sampled_from([sentence for found in SENTENCES.values() for sentence in found]),
    st.sampled_from(sorted({letter for written in WRITTEN for letter in written})),
    st.text(max_size=8),
    st.sampled_from([" ", "-", ".", "\ud800", "\udc00", "\0", "1", "a"]),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize("language", SENTENCES)
def test_ordinary_text_is_left_alone(language: str) -> None:
    assert [sentence for sentence in SENTENCES[language] if plain(sentence)] == []


def test_ordinary_text_is_left_alone_in_twenty_languages_also_as_one_text() -> None:
    assert len(SENTENCES) >= 20
    assert all(len(found) >= 15 for found in SENTENCES.values())
    assert [language for language, found in SENTENCES.items() if plain("\n".join(found))] == []


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_undone(name: str) -> None:
    undone = plain(TRICKS[name]["written"])
    assert undone is not None
    assert undone.text == TRICKS[name]["plain"]


@pytest.mark.parametrize("name", TRICKS.keys() - {"override without an end"})
def test_a_trick_is_undone_beside_ordinary_text(name: str) -> None:
    undone = plain(f"Good morning. {TRICKS[name]['written']}, she said.")
    assert undone is not None
    assert undone.text == f"Good morning. {TRICKS[name]['plain']}, she said."


def test_a_span_leads_back_to_every_character_it_was_made_of() -> None:
    written = "Please k\u200bi\u200bl\u200bl h-i-r-e-d men"
    undone = plain(written)
    assert undone is not None
    assert undone.text == "Please kill hired men"
    assert undone.original(Span(7, 11, "word")) == Span(7, 14, "word")
    assert written[slice(*bounds(undone.original(Span(12, 17))))] == "h-i-r-e-d"


def test_a_span_of_a_reversed_word_leads_back_to_the_whole_of_it() -> None:
    undone = plain("Do \u202ellik\u202c it")
    assert undone is not None
    assert undone.original(Span(4, 5)) == Span(3, 9)


def test_a_span_beyond_the_text_leads_nowhere() -> None:
    undone = plain("k i l l")
    assert undone is not None
    with pytest.raises(ValueError, match="4 characters"):
        undone.original(Span(3, 5))


@given(TEXTS, st.data())
def test_every_span_leads_back_into_the_text_in_order(text: str, data: st.DataObject) -> None:
    undone = plain(text)
    if undone is None:
        return
    length = len(undone.text)
    assert bounds(undone.original(Span(0, length))) == (0, len(text))
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start + 1, length))
    place = undone.original(Span(start, end))
    assert 0 <= place.start < place.end <= len(text)
    later = undone.original(Span(min(start + 1, length - 1), min(end + 1, length)))
    assert place.start <= later.start
    assert place.end <= later.end
    parts = [undone.original(Span(i, i + 1)) for i in range(start, end)]
    assert (parts[0].start, parts[-1].end) == bounds(place)


@given(TEXTS)
def test_what_is_undone_stays_undone(text: str) -> None:
    undone = plain(text)
    assert undone is None or (undone.text and plain(undone.text) is None)


@given(TEXTS)
def test_none_means_nothing_to_change(text: str) -> None:
    undone = plain(text)
    assert undone is None or undone.text != text


@given(st.text(st.characters(codec="ascii")))
def test_printable_ascii_keeps_its_letters(text: str) -> None:
    undone = plain(text)
    if undone and text.isprintable() and not set(text) & set("013457@$!"):
        assert [c for c in undone.text if c.isalpha()] == [c for c in text if c.isalpha()]


@pytest.mark.parametrize("text", ["", "\u200b" * 9, "\ud800", "\0"])
def test_texts_of_nothing_do_no_harm(text: str) -> None:
    assert plain(text) is None


@pytest.mark.parametrize("piece", ["A word. ", "k i l l ", "k ", "\u0416", "k1", "a b c d "])
def test_a_text_of_five_megabytes_is_read_in_one_go(piece: str) -> None:
    assert_leads_back(piece * (5_000_000 // len(piece)))


@pytest.mark.parametrize(
    "piece", ["k\u200b", "\u202ea", "a\u0336", "\u0430b", "\U0001d44e ", "\ud800"]
)
def test_a_text_of_nothing_but_tricks_is_read_in_one_go(piece: str) -> None:
    assert_leads_back(piece * (500_000 // len(piece)))


def assert_leads_back(text: str) -> None:
    undone = plain(text)
    assert undone is None or undone.original(Span(0, len(undone.text))) == Span(0, len(text))


def test_nothing_is_compiled_before_it_is_needed() -> None:
    code = "import sys, gemma_guard.text as t; sys.exit(t._rare.cache_info().currsize)"
    subprocess.run([sys.executable, "-c", code], check=True)


def bounds(span: Span) -> tuple[int, int]:
    return span.start, span.end
