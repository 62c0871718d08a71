"""Whatever more text may make a match of is held, from every place at which a text may be cut."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_guard.policy import DETECTORS, Bands, Patterns, Policy
from gemma_guard.scorer import Priority, Probe
from gemma_guard.scorers.pattern import PatternScorer
from gemma_guard.verdict import Action, Score

REDACT = Bands.of(Action.REDACT)
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"
SECRETS = (
    "4111 1111 1111 1111",
    "4111111111111111",
    "4111-1111-1111-1111",
    "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "jane.doe@example.com",
    "o'neil+news@mail.example.co.uk",
    "DE89 3704 0044 0532 0130 00",
    "GB82WEST12345698765432",
    "192.168.12.7",
    "2001:0db8::8a2e:0370:7334",
    "+44 20 7183 8750",
    "+1 (202) 456-1111",
    "(020) 7183 8750",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "sk-proj-" + "Ab3_" * 8,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP",
    PEM,
    "son of a bitch",
    "project  falcon",
    "case-12345-x",
)
POLICIES = (
    *(
        Policy(name, REDACT, REDACT, patterns=Patterns((name,), regions=("GB", "US")))
        for name in DETECTORS
        if name != "phone"
    ),
    Policy("phone", REDACT, REDACT, patterns=Patterns(("phone",), regions=("GB", "US"))),
    Policy("words", REDACT, REDACT, patterns=Patterns(words=("son of a bitch", "project falcon"))),
    Policy("own", REDACT, REDACT, patterns=Patterns(expressions=(r"case-\d{3,6}(?:-[a-z])?",))),
)
pieces = st.sampled_from(
    (*SECRETS, " ", ". ", ", ", "\n", "1", "12", "-", "a", "Call ", "and", "@", ":", "(", "DE", "x")
)
texts = st.lists(pieces, min_size=1, max_size=6).map("".join)


async def scores(text: str, stream: str | None) -> dict[str, Score]:
    probe = Probe(text, POLICIES, stream=stream)
    asked = PatternScorer().score([probe], deadline=time.monotonic() + 60, priority=Priority.LIVE)
    return {score.policy: score for score in (await asked)[0]}


def places(score: Score) -> set[int]:
    return {i for span in score.spans for i in range(span.start, span.end)}


@given(texts, st.data())
@settings(max_examples=400)
async def test_what_is_not_held_and_not_found_is_part_of_no_match_of_the_longer_text(
    text: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(text)))
    whole, begun = await scores(text, None), await scores(text[:cut], "a stream")
    for name, score in whole.items():
        hold = begun[name].hold_from
        free = set(range(cut if hold is None else hold)) - places(begun[name])
        assert not free & places(score), (name, text[:cut])


@pytest.mark.parametrize("secret", SECRETS)
async def test_half_a_secret_is_held_at_every_cut(secret: str) -> None:
    text = f"Here it is: {secret} and so on."
    found = places(max((await scores(text, None)).values(), key=lambda s: len(places(s))))
    for cut in range(min(found) + 1, max(found) + 1):
        begun = await scores(text[:cut], "a stream")
        hold = min(s.hold_from for s in begun.values() if s.hold_from is not None)
        assert hold <= min(found), text[:cut]


@pytest.mark.parametrize("text", ["It rains today. ", "All is well.\n\n", "好的。"])
async def test_the_end_of_an_ordinary_sentence_holds_nothing(text: str) -> None:
    begun = await scores(text, "a stream")
    assert {score.hold_from for score in begun.values()} == {None}


@given(texts)
async def test_scores_and_spans_never_depend_on_whether_the_text_goes_on(text: str) -> None:
    alone, going_on = await scores(text, None), await scores(text, "a stream")
    for name, score in alone.items():
        assert (score.violation, score.spans) == (going_on[name].violation, going_on[name].spans)
        assert score.hold_from is None
