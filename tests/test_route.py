"""Callers may tighten, never loosen: on any route, for any violation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.conversation import Passage
from gemma_guard.decision import Heard, decide, gap_action
from gemma_guard.errors import Cause, ConfigError, UsageError
from gemma_guard.policy import Bands, Guideline, Policy
from gemma_guard.route import Fallback, Match, Route, Routes, Rule, looser_than, tighten
from gemma_guard.verdict import Action, Gap, Score, Span, Stage

NAMES = ["harassment", "hate_speech", "violence"]
POLICIES = {name: Policy(name, guideline=Guideline("in", "out")) for name in NAMES}
PASSAGE = Passage("some text")
thresholds = st.floats(0, 1, exclude_min=True)


@st.composite
def some_bands(draw: st.DrawFn) -> Bands:
    rising = sorted(draw(st.lists(thresholds, min_size=3, max_size=3)))
    kept = draw(st.tuples(*[st.booleans()] * 3))
    return Bands(*(at if keep else None for at, keep in zip(rising, kept, strict=True)))


rules = st.builds(
    Rule,
    st.sampled_from(list(POLICIES.values())),
    st.none() | some_bands(),
    st.none() | some_bands(),
    st.sampled_from(["one", "other"]),
    st.booleans(),
)
routes = st.builds(
    Route,
    st.sampled_from(["a", "b"]),
    st.lists(rules, max_size=4).map(tuple),
    on_error=st.sampled_from(["fail_closed", "fail_open"]),
    fallback=st.none() | st.sampled_from([Fallback("one"), Fallback("other")]),
    media=st.sampled_from(["refuse", "gap"]),
    max_chars=st.integers(1, 1_000),
    judge_system=st.booleans(),
    scope=st.sampled_from(["all", "new"]),
    history=st.sampled_from(["redact", "block"]),
)
said = st.fixed_dictionaries(
    {
        (scorer, name): st.tuples(st.floats(0, 1), st.sampled_from([(), (Span(0, 4),)]))
        for scorer in ("one", "other")
        for name in NAMES
    }
)
Said = Mapping[tuple[str, str], tuple[float, tuple[Span, ...]]]


def acts(route: Route, stage: Stage, said: Said, passage: Passage = PASSAGE) -> Action:
    """What `route` does where each scorer says this of each policy."""
    answers = [
        Heard(
            tuple(
                Score(p.name, violation, spans=spans)
                for p in ask.policies
                for violation, spans in [said[ask.scorer, p.name]]
            )
        )
        for ask in route.plans[stage].asks
    ]
    return decide(route, stage, answers, passage).action


@given(routes, routes, st.sampled_from(Stage), said)
def test_tightening_is_the_pointwise_maximum_of_both_routes(
    floor: Route, claimed: Route, stage: Stage, violations: Said
) -> None:
    both = max(acts(floor, stage, violations), acts(claimed, stage, violations))
    assert acts(tighten(floor, claimed), stage, violations) == both


@given(routes, routes, st.sampled_from(Stage), said)
def test_tightening_never_makes_the_history_milder(
    floor: Route, claimed: Route, stage: Stage, violations: Said
) -> None:
    older = PASSAGE._replace(is_newest=False)
    both = max(acts(r, stage, violations, older) for r in (floor, claimed))
    tightened = acts(tighten(floor, claimed), stage, violations, older)
    assert tightened >= both
    if floor.history == claimed.history:
        assert tightened == both


def fails(route: Route, cause: Cause) -> Action:
    """What `route` does at least where its judge fails, before a fallback finds anything."""
    instead = route.fallback.scorer if route.fallback and cause.is_judges else None
    return gap_action(Gap(cause, judged_by=instead), route)


@given(routes, routes, st.sampled_from(Cause))
def test_tightening_never_makes_a_failure_milder(
    floor: Route, claimed: Route, cause: Cause
) -> None:
    both = max(fails(floor, cause), fails(claimed, cause))
    assert fails(tighten(floor, claimed), cause) >= both


@given(routes, routes)
def test_a_fallback_is_asked_only_where_neither_route_would_have_blocked(
    floor: Route, claimed: Route
) -> None:
    fallback = tighten(floor, claimed).fallback
    if fallback is not None:
        for route in (floor, claimed):
            open_without = route.fallback is None and route.on_error == "fail_open"
            assert route.fallback == fallback or open_without


@given(routes, routes)
def test_tightening_keeps_the_stricter_limits(floor: Route, claimed: Route) -> None:
    both = tighten(floor, claimed)
    assert both.max_chars == min(floor.max_chars, claimed.max_chars)
    assert both.judge_system == (floor.judge_system or claimed.judge_system)
    assert (both.media == "gap") == (floor.media == claimed.media == "gap")
    assert (both.scope == "new") == (floor.scope == claimed.scope == "new")
    assert (both.history == "redact") == (floor.history == claimed.history == "redact")


@given(routes, st.sampled_from(Stage), said)
def test_a_route_tightened_by_itself_decides_the_same(
    route: Route, stage: Stage, violations: Said
) -> None:
    assert acts(tighten(route, route), stage, violations) == acts(route, stage, violations)


@given(
    routes,
    st.dictionaries(st.sampled_from(NAMES), some_bands()),
    st.sampled_from(Stage),
    said,
)
def test_the_bands_of_a_request_add_to_the_route_and_never_loosen_it(
    route: Route, bands: dict[str, Bands], stage: Stage, violations: Said
) -> None:
    known = {rule.policy.name for rule in route.rules}
    asked = {name: b for name, b in bands.items() if name in known}
    tightened = acts(route.tightened(asked), stage, violations)
    extra = Route(
        "request",
        tuple(
            replace(rule, input=b, output=b, shadow=False)
            for rule in route.rules
            if (b := asked.get(rule.policy.name)) is not None
        ),
    )
    assert tightened == max(acts(route, stage, violations), acts(extra, stage, violations))
    assert tightened >= acts(route, stage, violations)


def a_route(name: str = "default", *given_: Rule, **options: Any) -> Route:
    return Route(name, given_, **options)


def a_rule(bands: Bands | None = None, *, name: str = "harassment", **options: Any) -> Rule:
    return Rule(POLICIES[name], bands, bands, "one", **options)


def test_a_request_that_tightens_an_unknown_policy_is_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match="unknown policy 'harasment'; did you mean 'harassment'"):
        a_route("default", a_rule()).tightened({"harasment": Bands(block=0.1)})


def test_a_request_cannot_have_dangerous_content_redacted() -> None:
    dangerous = Policy("dangerous_content", guideline=Guideline("in", "out"))
    route = Route("default", (Rule(dangerous, Bands(block=0.9), None, "one"),))
    with pytest.raises(UsageError, match=r"tighten: .*'dangerous_content' is never redacted"):
        route.tightened({"dangerous_content": Bands(redact=0.1)})
    assert route.tightened({"dangerous_content": Bands(block=0.1)})


def test_a_request_says_in_the_key_that_it_decided() -> None:
    route = a_route("default", a_rule(Bands(block=0.9))).tightened({"harassment": Bands(block=0.1)})
    assert [rule.key(Stage.OUTPUT) for rule in route.rules] == ["", "request.harassment"]


def test_two_rules_with_one_scorer_and_policy_ask_once() -> None:
    route = a_route("default", a_rule(Bands(log=0.1)), a_rule(Bands(block=0.9)))
    [ask] = route.plans[Stage.INPUT].asks
    assert [policy.name for policy in ask.policies] == ["harassment"]


@given(routes, routes)
def test_a_route_is_looser_exactly_where_some_violation_is_judged_milder(
    floor: Route, claimed: Route
) -> None:
    floor, claimed = (
        replace(r, rules=tuple(replace(rule, scorer="one") for rule in r.rules))
        for r in (floor, claimed)
    )
    points = {at for r in (*floor.rules, *claimed.rules) for at in _points(r)} | {0.0, 1.0}
    milder = {
        f"{name}.{stage}"
        for name in NAMES
        for stage in Stage
        for at in points
        if _only(claimed, name, stage, at) < _only(floor, name, stage, at)
    }
    assert {found for found in looser_than(floor, claimed) if "." in found} == milder


@pytest.mark.parametrize(
    ("key", "strict", "loose"),
    [
        ("on_error", "fail_closed", "fail_open"),
        ("media", "refuse", "gap"),
        ("max_chars", 10, 20),
        ("judge_system", True, False),
        ("scope", "all", "new"),
        ("history", "block", "redact"),
    ],
)
def test_a_route_is_looser_by_its_other_keys_too(key: str, strict: Any, loose: Any) -> None:
    route = Route("default", ())
    floor, claimed = replace(route, **{key: strict}), replace(route, **{key: loose})

    assert looser_than(floor, claimed) == (key,)
    assert looser_than(claimed, floor) == ()
    assert getattr(tighten(claimed, floor), key) == strict


def _points(rule: Rule) -> list[float]:
    return [at for b in (rule.input, rule.output) if b for _, at in b.thresholds]


def _only(route: Route, name: str, stage: Stage, violation: float) -> Action:
    """What the enforced bands of one policy say."""
    found = [
        bands.judge(violation)[0]
        for rule in route.rules
        if rule.policy.name == name and not rule.shadow and (bands := rule.bands(stage))
    ]
    return max(found, default=Action.ALLOW)


ROUTES = Routes(
    {
        "default": a_route("default", a_rule(Bands(block=0.8))),
        "research": a_route(
            "research",
            match=Match(trusted=(("team", ("research-*", "lab")), ("model", ("gpt-?",)))),
        ),
        "labs": a_route("labs", match=Match(trusted=(("team", ("lab",)),))),
        "kids": a_route(
            "kids", a_rule(Bands(block=0.4)), match=Match(claimed=(("tag", ("kids",)),))
        ),
        "both": a_route(
            "both",
            a_rule(Bands(block=0.3)),
            match=Match((("team", ("lab",)),), (("header.x-mode", ("safe",)),)),
        ),
    }
)


@pytest.mark.parametrize(
    ("trusted", "claimed", "name"),
    [
        ({}, {}, "default"),
        ({"team": "sales"}, {}, "default"),
        ({"team": "research-7", "model": "gpt-4"}, {}, "research"),
        ({"team": "research-7"}, {}, "default"),
        ({"team": "research-7", "model": "gpt-4o"}, {}, "default"),
        ({"team": "lab", "model": "gpt-4"}, {}, "research"),
        ({"team": "lab"}, {}, "labs"),
        ({"team": ["sales", "lab"]}, {}, "labs"),
        ({"team": "LAB"}, {}, "default"),
        ({}, {"tag": "kids"}, "default+kids"),
        ({}, {"tag": ["x", "kids"]}, "default+kids"),
        ({}, {"tag": "adults"}, "default"),
        ({"team": "lab"}, {"tag": "kids"}, "labs+kids"),
        ({"team": "lab"}, {"header.x-mode": "safe"}, "labs+both"),
        ({}, {"header.x-mode": "safe"}, "default"),
        ({"team": "lab"}, {"header.x-mode": "safe", "tag": "kids"}, "labs+kids+both"),
        ({"team": None}, {"user": None}, "default"),
    ],
)
def test_trusted_fields_choose_the_floor_and_claimed_ones_only_add(
    trusted: Any, claimed: Any, name: str
) -> None:
    assert ROUTES.resolve(trusted=trusted, claimed=claimed).name == name
    assert ROUTES.resolve(trusted=trusted.get, claimed=claimed.get).name == name
    assert ROUTES.resolve(trusted=trusted, claimed=claimed.get).name == name


def test_a_function_is_asked_only_for_fields_that_a_route_matches_on() -> None:
    asked: list[str] = []
    ROUTES.resolve(trusted=lambda _: "lab", claimed=asked.append)
    assert set(asked) == {"tag", "header.x-mode"}

    plain = Routes({"default": ROUTES.named("default")})
    assert plain.resolve(trusted=asked.append, claimed=pytest.fail).name == "default"
    with pytest.raises(UsageError, match="unknown route 'kid'"):
        plain.resolve("kid", trusted=asked.append, claimed=pytest.fail)


@pytest.mark.parametrize("value", [7, ["a", 7], {"a": 1}])
def test_a_function_that_finds_no_text_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="tag: text or a list of texts is needed"):
        ROUTES.resolve(trusted={}, claimed=lambda _: value)


def test_a_named_route_is_a_floor_that_claims_still_tighten() -> None:
    assert ROUTES.resolve("labs", trusted={"team": "sales"}).name == "labs"
    assert ROUTES.resolve("labs", claimed={"tag": "kids"}).name == "labs+kids"


def test_where_claims_are_trusted_they_choose_like_trusted_fields() -> None:
    trusting = replace(ROUTES, trust_claims=True)
    assert trusting.resolve(claimed={"tag": "kids"}).name == "kids"


def test_the_same_traffic_gets_the_same_route_object() -> None:
    claimed = {"tag": "kids"}
    assert ROUTES.resolve(claimed=claimed) is ROUTES.resolve(claimed=claimed)


def test_an_unknown_route_is_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown route 'kid'; did you mean 'kids'.* both, def"):
        ROUTES.resolve("kid")


@pytest.mark.parametrize(
    ("trusted", "claimed", "message"),
    [
        ({"tag": "x"}, {}, r"trusted: unknown field 'tag'; .*key_alias, model, path, team"),
        ({}, {"team": "x"}, r"claimed: unknown field 'team'; .*header.NAME, metadata.NAME"),
        ({}, {"header": "x"}, r"claimed: unknown field 'header'"),
        ({}, {"header.": "x"}, r"claimed: unknown field 'header.'"),
        ({}, {"headers.a": "x"}, r"claimed: unknown field 'headers.a'"),
        ({}, {"header.X-Tag": "x"}, "header names are written in lower case"),
        ({"team": 7}, {}, "team: text or a list of texts is needed"),
        ({"team": ["a", 7]}, {}, "team: text or a list of texts is needed"),
        ({}, {"tag": {"a": 1}}, "tag: text or a list of texts is needed"),
        ({}, {"tag": (x for x in "ab")}, "tag: text or a list of texts is needed"),
    ],
)
def test_fields_no_route_can_match_on_are_refused_with_the_allowed(
    trusted: Any, claimed: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ROUTES.resolve(trusted=trusted, claimed=claimed)


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ({"trusted": (("user", ("a",)),)}, "trusted: unknown field 'user'"),
        ({"claimed": (("model", ("a",)),)}, "claimed: unknown field 'model'"),
        ({"claimed": (("header.X-Tag", ("a",)),)}, "'header.X-Tag': header names are written in"),
        ({"trusted": (("team", ()),)}, "team: give at least one pattern"),
    ],
)
def test_a_match_that_could_never_fit_is_refused(match: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Match(**match)


@given(st.dictionaries(st.sampled_from(["model", "team"]), st.text()))
def test_a_pattern_of_stars_matches_whatever_is_given_and_nothing_that_is_not(
    fields: dict[str, str],
) -> None:
    match = Match(trusted=(("model", ("*",)), ("team", ("*",))))
    assert match.covers(fields.get, lambda _: None) == (len(fields) == 2)


@pytest.mark.parametrize(
    ("output", "on_error", "acts"),
    [
        (Bands(log=0.2), "fail_open", False),
        (Bands(log=0.2), "fail_closed", True),
        (Bands(redact=0.5), "fail_open", True),
        (None, "fail_open", False),
    ],
)
def test_a_route_says_whether_it_may_act_on_answers(
    output: Bands | None, on_error: Any, acts: bool
) -> None:
    policy = Policy("one", Bands(block=0.5), output, Guideline("in", "out"))
    rule = Rule(policy, policy.input, policy.output, "fake")

    assert Route("default", (rule,), on_error=on_error).acts_on_answers == acts
