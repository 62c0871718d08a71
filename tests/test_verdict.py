"""What a verdict says, what it never says, and what `apply` leaves alone."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.errors import Blocked, Cause, UsageError
from gemma_guard.verdict import (
    Action,
    Edit,
    Finding,
    Gap,
    Judged,
    Place,
    Score,
    Span,
    Stage,
    Verdict,
    rewritten,
)

CANARY = "canary-4711"
PLAIN = Verdict("abc", Action.ALLOW, "default", Stage.INPUT, "f", "no")


def redacted(*changes: tuple[Place, str]) -> Verdict:
    edits = tuple(Edit(place, text) for place, text in changes)
    passages = tuple(Judged(e.place, "user", Stage.INPUT, Action.REDACT, ()) for e in edits)
    return replace(PLAIN, action=Action.REDACT, passages=passages, edits=edits)


def finding(policy: str, action: Action, *, shadow: bool = False) -> Finding:
    return Finding(policy, action, 0.9, 0.8, "key", shadow=shadow)


@pytest.mark.parametrize("violation", [math.nan, -0.01, 1.01, math.inf, -math.inf])
def test_a_score_is_a_probability_and_never_nan(violation: float) -> None:
    with pytest.raises(ValueError, match=r"violation must be in \[0, 1\]"):
        Score("p", violation)


@pytest.mark.parametrize("raw", [math.nan, -0.01, 1.01, math.inf])
def test_a_raw_score_is_a_probability_too(raw: float) -> None:
    with pytest.raises(ValueError, match="raw must be"):
        Score("p", 0.5, raw=raw)


@pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf])
def test_a_margin_is_finite_so_that_records_stay_json(margin: float) -> None:
    with pytest.raises(ValueError, match="margin must be finite"):
        Score("p", 0.5, margin=margin)


@given(st.floats())
def test_whatever_a_scorer_says_becomes_a_probability_or_an_error(violation: float) -> None:
    try:
        score = Score("p", violation)
    except ValueError:
        assert not 0.0 <= violation <= 1.0
    else:
        assert 0.0 <= score.violation <= 1.0


@pytest.mark.parametrize(("start", "end"), [(0, 0), (3, 2), (-1, 2), (5, 5)])
def test_a_span_covers_at_least_one_character(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="a span needs"):
        Span(start, end)


def test_actions_are_ordered_from_allow_to_block() -> None:
    assert sorted(Action) == [Action.ALLOW, Action.LOG, Action.REDACT, Action.BLOCK]


@pytest.mark.parametrize("action", Action)
def test_an_action_is_read_back_from_its_word(action: Action) -> None:
    assert Action.parse(str(action)) is action
    assert Action.parse(str(action).upper()) is action


@pytest.mark.parametrize("word", ["blok", "", "3", "allow,"])
def test_an_unknown_action_is_answered_with_the_allowed_ones(word: str) -> None:
    with pytest.raises(UsageError, match=r"unknown action .*allow, log, redact, block"):
        Action.parse(word)


@pytest.mark.parametrize(
    ("gaps", "scores", "status"),
    [
        ((), (), "scored"),
        ((), (Score("p", 0.1),), "scored"),
        ((Gap(Cause.CRASHED),), (Score("p", 0.1),), "degraded"),
        ((Gap(Cause.CRASHED),), (), "not_scanned"),
    ],
)
def test_status_tells_whether_all_some_or_nothing_was_judged(
    gaps: tuple[Gap, ...], scores: tuple[Score, ...], status: str
) -> None:
    assert replace(PLAIN, gaps=gaps, scores=scores).status == status


@pytest.mark.parametrize(
    ("action", "findings", "gaps", "fault"),
    [
        (Action.ALLOW, (), (), None),
        (Action.LOG, (), (Gap(Cause.CRASHED),), None),
        (Action.BLOCK, (finding("p", Action.BLOCK),), (), "content"),
        (Action.BLOCK, (finding("p", Action.BLOCK),), (Gap(Cause.CRASHED),), "content"),
        (Action.BLOCK, (), (Gap(Cause.CRASHED),), "judge"),
        (Action.BLOCK, (), (Gap(Cause.TOO_LONG),), "request"),
        (Action.BLOCK, (), (Gap(Cause.MEDIA),), "request"),
        (
            Action.BLOCK,
            (finding("p", Action.BLOCK, shadow=True),),
            (Gap(Cause.FULL),),
            "judge",
        ),
    ],
)
def test_a_block_says_whose_fault_it_is(
    action: Action, findings: tuple[Finding, ...], gaps: tuple[Gap, ...], fault: str | None
) -> None:
    assert replace(PLAIN, action=action, findings=findings, gaps=gaps).fault == fault


def test_policies_are_those_that_asked_for_the_action_each_once() -> None:
    found = (
        finding("a", Action.BLOCK),
        finding("b", Action.LOG),
        finding("a", Action.BLOCK),
        finding("c", Action.BLOCK, shadow=True),
        finding("d", Action.BLOCK),
    )
    verdict = replace(PLAIN, action=Action.BLOCK, findings=found)
    assert verdict.policies == ("a", "d")
    assert verdict.summary == "block: a, d (decision abc)"


@pytest.mark.parametrize("action", Action)
def test_only_a_block_is_raised(action: Action) -> None:
    verdict = replace(PLAIN, action=action)
    if action is Action.BLOCK:
        with pytest.raises(Blocked) as raised:
            verdict.raise_if_blocked()
        assert raised.value.verdict is verdict
    else:
        verdict.raise_if_blocked()


def test_no_text_is_in_the_repr_of_a_verdict_or_of_a_passage() -> None:
    verdict = replace(redacted(((0, "content"), CANARY)), text=CANARY)
    assert CANARY not in repr(verdict)
    assert CANARY not in str(verdict)
    assert CANARY not in repr(verdict.passages)


messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "tool"]),
            "content": st.one_of(
                st.text(),
                st.lists(
                    st.fixed_dictionaries({"type": st.just("text"), "text": st.text()}),
                    min_size=1,
                    max_size=3,
                ),
            ),
        }
    ),
    min_size=1,
    max_size=4,
)


def places(given: list[dict[str, Any]]) -> list[Place]:
    found: list[Place] = []
    for index, message in enumerate(given):
        content = message["content"]
        if isinstance(content, str):
            found.append((index, "content"))
        else:
            found += [(index, "content", number, "text") for number in range(len(content))]
    return found


def at(tree: Any, place: Place) -> Any:
    for step in place:
        tree = tree[step]
    return tree


@given(messages, st.data())
def test_apply_writes_every_redaction_and_nothing_else(
    given_: list[dict[str, Any]], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(places(given_)), unique=True))
    before = copy.deepcopy(given_)
    after = redacted(*((place, f"[{n}]") for n, place in enumerate(chosen))).apply(given_)
    assert given_ == before
    for number, place in enumerate(chosen):
        assert at(after, place) == f"[{number}]"
    for place in places(given_):
        if place not in chosen:
            assert at(after, place) is at(given_, place)
    for index, message in enumerate(given_):
        if not any(place[0] == index for place in chosen):
            assert after[index] is message


def test_apply_leaves_untouched_parts_the_very_same_objects() -> None:
    image = {"type": "image_url", "image_url": {"url": "x"}}
    calls = [{"function": {"name": "f", "arguments": "{}"}}]
    given_: list[dict[str, Any]] = [
        {"role": "user", "content": "hello"},
        {"role": "user", "content": [{"type": "text", "text": "me@x.org"}, image], "calls": calls},
    ]
    after = redacted(((1, "content", 0, "text"), "[EMAIL_1]")).apply(given_)
    assert after[0] is given_[0]
    assert after[1]["content"][1] is image
    assert after[1]["calls"] is calls
    assert after[1]["content"][0] == {"type": "text", "text": "[EMAIL_1]"}


def test_apply_returns_a_list_of_its_own() -> None:
    given_ = [{"role": "user", "content": "hello"}]
    after = PLAIN.apply(given_)
    assert after == given_
    assert after is not given_


def test_apply_writes_into_tuples_as_into_lists() -> None:
    given_ = ({"role": "user", "content": ({"type": "text", "text": "a"},)},)
    after = redacted(((0, "content", 0, "text"), "b")).apply(given_)
    assert after == [{"role": "user", "content": [{"type": "text", "text": "b"}]}]


def test_apply_raises_where_nothing_may_go_on() -> None:
    with pytest.raises(Blocked):
        replace(PLAIN, action=Action.BLOCK).apply([])


def test_apply_on_a_verdict_about_a_text_says_where_the_text_is() -> None:
    with pytest.raises(UsageError, match=r"\.text may go on"):
        redacted(((), "hello")).apply([{"role": "user", "content": "hello"}])


def test_thousands_of_edits_each_find_their_place() -> None:
    messages = [{"role": "user", "content": f"a{i}"} for i in range(5000)]
    edits = [Edit((i, "content"), f"b{i}") for i in range(0, 5000, 2)]
    after = rewritten(messages, edits)
    assert [m["content"] for m in after] == [f"{'ab'[i % 2 == 0]}{i}" for i in range(5000)]
    assert messages[0]["content"] == "a0"
    assert after[1] is messages[1]
