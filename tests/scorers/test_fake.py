"""The keyword scorer is foreseeable, so that tests and documentation can lean on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.policy import Guideline, Patterns, Policy
from gemma_guard.scorer import Priority, Probe
from gemma_guard.scorers.fake import KEYWORDS, Fake
from gemma_guard.verdict import Score, Span, Stage

HARASSMENT = Policy("harassment", guideline=Guideline("in", "out"))
HATE = Policy("hate_speech", guideline=Guideline("in", "out"))


async def score(fake: Fake, text: str, *policies: Policy) -> tuple[Score, ...]:
    probe = Probe(text, policies)
    [scores] = await fake.score([probe], deadline=math.inf, priority=Priority.LIVE)
    return scores


async def test_the_worst_keyword_found_is_the_violation() -> None:
    [found] = await score(Fake(), "Loser! You IDIOT.", HARASSMENT)
    assert found == Score("harassment", 0.55, spans=(Span(0, 5), Span(11, 16)))


async def test_without_a_keyword_the_violation_is_the_rest() -> None:
    [found] = await score(Fake(rest=0.1), "hello", HARASSMENT)
    assert found == Score("harassment", 0.1)


async def test_there_is_one_score_per_policy_in_order() -> None:
    found = await score(Fake(), "you idiot", HATE, HARASSMENT, HATE)
    assert [s.policy for s in found] == ["hate_speech", "harassment", "hate_speech"]


async def test_keywords_are_found_however_they_are_written() -> None:
    [found] = await score(Fake({"harassment": {"Idiot": 0.7}}), "IDIOT", HARASSMENT)
    assert found == Score("harassment", 0.7, spans=(Span(0, 5),))


@given(st.lists(st.sampled_from(["idiot", "loser", "you are worthless", "fine", "İ"])))
async def test_every_span_is_a_keyword(words: list[str]) -> None:
    text = " ".join(words)
    [found] = await score(Fake(), text, HARASSMENT)
    spoken = [text[span.start : span.end] for span in found.spans]
    assert sorted(spoken) == sorted(w for w in words if w in KEYWORDS["harassment"])


@pytest.mark.parametrize("stage", Stage)
def test_it_judges_whatever_has_no_patterns(stage: Stage) -> None:
    assert Fake().judges(HARASSMENT, stage)
    assert not Fake().judges(Policy("words", patterns=Patterns(words=("a",))), stage)


def test_its_fingerprint_changes_with_keywords_and_rest_but_not_with_their_order() -> None:
    one: dict[str, dict[str, float]] = {"a": {"x": 0.1, "y": 0.2}, "b": {}}
    other: dict[str, dict[str, float]] = {"b": {}, "a": {"y": 0.2, "x": 0.1}}
    changed: dict[str, dict[str, float]] = {"a": {"x": 0.3, "y": 0.2}, "b": {}}
    same = Fake(one).fingerprint
    assert Fake(other).fingerprint == same
    assert len({same, Fake(changed).fingerprint, Fake(one, rest=0.5).fingerprint}) == 3


@pytest.mark.parametrize(
    "keywords",
    [{"a": {"x": 1.5}}, {"a": {"x": math.nan}}, {"a": {"x": "0.5"}}, {"a": {"": 1.0}}],
)
def test_keywords_that_could_not_score_are_refused_when_it_is_made(
    keywords: Mapping[str, Any],
) -> None:
    with pytest.raises(ValueError, match="is needed"):
        Fake(keywords)


@pytest.mark.parametrize("rest", [-0.1, 1.1, math.nan])
def test_a_rest_that_is_no_probability_is_refused(rest: float) -> None:
    with pytest.raises(ValueError, match=r"a number in \[0, 1\] is needed"):
        Fake(rest=rest)


async def test_it_opens_and_closes_without_doing_anything() -> None:
    async with Fake() as fake:
        assert await score(fake, "hello", HARASSMENT)
