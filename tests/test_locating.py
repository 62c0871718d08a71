"""What a judge flags without saying where: found, taken out, and what is left passes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from gemma_guard import (
    Action,
    Bands,
    ConfigError,
    Guard,
    Guideline,
    Policy,
    Priority,
    Probe,
    Score,
    Unreachable,
)
from gemma_guard.locating import MOST_SEGMENTS, Unplaced, Weights, search
from gemma_guard.redaction import Cut, Placeholders, redact
from gemma_guard.scorers.fake import Fake

WORDS = {"insult": {"idiot": 0.9, "fool": 0.6}, "hate": {"vermin": 0.8}}
BANDS = Bands(redact=0.5)
POLICIES = [Policy(name, BANDS, BANDS, Guideline("in", "out")) for name in WORDS]
UNPLACED = [Unplaced(name, 0.9, 0.5) for name in WORDS]


def weigh(text: str) -> Weights:
    """As a judge that says only how bad the whole is."""
    found = {name: [at for w, at in words.items() if w in text] for name, words in WORDS.items()}
    return {each.policy: each.weight(max([0.02, *found[each.policy]])) for each in UNPLACED}


def searched(
    text: str, *, released: int = 0, judge: Callable[[str], Weights] = weigh
) -> tuple[tuple[Cut, ...] | None, list[int]]:
    """What is found, and how many texts were weighed each time."""
    asked = []
    searching = search(text, UNPLACED, released=released, placeholders=Placeholders())
    try:
        texts = next(searching)
        while True:
            asked.append(len(texts))
            texts = searching.send([judge(each) for each in texts])
    except StopIteration as done:
        return done.value, asked


def left(text: str, cuts: Sequence[Cut]) -> str:
    return redact(text, cuts, Placeholders())


PLAIN = ("It rains today.", "We walk home, and have tea.", "Nothing happened: all is well.")
BAD = ("You idiot!", "They are vermin, he said.", "A fool, as ever, speaks.")
texts = (
    st.tuples(st.sampled_from(BAD), st.lists(st.sampled_from((*PLAIN, *BAD)), max_size=8))
    .flatmap(lambda drawn: st.permutations([drawn[0], *drawn[1]]))
    .map(" ".join)
)


@given(texts)
@settings_of(max_examples=300)
def test_what_is_left_passes_and_every_cut_is_needed(text: str) -> None:
    cuts, _ = searched(text)
    assert cuts is not None
    assert max(weigh(left(text, cuts)).values()) < 1
    for cut in cuts:
        others = [other for other in cuts if other is not cut]
        assert max(weigh(left(text, others)).values()) >= 1


@given(texts)
def test_a_sentence_with_nothing_in_it_stays(text: str) -> None:
    cuts, _ = searched(text)
    assert cuts is not None
    for sentence in PLAIN:
        assert left(text, cuts).count(sentence) == text.count(sentence)


def test_of_a_sentence_only_the_clause_goes() -> None:
    cuts, _ = searched("It rains. They are vermin, he said. We walk home.")
    assert cuts is not None
    assert left("It rains. They are vermin, he said. We walk home.", cuts) == (
        "It rains. [redacted: hate] he said. We walk home."
    )


def test_neighbours_are_one_redaction_named_for_what_weighs_most() -> None:
    text = "Well. You fool. You idiot. They are vermin. Bye."
    cuts, _ = searched(text)
    assert cuts is not None
    assert left(text, cuts) == "Well. [redacted: insult] Bye."


def test_what_two_sentences_say_together_is_found_by_leaving_one_out() -> None:
    def together(text: str) -> Weights:
        both = "first half" in text and "second half" in text
        return {"insult": 2.0 if both else 0.1, "hate": 0.1}

    text = "It rains. The first half. It snows. The second half. Bye."
    cuts, _ = searched(text, judge=together)
    assert cuts is not None
    assert len(cuts) == 1


def test_what_is_out_already_is_left_alone_and_where_that_does_not_help_nothing_is_found() -> None:
    text = "You idiot, it rains. They are vermin. Bye."
    assert searched(text, released=len("You idiot, it"))[0] is None
    cuts, _ = searched("It rains. They are vermin. Bye.", released=len("It rains. They "))
    assert cuts is not None
    assert min(cut.span.start for cut in cuts) >= len("It rains. They ")


@pytest.mark.parametrize("count", [1, 40, 400])
def test_the_texts_that_are_weighed_are_bounded_and_few_batches(count: int) -> None:
    _, asked = searched(" ".join([*PLAIN, *BAD] * count))
    assert len(asked) <= 8
    assert max(asked) <= 2 * MOST_SEGMENTS


class Unsure(Fake):
    """Says how bad a text is and not where."""

    def __init__(self) -> None:
        super().__init__(WORDS)
        self.batches = 0

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        self.batches += 1
        scored = await super().score(probes, deadline=deadline, priority=priority)
        return [tuple(Score(s.policy, s.violation) for s in scores) for scores in scored]


def guard(scorer: Any, *policies: Policy) -> Guard:
    return Guard.of(policies or POLICIES, scorer, sinks=())


@given(texts)
@settings_of(max_examples=60)
async def test_a_text_that_was_redacted_passes_the_guard_that_flagged_it(text: str) -> None:
    async with guard(Unsure()) as checks:
        verdict = await checks.check(text, stage="output")
        assert verdict.text is not None
        assert (await checks.check(verdict.text, stage="output")).action is Action.ALLOW


async def test_the_verdict_says_what_was_taken_out_and_what_it_scored_before_and_after() -> None:
    text = "It rains. You idiot! We walk home."
    async with guard(Unsure()) as checks:
        verdict = await checks.check(text, stage="output")
    (redaction,) = verdict.redactions
    assert text[redaction.span.start : redaction.span.end] == "You idiot!"
    assert redaction.text == "[redacted: insult]"
    assert (redaction.policy, redaction.before, redaction.after) == ("insult", 0.9, 0.02)


async def test_messages_are_redacted_in_their_places() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "What did he say?"},
        {"role": "assistant", "content": [{"type": "text", "text": "It rains. You idiot!"}]},
    ]
    async with guard(Unsure()) as checks:
        verdict = await checks.check(messages=messages, stage="output")
    clean = verdict.apply(messages)[-1]["content"][0]["text"]
    assert clean == "It rains. [redacted: insult]"
    assert verdict.redactions[0].place == (1, "content", 0, "text")


async def test_where_nothing_helps_the_text_is_blocked() -> None:
    class Hates(Fake):
        async def score(self, probes: Any, /, **_: Any) -> list[tuple[Score, ...]]:
            return [tuple(Score(p.name, 0.9) for p in probe.policies) for probe in probes]

    async with guard(Hates()) as checks:
        assert (await checks.check("It rains. It snows.", stage="output")).blocked


async def test_where_the_judge_fails_while_the_place_is_searched_the_text_is_blocked() -> None:
    class Once(Unsure):
        async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
            if self.batches:
                raise Unreachable("gone")
            return await super().score(probes, **options)

    async with guard(Once()) as checks:
        assert (await checks.check("It rains. You idiot!", stage="output")).blocked


async def test_a_policy_that_blocks_spares_the_search() -> None:
    scorer = Unsure()
    hard = Policy("hate", Bands(block=0.5), Bands(block=0.5), Guideline("in", "out"))
    async with guard(scorer, POLICIES[0], hard) as checks:
        verdict = await checks.check("You idiot! They are vermin.", stage="output")
    assert verdict.blocked
    assert scorer.batches == 1


def test_dangerous_content_is_never_redacted() -> None:
    with pytest.raises(ConfigError, match="never redacted"):
        Policy("dangerous_content", output=BANDS, guideline=Guideline("in", "out"))
