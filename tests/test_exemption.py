"""An exception lets through what it names and nothing else, for as long as it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import Action, Bands, ConfigError, Guard, Verdict, exemption
from gemma_guard.counters import Counters
from gemma_guard.exemption import blanked, hashed
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads

TODAY = date(2031, 12, 31)
LATER, YESTERDAY = TODAY + timedelta(days=90), TODAY - timedelta(days=1)
SCORER = Fake(
    {
        "harassment": {"scum": 0.9, "killed the child": 0.7, "vermin": 0.95, "twerp": 0.4},
        "dangerous_content": {"pipe bomb": 0.9, "kill -9": 0.8},
    }
)
ROUTES = """
  default: {scorer: judge}
  kids: {extends: default, match: {claimed: {tag: kids}}}
"""


@pytest.fixture(autouse=True, scope="module")
def _day() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exemption, "today", lambda: TODAY)
        yield


def exception(**given_: Any) -> str:
    entry = {"reason": "a ticket", "owner": "ann", "expires": LATER, **given_}
    return "{" + ", ".join(f"{key}: {value}" for key, value in entry.items()) + "}"


def guard(*exceptions: str, **options: Any) -> Guard:
    text = (
        f"hash_key: salt\nscorers: {{judge: {{type: fake}}}}\n"
        f"exceptions: [{', '.join(exceptions)}]\nroutes: {ROUTES}"
    )
    return Guard(loads(text), scorers={"judge": SCORER}, sinks=(), **options)


def check(text: str, *exceptions: str, **options: Any) -> Verdict:
    return guard(*exceptions).check_sync(text, **options)


def exempt(verdict: Verdict) -> list[tuple[str, str]]:
    return [(found.policy, found.exempt) for found in verdict.findings]


# ------------------------------------------------------------------------------------- a text


def test_a_text_passes_by_its_hash_and_no_other_does() -> None:
    one = exception(text=hashed("you scum", "salt"))

    verdict = check("you scum", one)

    assert (verdict.action, verdict.text) == (Action.ALLOW, "you scum")
    assert exempt(verdict) == [("harassment", "exceptions.0")]
    assert check("you scum!", one).action is Action.BLOCK


@given(st.text(max_size=20), st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9))
def test_a_hash_says_nothing_without_its_key(text: str, one: str, other: str) -> None:
    assert hashed(text, one) == hashed(text, one)
    assert (hashed(text, one) == hashed(text, other)) == (one.rstrip("\0") == other.rstrip("\0"))


def test_a_text_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="hash_key: needed for a text in exceptions"):
        loads(f"exceptions: [{exception(text='ab' * 16)}]\nroutes: {{default: {{}}}}")


# ----------------------------------------------------------------------------------- a phrase


def test_a_phrase_is_judged_as_if_it_were_not_there() -> None:
    phrase = exception(phrase="killed the child")

    assert check("he killed the child process").action is Action.BLOCK
    verdict = check("he Killed  the\nchild process", exception(phrase="killed the child"))

    assert verdict.action is Action.ALLOW
    assert exempt(check("he killed the child process", phrase)) == [("harassment", "exceptions.0")]


@pytest.mark.parametrize(
    "text",
    [
        "killed the child, you scum",
        "you vermin killed the child",
        "you killed the child killed the scum child",
        "sc killed the child um: you scum",
        "ver\u200bmin killed the child",
    ],
)
def test_a_harmful_text_with_the_phrase_is_caught_all_the_same(text: str) -> None:
    assert check(text, exception(phrase="killed the child")).action is Action.BLOCK


def test_what_is_left_without_the_phrase_gets_its_own_band() -> None:
    verdict = check("you twerp killed the child", exception(phrase="killed the child"))

    assert verdict.action is Action.LOG
    assert [(f.action, f.exempt) for f in verdict.findings] == [
        (Action.BLOCK, "exceptions.0"),
        (Action.LOG, ""),
    ]
    assert verdict.findings[1].key.endswith("harassment.bands.input.log")


def test_a_phrase_is_whole_words() -> None:
    assert check("you scum", exception(phrase="scu")).action is Action.BLOCK


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"expires": YESTERDAY}, id="that has run out"),
        pytest.param({"policies": "[dangerous_content]"}, id="for another policy"),
        pytest.param({"routes": "[kids]"}, id="for another route"),
    ],
)
def test_a_phrase_that_holds_does_not_lend_itself_to_one_that_does_not(
    other: dict[str, Any],
) -> None:
    mine = exception(phrase="quite harmless words")
    theirs = exception(phrase="scum", **other)

    verdict = check("you scum", mine, theirs)

    assert (verdict.action, exempt(verdict)) == (Action.BLOCK, [("harassment", "")])


def test_the_phrase_that_is_in_the_text_is_the_one_that_is_recorded() -> None:
    first, second = exception(phrase="not in it"), exception(phrase="killed the child")

    verdict = check("he killed the child process", first, second)

    assert exempt(verdict) == [("harassment", "exceptions.1")]


@given(st.text(max_size=40), st.sampled_from(["a", "a b", "é", "x y z"]))
def test_every_other_character_stays_where_it_is(text: str, phrase: str) -> None:
    left = blanked(text, [phrase])

    assert len(left) == len(text)
    assert all(new in (old, " ") for old, new in zip(text, left, strict=True))


# -------------------------------------------------------------------------- a policy, a route


def test_a_policy_on_a_route_enforces_nothing_there_and_elsewhere_what_it_did() -> None:
    one = exception(policies="[harassment]", routes="[kids]")

    assert check("you scum", one, route="kids").action is Action.ALLOW
    assert check("a pipe bomb", one, route="kids").action is Action.BLOCK
    assert check("you scum", one).action is Action.BLOCK


def test_a_stricter_route_that_is_claimed_is_not_loosened_by_anothers_exception() -> None:
    for_default = exception(policies="[harassment]", routes="[default]")
    for_kids = exception(policies="[harassment]", routes="[kids]")

    assert check("you scum", for_default).action is Action.ALLOW
    assert check("you scum", for_default, claimed={"tag": "kids"}).action is Action.BLOCK
    assert check("you scum", for_kids, claimed={"tag": "kids"}).action is Action.BLOCK


def test_an_exception_of_the_operator_on_a_route_does_not_undo_what_a_request_tightens() -> None:
    one = exception(policies="[harassment]", routes="[default]")
    tight = {"harassment": Bands(block=0.5)}

    assert check("you scum", one, tighten=tight).action is Action.BLOCK


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"policies": "[harasment]"}, r"exceptions\.0\.policies: unknown policy 'harasment'"),
        ({"policies": "[harassment]", "routes": "[kid]"}, r"exceptions\.0\.routes: unknown route"),
        ({}, "it would let everything through"),
        ({"phrase": "a", "text": "b"}, "not both"),
        ({"phrase": "a", "owner": "[]"}, r"exceptions\.0\.owner"),
        ({"phrase": "a", "expires": "soon"}, r"exceptions\.0\.expires"),
        ({"phrase": "a", "untill": "x"}, r"untill"),
    ],
)
def test_an_exception_that_says_too_little_or_what_nobody_knows_stops_the_load(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        guard(exception(**wrong))


# ------------------------------------------------------------------------------------- its end


@pytest.mark.parametrize(
    ("expires", "action"),
    [(TODAY, Action.ALLOW), (LATER, Action.ALLOW), (YESTERDAY, Action.BLOCK)],
)
@pytest.mark.parametrize(
    "what", [{"policies": "[harassment]"}, {"phrase": "scum"}, {"text": hashed("scum", "salt")}]
)
def test_it_holds_to_its_last_day_and_no_longer(
    what: dict[str, str], expires: Any, action: Action
) -> None:
    assert check("scum", exception(**what, expires=expires)).action is action


@pytest.mark.parametrize(
    ("days", "warning"), [(-1, "expired on"), (0, "in 0 days"), (14, "in 14 days"), (15, "")]
)
def test_it_warns_before_it_ends_with_who_to_ask(
    days: int, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard(exception(phrase="a phrase", expires=TODAY + timedelta(days=days)))

    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [warning in line for line in said] == ([True] if warning else [])
    assert all("exceptions.0 (a ticket, ann)" in line for line in said)


def test_what_was_let_through_is_counted_as_that() -> None:
    counters = Counters()
    text = f"exceptions: [{exception(phrase='scum')}]\nroutes: {{default: {{scorer: judge}}}}"
    served = Guard(
        loads(text.replace("routes", "scorers: {judge: {type: fake}}\nroutes")),
        scorers={"judge": SCORER},
        sinks=[counters],
    )

    served.check_sync("you scum")

    [(found, times)] = counters.findings.items()
    assert (found.policy, found.exempt, times) == ("harassment", "exceptions.0", 1)
