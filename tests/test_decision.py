"""Deciding is pure: scores and gaps in, findings and actions out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.conversation import Passage, Reading
from gemma_guard.decision import MAX_TEXTS, Heard, decide, escalate, gap_action, refusals, worst
from gemma_guard.errors import Cause
from gemma_guard.locating import Unplaced
from gemma_guard.policy import Bands, Guideline, Patterns, Policy
from gemma_guard.route import Fallback, Route, Rule
from gemma_guard.verdict import Action, Gap, Score, Span, Stage

PASSAGE = Passage("some text to judge", (0, "content"), "user")
SPANS = (Span(0, 4),)
thresholds = st.floats(0, 1, exclude_min=True)


@st.composite
def some_bands(draw: st.DrawFn) -> Bands:
    rising = sorted(draw(st.lists(thresholds, min_size=3, max_size=3)))
    kept = draw(st.tuples(*[st.booleans()] * 3))
    return Bands(*(at if keep else None for at, keep in zip(rising, kept, strict=True)))


def judged(name: str) -> Policy:
    return Policy(name, guideline=Guideline("in", "out"))


def a_route(*bands: Bands, shadow: bool = False, **options: Any) -> Route:
    rules = [
        Rule(judged(f"p{n}"), each, None, "judge", shadow, f"key{n}")
        for n, each in enumerate(bands)
    ]
    return Route("default", tuple(rules), **options)


def scored(route: Route, *violations: float, spans: tuple[Span, ...] = SPANS) -> Any:
    """Answers for a route with one scorer: a violation per policy."""
    names = [rule.policy.name for rule in route.rules]
    found = zip(names, violations, strict=True)
    return [Heard(tuple(Score(name, violation, spans=spans) for name, violation in found))]


def acts(route: Route, *violations: float, spans: tuple[Span, ...] = SPANS) -> Action:
    answers = scored(route, *violations, spans=spans)
    return decide(route, Stage.INPUT, answers, PASSAGE).action


@given(st.lists(st.tuples(some_bands(), st.floats(0, 1)), min_size=1, max_size=4))
def test_several_policies_decide_as_the_max_of_each(given_: list[tuple[Bands, float]]) -> None:
    together = acts(a_route(*(bands for bands, _ in given_)), *(at for _, at in given_))
    assert together == max(acts(a_route(bands), violation) for bands, violation in given_)


@given(some_bands(), st.floats(0, 1), st.floats(0, 1), st.sampled_from([(), SPANS]))
def test_a_higher_violation_is_never_decided_milder(
    bands: Bands, a: float, b: float, spans: tuple[Span, ...]
) -> None:
    low, high = sorted((a, b))
    assert acts(a_route(bands), low, spans=spans) <= acts(a_route(bands), high, spans=spans)


@given(some_bands(), st.floats(0, 1))
def test_a_policy_in_shadow_is_told_and_never_enforced(bands: Bands, violation: float) -> None:
    route = a_route(bands, shadow=True)
    decided = decide(route, Stage.INPUT, scored(route, violation), PASSAGE)
    assert decided.action is Action.ALLOW
    assert decided.cuts == ()
    asked = [finding.action for finding in decided.findings]
    assert asked == [a for a in [bands.judge(violation)[0]] if a]


@given(some_bands(), st.floats(0, 1))
def test_every_finding_says_what_was_reached_where_and_by_which_key(
    bands: Bands, violation: float
) -> None:
    route = a_route(bands)
    decided = decide(route, Stage.INPUT, scored(route, violation), PASSAGE)
    for finding in decided.findings:
        assert finding.policy == "p0"
        assert finding.violation == violation >= finding.threshold
        assert finding.place == PASSAGE.place
        assert finding.key == f"key0.{finding.action}"
        assert finding.spans == SPANS
    assert bool(decided.findings) == (decided.action > Action.ALLOW)


def test_a_redaction_without_a_known_place_says_what_is_to_be_placed() -> None:
    route = a_route(Bands(redact=0.5))
    decided = decide(route, Stage.INPUT, scored(route, 0.6, spans=()), PASSAGE)
    assert decided.action is Action.REDACT
    assert decided.unplaced == (Unplaced("p0", 0.6, 0.5),)
    assert decided.findings[0].key == "key0.redact"
    assert decided.cuts == ()


OLDER = PASSAGE._replace(is_newest=False)


@given(st.lists(st.tuples(some_bands(), st.floats(0, 1)), min_size=1, max_size=4))
def test_in_the_history_what_would_block_is_taken_out_whole(
    given_: list[tuple[Bands, float]],
) -> None:
    route = a_route(*(bands for bands, _ in given_))
    answers = scored(route, *(violation for _, violation in given_))
    now = decide(route, Stage.INPUT, answers, PASSAGE)
    then = decide(route, Stage.INPUT, answers, OLDER)
    assert then.action == min(now.action, Action.REDACT)
    if now.action is Action.BLOCK:
        assert Span(0, len(PASSAGE.text)) in [cut.span for cut in then.cuts]


@given(st.lists(st.tuples(some_bands(), st.floats(0, 1)), min_size=1, max_size=4))
def test_a_route_may_block_for_the_history_as_for_what_is_said_now(
    given_: list[tuple[Bands, float]],
) -> None:
    route = a_route(*(bands for bands, _ in given_), history="block")
    answers = scored(route, *(violation for _, violation in given_))
    now = decide(route, Stage.INPUT, answers, PASSAGE)
    assert decide(route, Stage.INPUT, answers, OLDER) == now


@pytest.mark.parametrize(("instead", "action"), [(True, Action.BLOCK), (False, Action.ALLOW)])
def test_a_fallback_is_held_to_bands_of_its_own(instead: bool, action: Action) -> None:
    bands = {("p0", Stage.INPUT): Bands(block=0.4)}
    route = a_route(Bands(block=0.9), fallback=Fallback("other", bands))
    answers = [Heard((Score("p0", 0.5),), instead)]
    assert decide(route, Stage.INPUT, answers, PASSAGE).action is action


def test_a_scorer_that_did_not_answer_decides_nothing() -> None:
    route = a_route(Bands(block=0.5))
    assert decide(route, Stage.INPUT, [None], PASSAGE).findings == ()


def test_a_stage_without_bands_is_not_asked() -> None:
    assert a_route(Bands(block=0.5)).plans[Stage.OUTPUT].asks == ()


@pytest.mark.parametrize(
    ("kind", "label"), [("email", "email"), ("word", "secrets"), ("expression", "secrets")]
)
def test_a_pattern_is_cut_under_what_it_found_or_else_under_its_policys_name(
    kind: str, label: str
) -> None:
    policy = Policy("secrets", patterns=Patterns(("email",), ("a",), ("b",)))
    route = Route("default", (Rule(policy, Bands.of(Action.REDACT), None, "pattern"),))
    answers = [Heard((Score("secrets", 1.0, spans=(Span(0, 4, kind),)),))]
    [cut] = decide(route, Stage.INPUT, answers, PASSAGE).cuts
    assert (cut.label, cut.numbered) == (label, True)


def test_what_was_judged_is_cut_under_its_policys_name_without_a_number() -> None:
    route = a_route(Bands(redact=0.5))
    [cut] = decide(route, Stage.INPUT, scored(route, 0.6), PASSAGE).cuts
    assert (cut.label, cut.numbered, cut.span) == ("p0", False, Span(0, 4))


@given(st.lists(st.tuples(some_bands(), st.floats(0, 1)), min_size=1, max_size=4))
def test_escalating_turns_every_redaction_into_a_block_and_nothing_else(
    given_: list[tuple[Bands, float]],
) -> None:
    route = a_route(*(bands for bands, _ in given_))
    answers = scored(route, *(violation for _, violation in given_))
    before = decide(route, Stage.INPUT, answers, PASSAGE)
    after = escalate(before)
    assert after.action is Action.BLOCK
    assert after.cuts == ()
    for old, new in zip(before.findings, after.findings, strict=True):
        assert new.action == (Action.BLOCK if old.action is Action.REDACT else old.action)
        assert new.key == old.key


@given(st.lists(st.builds(Score, st.sampled_from("abc"), st.floats(0, 1))))
def test_the_worst_score_of_each_policy_is_kept_in_order(scores: list[Score]) -> None:
    kept = worst(scores)
    assert [s.policy for s in kept] == list(dict.fromkeys(s.policy for s in scores))
    for score in kept:
        assert score.violation == max(s.violation for s in scores if s.policy == score.policy)


REQUESTS = [Cause.TOO_LONG, Cause.UNDECODABLE, Cause.TOO_MANY_WINDOWS, Cause.TOO_COSTLY]
JUDGES = [Cause.UNREACHABLE, Cause.CRASHED, Cause.TIMED_OUT, Cause.FULL]


@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open"])
@pytest.mark.parametrize("media", ["refuse", "gap"])
@pytest.mark.parametrize("judged_by", [None, "other"])
@pytest.mark.parametrize("cause", REQUESTS)
def test_what_the_request_brings_is_refused_whatever_the_route_says(
    cause: Cause, on_error: Any, media: Any, judged_by: str | None
) -> None:
    route = a_route(on_error=on_error, media=media)
    assert gap_action(Gap(cause, judged_by=judged_by), route) is Action.BLOCK


@pytest.mark.parametrize("cause", JUDGES)
@pytest.mark.parametrize(
    ("on_error", "judged_by", "action"),
    [
        ("fail_closed", None, Action.BLOCK),
        ("fail_open", None, Action.LOG),
        ("fail_closed", "other", Action.LOG),
        ("fail_open", "other", Action.LOG),
    ],
)
def test_a_judge_that_fails_follows_the_route(
    cause: Cause, on_error: Any, judged_by: str | None, action: Action
) -> None:
    assert gap_action(Gap(cause, judged_by=judged_by), a_route(on_error=on_error)) is action


@pytest.mark.parametrize(("media", "action"), [("refuse", Action.BLOCK), ("gap", Action.ALLOW)])
def test_media_is_refused_unless_the_route_lets_it_be_a_gap(media: Any, action: Action) -> None:
    assert gap_action(Gap(Cause.MEDIA), a_route(media=media)) is action


@pytest.mark.parametrize("cause", [Cause.EMPTY, Cause.NO_POLICY, Cause.OUT_OF_SCOPE])
def test_what_there_is_nothing_to_judge_in_goes_on_and_is_told(cause: Cause) -> None:
    assert gap_action(Gap(cause), a_route()) is Action.ALLOW


def test_every_cause_has_a_test_here() -> None:
    calm = {Cause.MEDIA, Cause.EMPTY, Cause.NO_POLICY, Cause.OUT_OF_SCOPE}
    assert {*REQUESTS, *JUDGES, *calm} == set(Cause)


@given(st.lists(st.text(max_size=20), max_size=4), st.integers(1, 40))
def test_a_request_longer_than_the_route_allows_is_refused(texts: list[str], most: int) -> None:
    found = refusals(Reading(tuple(Passage(text) for text in texts)), max_chars=most)
    total = sum(map(len, texts))
    assert [gap.cause for gap in found] == ([Cause.TOO_LONG] if total > most else [])


def test_a_request_of_more_texts_than_a_record_could_hold_is_refused() -> None:
    found = refusals(Reading((Passage("a"),) * (MAX_TEXTS + 1)), max_chars=10 * MAX_TEXTS)
    assert [gap.cause for gap in found] == [Cause.TOO_LONG]


@given(st.lists(st.text(st.characters(codec=None), max_size=5), max_size=4))
def test_half_a_surrogate_pair_is_refused_where_it_stands(texts: list[str]) -> None:
    passages = [Passage(text, (n,)) for n, text in enumerate(texts)]
    broken = [(n,) for n, text in enumerate(texts) if any("\ud800" <= c <= "\udfff" for c in text)]
    found = refusals(Reading(tuple(passages)), max_chars=1_000)
    assert [gap.place for gap in found] == broken
    assert {gap.cause for gap in found} <= {Cause.UNDECODABLE}
