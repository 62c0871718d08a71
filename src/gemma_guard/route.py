"""Which policies, bands and failure rule apply to which traffic."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

from gemma_guard import exemption
from gemma_guard.conversation import Scope
from gemma_guard.errors import ConfigError, UsageError, unknown
from gemma_guard.exemption import Exemption, Phrases, phrases_of
from gemma_guard.pacing import Pacing, stricter
from gemma_guard.policy import Bands, Policy
from gemma_guard.verdict import Stage

DEFAULT = "default"
REQUEST = "request"  # where the bands of a single request come from
TRUSTED_FIELDS = ("model", "key_alias", "team", "path")
CLAIMED_FIELDS = ("tag", "user")
CLAIMED_FAMILIES = ("header", "metadata")

OnError: TypeAlias = Literal["fail_closed", "fail_open"]
Media: TypeAlias = Literal["refuse", "gap"]
History: TypeAlias = Literal["redact", "block"]
Words: TypeAlias = str | Collection[str] | None
Fields: TypeAlias = Mapping[str, Words]
Lookup: TypeAlias = Callable[[str], Words]
"""Finds a field by its name; asked for those only that a route matches on."""


@dataclass(frozen=True, slots=True)
class Match:
    """Traffic by field: each field must match one of its patterns (`*` and `?` as in shells)."""

    trusted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    claimed: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would never match, in silence: fields no adapter hands over, no pattern."""
        check_fields(dict(self.trusted), dict(self.claimed), error=ConfigError)
        for name, patterns in (*self.trusted, *self.claimed):
            if not patterns:
                raise ConfigError(f"{name}: give at least one pattern; * matches everything")

    def covers(self, trusted: Lookup, claimed: Lookup) -> bool:
        """Whether traffic with these fields is meant."""
        return all(_fits(trusted(f), p) for f, p in self.trusted) and all(
            _fits(claimed(f), p) for f, p in self.claimed
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy on one route. `key` is where its bands are written, for `show`."""

    policy: Policy
    input: Bands | None
    output: Bands | None
    scorer: str
    shadow: bool = False
    input_key: str = ""
    output_key: str = ""
    route: str = DEFAULT

    def bands(self, stage: Stage) -> Bands | None:
        """The bands at `stage`; None if the policy is not checked there."""
        return self.input if stage is Stage.INPUT else self.output

    def key(self, stage: Stage) -> str:
        """Where the bands of `stage` are written."""
        return self.input_key if stage is Stage.INPUT else self.output_key


@dataclass(frozen=True, slots=True)
class Fallback:
    """The scorer that is asked when a route's own cannot answer, with bands of its own if any."""

    scorer: str
    bands: Mapping[tuple[str, Stage], Bands] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Route:
    """What applies to some traffic; `deadline_s` in seconds, `max_chars` per request."""

    name: str
    rules: tuple[Rule, ...]
    match: Match = field(default_factory=Match)
    on_error: OnError = "fail_closed"
    fallback: Fallback | None = None
    deadline_s: float = 5.0
    refusal: str = "This was blocked by a content policy."
    media: Media = "refuse"
    max_chars: int = 200_000
    judge_system: bool = False
    scope: Scope = "all"
    history: History = "redact"
    exemptions: tuple[Exemption, ...] = ()
    hash_key: str = ""
    pacing: Pacing = field(default_factory=Pacing)
    placeholder: str = "[redacted: {policy}]"

    def __post_init__(self) -> None:
        """Refuse to judge a stream when it is out, where that could be too late."""
        if self.pacing.mode == "after" and (why := self._may_stop_answers()):
            raise ConfigError(
                f"routes.{self.name}.stream.mode: 'after' only looks on, and {why};"
                " use window or buffer"
            )

    @property
    def acts_on_answers(self) -> bool:
        """Whether an answer may be redacted or blocked: it must be judged before it is out."""
        return bool(self._may_stop_answers())

    def _may_stop_answers(self) -> str:
        for rule in self.rules:
            if rule.output and rule.output.enforces and not rule.shadow:
                return f"policy {rule.policy.name!r} redacts or blocks answers here"
        if self.on_error == "fail_closed" or self.fallback:
            return "a judge that fails would block answers here (on_error is not fail_open)"
        return ""

    def exemptions_for(self, rule: Rule) -> tuple[Exemption, ...]:
        """The exceptions that hold today for what `rule` finds."""
        today = exemption.today()
        return tuple(e for e in self.exemptions if e.is_about(rule.policy.name, rule.route, today))

    def phrases(self) -> Collection[Phrases]:
        """What the exceptions of each rule name today: one rule's phrases are not another's."""
        if not self.exemptions:
            return ()
        found = (phrases_of(self.exemptions_for(rule)) for rule in self.rules)
        return dict.fromkeys(phrases for phrases in found if phrases)

    def fallback_bands(self, rule: Rule, stage: Stage) -> Bands | None:
        """The bands for what the fallback says; None to use those of `rule`, as for a request's."""
        if self.fallback is None or rule.route == REQUEST:
            return None
        return self.fallback.bands.get((rule.policy.name, stage))

    @cached_property
    def plans(self) -> Mapping[Stage, Plan]:
        """Who is asked what, by stage."""
        return {stage: _plan(self.rules, stage) for stage in Stage}

    def tightened(self, bands: Mapping[str, Bands]) -> Route:
        """This route with `bands` of a single request added: never milder, policy by policy."""
        known = {rule.policy.name for rule in self.rules}
        for name in bands:
            if name not in known:
                raise UsageError(unknown("policy", name, known))
        extra = [
            replace(
                _redactable(rule, bands[rule.policy.name]),
                input=bands[rule.policy.name],
                output=bands[rule.policy.name],
                shadow=False,
                input_key=f"request.{rule.policy.name}",
                output_key=f"request.{rule.policy.name}",
                route=REQUEST,
            )
            for rule in self.rules
            if rule.policy.name in bands
        ]
        return _held(self, rules=(*self.rules, *extra))


@dataclass(frozen=True, slots=True)
class Ask:
    """What one scorer is asked about every text of a stage."""

    scorer: str
    policies: tuple[Policy, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of one stage. Each rule's score is `answers[ask][policy]` of its two indexes.

    `lowest` is where the first band of each policy begins; empty unless one judge is asked for all.
    """

    asks: tuple[Ask, ...]
    rules: tuple[tuple[Rule, Bands, int, int], ...]
    lowest: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Routes:
    """Every route of a configuration, in the order written; `default` takes what no other does."""

    routes: Mapping[str, Route]
    trust_claims: bool = False

    def resolve(
        self,
        name: str | None = None,
        *,
        trusted: Fields | Lookup | None = None,
        claimed: Fields | Lookup | None = None,
    ) -> Route:
        """The route for traffic: the first trusted match, tightened by every claimed match.

        `name` sets the floor instead of a match. Raises `UsageError` for an unknown name or field.
        """
        if not trusted and not claimed:
            return self.named(name) if name else self._default
        if not (callable(trusted) and callable(claimed)):
            check_fields(_given(trusted), _given(claimed), error=UsageError)
        if not (self._on_trust or self._on_claims):
            return self.named(name) if name else self._default
        trust, claim = _lookup(trusted), _lookup(claimed)
        floor = self.named(name) if name else self._floor(trust, claim)
        stricter = tuple([r for r in self._on_claims if r.match.covers(trust, claim)])
        return _tighten_all(floor, stricter) if stricter else floor

    def named(self, name: str) -> Route:
        """The route called `name`; raises `UsageError`."""
        try:
            return self.routes[name]
        except KeyError:
            raise UsageError(unknown("route", name, self.routes)) from None

    def _floor(self, trusted: Lookup, claimed: Lookup) -> Route:
        for route in self._on_trust:
            if route.match.covers(trusted, claimed):
                return route
        return self._default

    @cached_property
    def _default(self) -> Route:
        return self.named(DEFAULT)

    @cached_property
    def _on_trust(self) -> tuple[Route, ...]:
        given = (r for r in self.routes.values() if r.match.trusted or r.match.claimed)
        return tuple(r for r in given if self.trust_claims or not r.match.claimed)

    @cached_property
    def _on_claims(self) -> tuple[Route, ...]:
        return tuple(r for r in self.routes.values() if r.match.claimed and not self.trust_claims)


def tighten(floor: Route, claimed: Route) -> Route:
    """The pointwise maximum of both: each policy acts as the stricter of the two would.

    So does a judge's failure: of two different fallbacks none is asked, and `on_error` decides.
    """
    rules = (*floor.rules, *(rule for rule in claimed.rules if rule not in floor.rules))
    return _held(
        floor,
        pacing=stricter(floor.pacing, claimed.pacing),
        name=f"{floor.name}+{claimed.name}",
        rules=rules,
        on_error=claimed.on_error if claimed.on_error == "fail_closed" else floor.on_error,
        fallback=_stricter_fallback(floor, claimed),
        media=claimed.media if claimed.media == "refuse" else floor.media,
        max_chars=min(floor.max_chars, claimed.max_chars),
        judge_system=floor.judge_system or claimed.judge_system,
        scope=claimed.scope if claimed.scope == "all" else floor.scope,
        history=claimed.history if claimed.history == "block" else floor.history,
    )


def _held(route: Route, **changes: Any) -> Route:
    """`route` with `changes`, its streams held in windows if they were not held so far."""
    pacing = changes.pop("pacing", route.pacing)
    if pacing.mode == "after":
        pacing = replace(pacing, mode="window")
    return replace(route, pacing=pacing, **changes)


def _stricter_fallback(floor: Route, claimed: Route) -> Fallback | None:
    """Asking a fallback is stricter than failing open, and milder than failing closed."""
    if floor.fallback == claimed.fallback:
        return floor.fallback
    if floor.fallback is None and floor.on_error == "fail_open":
        return claimed.fallback
    if claimed.fallback is None and claimed.on_error == "fail_open":
        return floor.fallback
    return None


def _redactable(rule: Rule, bands: Bands) -> Rule:
    """`rule`, unless its policy is never redacted and `bands` would."""
    try:
        replace(rule.policy, input=bands, output=bands)
    except ConfigError as error:
        raise UsageError(f"tighten: {error}") from error
    return rule


def looser_than(floor: Route, claimed: Route) -> tuple[str, ...]:
    """The policies, with their stage, and the keys, in which `claimed` is milder than `floor`."""
    policies = (
        f"{rule.policy.name}.{stage}"
        for rule in floor.rules
        for stage in Stage
        if not rule.shadow and _milder(rule, claimed, stage)
    )
    both = tighten(claimed, floor)
    keys = (key for key in _TIGHTENED if getattr(both, key) != getattr(claimed, key))
    return (*policies, *keys)


_TIGHTENED = ("on_error", "media", "max_chars", "judge_system", "scope", "history")


def check_fields(
    trusted: Fields, claimed: Fields, *, error: type[UsageError | ConfigError]
) -> None:
    """Refuse fields that no route can match on."""
    for name in trusted:
        if name not in TRUSTED_FIELDS:
            raise error(f"trusted: {unknown('field', name, TRUSTED_FIELDS)}")
    for name in claimed:
        family, _, rest = name.partition(".")
        if name not in CLAIMED_FIELDS and not (family in CLAIMED_FAMILIES and rest):
            allowed = (*CLAIMED_FIELDS, *(f"{family}.NAME" for family in CLAIMED_FAMILIES))
            raise error(f"claimed: {unknown('field', name, allowed)}")
        if family == "header" and rest != rest.lower():
            raise error(f"claimed: {name!r}: header names are written in lower case")
    for name, value in (*trusted.items(), *claimed.items()):
        _check_text(name, value, error)


def _given(fields: Fields | Lookup | None) -> Fields:
    """The fields that are known before anyone asks for them."""
    return {} if fields is None or callable(fields) else fields


def _lookup(fields: Fields | Lookup | None) -> Lookup:
    if not callable(fields):
        return _given(fields).get

    def found(name: str) -> Words:
        value = fields(name)
        _check_text(name, value, UsageError)
        return value

    return found


def _check_text(name: str, value: object, error: type[UsageError | ConfigError]) -> None:
    if not _is_text(value):
        raise error(f"{name}: text or a list of texts is needed")


def _is_text(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(isinstance(each, str) for each in value)
    return value is None or isinstance(value, str)


@lru_cache(maxsize=1024)
def _tighten_all(floor: Route, stricter: tuple[Route, ...]) -> Route:
    for route in stricter:
        floor = tighten(floor, route)
    return floor


def _plan(rules: tuple[Rule, ...], stage: Stage) -> Plan:
    asks: dict[str, dict[Policy, int]] = {}
    placed = []
    for rule in rules:
        if (bands := rule.bands(stage)) is not None:
            policies = asks.setdefault(rule.scorer, {})
            place = policies.setdefault(rule.policy, len(policies))
            placed.append((rule, bands, list(asks).index(rule.scorer), place))
    each = tuple(_ask(name, tuple(policies)) for name, policies in asks.items())
    return Plan(each, tuple(placed), _lowest(each, placed))


def _lowest(
    asks: Sequence[Ask], placed: Iterable[tuple[Rule, Bands, int, int]]
) -> tuple[float, ...]:
    if len(asks) != 1 or asks[0].policies[0].patterns:
        return ()
    found = [math.inf] * len(asks[0].policies)
    for _, bands, _, place in placed:
        found[place] = min(found[place], bands.lowest)
    return tuple(found)


def _ask(scorer: str, policies: tuple[Policy, ...]) -> Ask:
    return Ask(scorer, policies, tuple(policy.name for policy in policies))


def _milder(rule: Rule, other: Route, stage: Stage) -> bool:
    ours = rule.bands(stage)
    theirs = [
        bands
        for r in other.rules
        if r.policy.name == rule.policy.name and not r.shadow and (bands := r.bands(stage))
    ]
    points = [at for _, at in ours.thresholds] if ours else []
    return any(
        max((bands.judge(at)[0] for bands in theirs), default=0) < ours.judge(at)[0]
        for at in points
        if ours
    )


def _fits(value: Words, patterns: tuple[str, ...]) -> bool:
    if value is None:
        return False
    values = (value,) if isinstance(value, str) else value
    return any(fnmatchcase(v, pattern) for v in values for pattern in patterns)
