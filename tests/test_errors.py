"""The error tree is drawn where it is written, and every cause has one owner."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import errors
from gemma_guard.errors import (
    Blocked,
    Cause,
    DeadlineExceeded,
    GuardError,
    Overloaded,
    ScoringError,
    ScoringFailed,
    TextRefused,
    Unreachable,
    unknown,
)
from gemma_guard.verdict import Action, Finding, Gap, Stage, Verdict

TREE = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, GuardError)
}


def test_the_docstring_draws_every_error_below_its_parent() -> None:
    path: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^((?:[│ ]   )*)(?:[├└]── )?([A-Z]\w+)(?:  |$)", line)
        if found and found[2] in TREE:
            depth = len(found[1]) // 4 + ("── " in line)
            path = [*path[:depth], found[2]]
            drawn[found[2]] = path[-2] if depth else None
    real = {n: k.__bases__[0].__name__ if k is not GuardError else None for n, k in TREE.items()}
    assert drawn == real


@pytest.mark.parametrize("kind", TREE.values(), ids=list(TREE))
def test_every_error_says_in_a_sentence_what_it_means(kind: type[GuardError]) -> None:
    assert (kind.__doc__ or "").strip().endswith(".")


def test_wrong_calls_and_wrong_files_are_value_errors_too() -> None:
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.ConfigError, ValueError)


@pytest.mark.parametrize("cause", Cause)
def test_no_cause_is_both_the_judges_and_the_requests(cause: Cause) -> None:
    assert not (cause.is_judges and cause.is_requests)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (ScoringFailed, Cause.CRASHED),
        (Unreachable, Cause.UNREACHABLE),
        (DeadlineExceeded, Cause.TIMED_OUT),
        (Overloaded, Cause.FULL),
    ],
)
def test_every_scoring_error_names_a_cause_on_the_judges_side(
    kind: type[ScoringError], cause: Cause
) -> None:
    assert kind.cause is cause
    assert cause.is_judges


def test_a_refused_text_carries_the_cause_it_was_refused_for() -> None:
    refused = TextRefused(Cause.TOO_LONG, "300,000 characters")
    assert (refused.cause, str(refused)) == (Cause.TOO_LONG, "300,000 characters")


def test_blocked_names_the_policy_and_the_decision_but_no_score_and_no_text() -> None:
    finding = Finding("harassment", Action.BLOCK, 0.8765, 0.8, "routes.default")
    verdict = Verdict(
        "abc", Action.BLOCK, "default", Stage.INPUT, "f", "no", findings=(finding,), text="canary"
    )
    message = str(Blocked(verdict))
    assert message == "block: harassment (decision abc)"
    assert "canary" not in message
    assert "0.87" not in message


def test_blocked_for_a_gap_names_the_cause_but_not_the_reason() -> None:
    gap = Gap(Cause.CRASHED, reason="line 7 of judge.py")
    verdict = Verdict("abc", Action.BLOCK, "default", Stage.INPUT, "f", "no", gaps=(gap, gap))
    assert str(Blocked(verdict)) == "block: crashed (decision abc)"


@given(st.text(), st.lists(st.text(min_size=1), min_size=1))
def test_an_unknown_name_is_answered_with_every_allowed_one(name: str, allowed: list[str]) -> None:
    message = unknown("pack", name, allowed)
    assert message.startswith(f"unknown pack {name!r}")
    assert all(each in message for each in allowed)


def test_a_misspelt_name_is_answered_with_the_nearest_one_first() -> None:
    message = unknown("pack", "privcy", ["default", "privacy"])
    assert message == "unknown pack 'privcy'; did you mean 'privacy'? use one of: default, privacy"


def test_a_block_that_is_pickled_keeps_its_verdict() -> None:
    verdict = Verdict("1", Action.BLOCK, "default", Stage.INPUT, "f", "refused")
    blocked = pickle.loads(pickle.dumps(Blocked(verdict)))  # noqa: S301  our own

    assert (blocked.verdict, str(blocked)) == (verdict, str(Blocked(verdict)))
