"""Every character of every cut is gone; everything else stays, in order."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.redaction import Cut, Placeholders, redact
from gemma_guard.verdict import Span

# Texts without brackets, so that a placeholder in the result can only be a placeholder.
texts = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), max_size=40)
PLACEHOLDER = re.compile(r"\[[^\[\]]*\]")


@st.composite
def texts_and_cuts(draw: st.DrawFn) -> tuple[str, list[Cut]]:
    text = draw(texts)
    cuts = []
    if text:
        for start in draw(st.lists(st.integers(0, len(text) - 1), max_size=6)):
            end = draw(st.integers(start + 1, len(text)))
            label = draw(st.sampled_from(["email", "phone", "hate_speech"]))
            cuts.append(Cut(Span(start, end), label, draw(st.booleans())))
    return text, cuts


def between(text: str, cuts: Sequence[Cut]) -> list[str]:
    """What stands before, between and after the cuts, once those that overlap are joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((cut.span.start, cut.span.end) for cut in cuts):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    starts = [*(start for start, _ in joined), len(text)]
    ends = [0, *(end for _, end in joined)]
    return [text[end:start] for end, start in zip(ends, starts, strict=True)]


@given(texts_and_cuts())
def test_every_character_of_every_span_is_gone_and_all_others_stay_in_order(
    given_: tuple[str, list[Cut]],
) -> None:
    text, cuts = given_
    gone = {i for cut in cuts for i in range(cut.span.start, cut.span.end)}
    left = redact(text, cuts, Placeholders())
    assert PLACEHOLDER.sub("", left) == "".join(c for i, c in enumerate(text) if i not in gone)


@given(texts_and_cuts())
def test_one_placeholder_stands_exactly_where_each_stretch_of_cuts_stood(
    given_: tuple[str, list[Cut]],
) -> None:
    text, cuts = given_
    assert PLACEHOLDER.split(redact(text, cuts, Placeholders())) == between(text, cuts)


@given(texts)
def test_without_cuts_the_text_is_as_it_was(text: str) -> None:
    assert redact(text, (), Placeholders()) == text


@given(texts_and_cuts(), st.data())
def test_the_order_in_which_scorers_answer_changes_no_character_that_stays(
    given_: tuple[str, list[Cut]], data: st.DataObject
) -> None:
    text, cuts = given_
    shuffled = data.draw(st.permutations(cuts))
    left, again = (redact(text, order, Placeholders()) for order in (cuts, shuffled))
    assert PLACEHOLDER.split(left) == PLACEHOLDER.split(again)


def test_equal_texts_share_a_number_within_one_request() -> None:
    placeholders = Placeholders()
    text = "a@x.org b@x.org a@x.org"
    cuts = [Cut(Span(start, start + 7), "email") for start in (0, 8, 16)]
    assert redact(text, cuts, placeholders) == "[EMAIL_1] [EMAIL_2] [EMAIL_1]"
    assert redact("b@x.org", [Cut(Span(0, 7), "email")], placeholders) == "[EMAIL_2]"


def test_each_label_counts_for_itself() -> None:
    cuts = [Cut(Span(0, 1), "email"), Cut(Span(2, 3), "phone")]
    assert redact("a b", cuts, Placeholders()) == "[EMAIL_1] [PHONE_1]"


def test_what_a_judge_found_is_named_and_not_numbered() -> None:
    cut = Cut(Span(0, 3), "hate_speech", numbered=False)
    assert redact("bad word", [cut], Placeholders()) == "[redacted: hate_speech] word"


def test_overlapping_cuts_become_one_and_neighbours_stay_two() -> None:
    cuts = [Cut(Span(0, 3), "email"), Cut(Span(2, 5), "phone"), Cut(Span(5, 6), "phone")]
    assert redact("abcdefg", cuts, Placeholders()) == "[EMAIL_1][PHONE_1]g"


def test_a_span_past_the_end_takes_all_that_is_there() -> None:
    assert redact("abc", [Cut(Span(1, 99), "word")], Placeholders()) == "a[WORD_1]"


def test_numbers_that_were_not_used_are_given_again() -> None:
    placeholders = Placeholders()
    cut = Cut(Span(0, 1), "email")
    assert placeholders.of(cut, "a") == "[EMAIL_1]"
    given = placeholders.given()
    assert [placeholders.of(cut, text) for text in "bca"] == ["[EMAIL_2]", "[EMAIL_3]", "[EMAIL_1]"]
    placeholders.take_back(given, used={"[EMAIL_2]"})
    assert [placeholders.of(cut, text) for text in "bda"] == ["[EMAIL_2]", "[EMAIL_3]", "[EMAIL_1]"]
