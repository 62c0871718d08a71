"""A stream costs what is new in it, and scores as if it had never been seen before."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_guard.policy import Policy
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.memory import PrefixCache
from gemma_guard.scorers.shieldgemma.model import Gemma
from gemma_guard.scorers.shieldgemma.scores import score

ANSWERS = (200, 300)
PICK = random.Random(5)  # noqa: S311  any ids will do
ANSWER = tuple(PICK.choices(range(110, 500), k=120))
AFTER = (108, 107, 109, 150, 151)
SUFFIXES = tuple(tuple(PICK.choices(range(110, 500), k=count)) for count in (9, 14))
Models = Callable[[int], Any]


def asked(answer: Sequence[int], stream: str | None = "s") -> Question:
    return Question((2, *answer, *AFTER), SUFFIXES, stream)


def probability(policy: Policy, reading: Reading) -> float:
    return score(policy, reading).violation


def close(policy: Policy, one: Sequence[Reading], other: Sequence[Reading]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(abs(probability(policy, a) - probability(policy, b)) <= 1e-4 for a, b in pairs)


@settings(max_examples=10)
@given(
    kind=st.integers(0, 2),
    cuts=st.lists(st.integers(0, len(ANSWER)), min_size=1, max_size=6),
    edits=st.lists(st.integers(0, len(ANSWER) - 1), max_size=2),
    limit=st.sampled_from([0, 20_000, 1 << 20]),
)
def test_a_stream_scores_as_from_scratch_at_every_chunking(
    kind: int,
    cuts: list[int],
    edits: list[int],
    limit: int,
    make_model: Models,
    policies: tuple[Policy, ...],
) -> None:
    judge = make_model(kind)
    engine = Gemma(judge, answers=ANSWERS, stream_bytes=limit)
    text = list(ANSWER)
    for turn, cut in enumerate([*sorted(cuts), len(text), 10]):  # it may also begin anew
        for place in edits[turn : turn + 1]:  # as a redaction changes what was said
            text[place] = 499
        (found,) = engine.read([asked(text[:cut])])
        (fresh,) = Gemma(judge, answers=ANSWERS).read([asked(text[:cut], None)])
        assert close(policies[0], found, fresh)


def test_streams_and_other_texts_share_a_step(
    make_model: Models, policies: tuple[Policy, ...]
) -> None:
    judge = make_model(0)
    engine = Gemma(judge, answers=ANSWERS)
    engine.read([asked(ANSWER[:30], "a"), asked(ANSWER[40:90], "b")])
    batch = [asked(ANSWER[:60], "a"), asked(ANSWER[5:50], None), asked(ANSWER[40:100], "b")]
    fresh = Gemma(judge, answers=ANSWERS).read([dataclasses.replace(q, stream=None) for q in batch])
    for found, wanted in zip(engine.read(batch), fresh, strict=True):
        assert close(policies[0], found, wanted)


def test_only_what_is_new_is_computed(make_model: Models) -> None:
    engine = Gemma(make_model(0), answers=ANSWERS)
    engine.read([asked(ANSWER[:100])])
    before = engine.tokens
    engine.read([asked(ANSWER[:110])])
    assert engine.tokens - before == 10 + len(AFTER) + sum(map(len, SUFFIXES))
    before = engine.tokens
    engine.read([asked(ANSWER[:110])])
    assert engine.tokens - before == sum(map(len, SUFFIXES))


def test_the_cost_of_a_stream_grows_with_its_length_and_no_faster(make_model: Models) -> None:
    def cost(length: int) -> int:
        engine = Gemma(make_model(2), answers=ANSWERS)
        text = (ANSWER * 9)[:length]
        for cut in range(20, length + 1, 20):
            engine.read([asked(text[:cut])])
        return engine.tokens

    assert cost(400) <= 2 * cost(200)


def test_the_least_recent_stream_makes_room(make_model: Models) -> None:
    probe = Gemma(make_model(0), answers=ANSWERS)
    probe.read([asked(ANSWER, "one")])
    size = probe._streams.nbytes  # noqa: SLF001
    engine = Gemma(make_model(0), answers=ANSWERS, stream_bytes=2 * size)
    kept: PrefixCache = engine._streams  # noqa: SLF001
    for stream in ("one", "two", "one", "three"):
        engine.read([asked(ANSWER, stream)])
        assert kept.nbytes <= 2 * size
    assert kept.before(asked(ANSWER, "two")) is None
    assert kept.before(asked(ANSWER, "one"))
    assert kept.before(asked(ANSWER, "three"))


@pytest.mark.parametrize("stream", [None, ""])
def test_a_text_of_no_stream_is_not_kept(stream: str | None, make_model: Models) -> None:
    engine = Gemma(make_model(0), answers=ANSWERS)
    engine.read([asked(ANSWER, stream)])
    assert engine._streams.nbytes == 0  # noqa: SLF001
