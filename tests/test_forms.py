"""A trick hides nothing: each form of a text is judged, and its places are those as written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import Action, Bands, Guard, Guideline, Patterns, Policy, Score, Span, Verdict
from gemma_guard.forms import forms_of, heard_of
from gemma_guard.scorers.fake import Fake

WORDING = Guideline("no insults in prompts", "no insults in answers")
BANDS = Bands(log=0.3, redact=0.5, block=0.8)
HARASSMENT = Policy("harassment", BANDS, BANDS, guideline=WORDING)
WORD = Policy("word", Bands.of(Action.REDACT), patterns=Patterns(words=("scoundrel",)))
FAKE = Fake({"harassment": {"scum": 0.9, "idiot": 0.6, "\u200b": 0.9}})
INVISIBLE = "\u200b\u2060"


def check(text: Any, *policies: Policy, scorer: Fake = FAKE) -> Verdict:
    options: dict[str, Any] = {"text": text} if isinstance(text, str) else {"messages": text}
    return Guard.of(policies or [HARASSMENT], scorer, sinks=()).check_sync(**options)


@pytest.mark.parametrize(
    "hidden",
    [
        "you sc\u2060um",
        "you s\u00adc\u00adum",
        "you s c u m",
        "you s\u0441um",  # a Cyrillic letter
        "you \uff53\uff43\uff55\uff4d",
        "you \U0001d4fc\U0001d4ec\U0001d4fe\U0001d4f6",
        "you \u202emucs\u202c",
    ],
)
def test_a_violation_hidden_by_a_trick_is_found(hidden: str) -> None:
    assert check("you scum").action is Action.BLOCK
    assert check(hidden).action is Action.BLOCK


@given(st.lists(st.sampled_from(INVISIBLE), min_size=6, max_size=6), st.sampled_from(["", " ok"]))
def test_redaction_removes_every_original_character_involved(hidden: list[str], end: str) -> None:
    word = "".join(letter + mark for letter, mark in zip("idiot", hidden, strict=False))
    text = f"you {word[:-1]}!{end}"

    verdict = check(text, scorer=Fake({"harassment": {"idiot": 0.6}}))

    assert (verdict.action, verdict.text) == (
        Action.REDACT,
        f"you [redacted: harassment]!{end}",
    )
    found = verdict.findings[0].spans[0]
    assert text[found.start : found.end] == word[:-1]


def test_a_pattern_hidden_by_a_trick_is_cut_as_written() -> None:
    verdict = check("a scoun\u200bdrel here", WORD)

    assert verdict.text == "a [WORD_1] here"


def test_what_is_hidden_inside_a_message_is_cut_in_its_place() -> None:
    parts = [{"type": "text", "text": "hi"}, {"type": "text", "text": "you id\u2060iot."}]
    messages = [{"role": "user", "content": parts}]

    left = check(messages).apply(messages)

    assert left[0]["content"][1]["text"] == "you [redacted: harassment]."
    assert left[0]["content"][0] is parts[0]


def texts_of(text: str) -> tuple[str, ...]:
    form = forms_of(text)
    return form.texts if form else (text,)


def test_the_text_as_written_is_judged_too_and_the_worse_counts() -> None:
    assert texts_of("a\u200bb") == ("a\u200bb", "ab")
    assert check("a\u200bb").action is Action.BLOCK  # the scorer objects to the mark itself


@pytest.mark.parametrize(
    "text", ["hello", "h\u00e9llo w\u00f6rld", "\u0645\u0631\u062d\u0628\u0627", ""]
)
def test_most_texts_have_one_form(text: str) -> None:
    assert texts_of(text) == (text,)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["plain", "a\u200bb", "s c u m"]), st.floats(0, 1), st.floats(0, 1)
        ),
        max_size=5,
    )
)
def test_of_the_forms_of_each_text_the_worse_is_heard_in_order(
    texts: list[tuple[str, float, float]],
) -> None:
    forms = [forms_of(text) for text, _, _ in texts]
    rows = [
        (Score("p", violation),)
        for form, (_, *violations) in zip(forms, texts, strict=True)
        for _, violation in zip(form.texts if form else "1", violations, strict=False)
    ]

    heard = heard_of(forms, rows)

    assert [each.scores[0].violation for each in heard] == [
        max(violations[: len(form.texts) if form else 1])
        for form, (_, *violations) in zip(forms, texts, strict=True)
    ]


def test_a_window_found_in_the_other_form_is_told_as_written() -> None:
    form = forms_of("a\u200bb c")
    [heard] = heard_of([form], [(Score("p", 0.1),), (Score("p", 0.9, window=Span(0, 2)),)])

    assert heard.scores[0].window == Span(0, 3)
