"""Bands judge monotonously, and impossible policies cannot be built."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.errors import ConfigError
from gemma_guard.policy import DETECTORS, Bands, Guideline, Patterns, Policy
from gemma_guard.verdict import Action, Stage

probabilities = st.floats(0, 1)


@st.composite
def some_bands(draw: st.DrawFn) -> Bands:
    count = st.floats(0, 1, exclude_min=True)
    rising = sorted(draw(st.lists(count, min_size=3, max_size=3)))
    kept = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return Bands(*(at if keep else None for at, keep in zip(rising, kept, strict=True)))


@given(some_bands(), probabilities, probabilities)
def test_a_higher_violation_is_never_judged_milder(bands: Bands, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert bands.judge(low)[0] <= bands.judge(high)[0]


@given(some_bands(), probabilities)
def test_the_action_is_the_hardest_whose_threshold_is_reached(
    bands: Bands, violation: float
) -> None:
    action, threshold = bands.judge(violation)
    reached = [a for a, at in bands.thresholds if violation >= at]
    assert action == max(reached, default=Action.ALLOW)
    assert threshold == (dict(bands.thresholds)[action] if reached else math.inf)


@given(some_bands())
def test_a_threshold_itself_is_reached(bands: Bands) -> None:
    for action, threshold in bands.thresholds:
        assert bands.judge(threshold)[0] >= action
        assert bands.judge(math.nextafter(threshold, 0))[0] <= action


@pytest.mark.parametrize("action", ["log", "redact", "block"])
@pytest.mark.parametrize(
    "threshold", [0, 0.0, -0.0, -0.1, 1.5, 1.0000001, math.nan, math.inf, True, False, "0.5", "yes"]
)
def test_what_is_no_threshold_is_refused_with_what_is_one(action: str, threshold: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        Bands(**{action: threshold})
    assert str(refused.value) == (
        f"{action}: {threshold!r} is not a threshold; use a number above 0, at most 1"
    )


@pytest.mark.parametrize(
    "falling",
    [
        {"log": 0.5, "redact": 0.4},
        {"redact": 0.9, "block": 0.8},
        {"log": 0.9, "block": 0.8},
        {"log": 0.1, "redact": 0.9, "block": 0.8},
    ],
)
def test_bands_that_fall_are_refused(falling: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must rise from log over redact to block, got "):
        Bands(**falling)


def test_of_equal_thresholds_the_harder_action_wins() -> None:
    assert Bands(log=0.5, block=0.5).judge(0.5) == (Action.BLOCK, 0.5)


@pytest.mark.parametrize("action", Action)
def test_a_yes_or_no_policy_acts_on_a_match_only(action: Action) -> None:
    bands = Bands.of(action)
    assert bands.judge(1.0)[0] is action
    assert bands.judge(math.nextafter(1.0, 0))[0] is Action.ALLOW


def test_bands_read_as_they_are_written() -> None:
    assert str(Bands(log=0.2, block=0.8)) == "{log: 0.2, block: 0.8}"


GUIDELINE = Guideline("in", "out")
PATTERNS = Patterns(("email",))


@pytest.mark.parametrize(
    "name", ["", "Harassment", "1st", "a-b", "a b", "ä", "a" * 65, "_a", "a\n"]
)
def test_a_name_that_is_not_snake_case_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use snake_case"):
        Policy(name, guideline=GUIDELINE)


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"guideline": GUIDELINE, "patterns": PATTERNS},
        {"head": "h", "patterns": PATTERNS},
        {"patterns": Patterns(regions=("DE",))},
        {"guideline": GUIDELINE, "patterns": Patterns()},
        {"guideline": GUIDELINE, "head": ""},
    ],
)
def test_a_policy_is_judged_or_finds_patterns_never_both_nor_neither(kinds: Any) -> None:
    with pytest.raises(ConfigError, match="policy 'p'"):
        Policy("p", **kinds)


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        ({"guideline": GUIDELINE}, "judged"),
        ({"head": "h"}, "judged"),
        ({"patterns": PATTERNS}, "pattern"),
    ],
)
def test_its_parts_say_what_kind_a_policy_is(kinds: Any, kind: str) -> None:
    assert Policy("p", **kinds).kind == kind


@pytest.mark.parametrize("stage", Stage)
def test_dangerous_content_is_never_redacted(stage: Stage) -> None:
    bands: Any = {str(stage): Bands(redact=0.5)}
    with pytest.raises(ConfigError, match="'dangerous_content' is never redacted"):
        Policy("dangerous_content", guideline=GUIDELINE, **bands)


def test_each_stage_has_its_own_wording_and_bands() -> None:
    bands = [Bands(block=0.5), Bands(block=0.7)]
    policy = Policy("p", bands[0], bands[1], GUIDELINE)
    assert [GUIDELINE.at(stage) for stage in Stage] == ["in", "out"]
    assert [policy.bands(stage) for stage in Stage] == bands


def test_regions_alone_look_for_nothing() -> None:
    assert not Patterns(regions=("DE",))
    assert all([Patterns(("email",)), Patterns(words=("a",)), Patterns(expressions=("a",))])


def test_detectors_are_listed_in_order_for_messages() -> None:
    assert list(DETECTORS) == sorted(DETECTORS)
