"""guard.yaml resolved: routes with their rules, scorers to load, a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemma_guard import plugins
from gemma_guard.calibration import Calibration
from gemma_guard.configuration import (
    DEFAULT_SCORER,
    PACKS_OF,
    PATTERN_SCORER,
    ScorerSpec,
    Settings,
)
from gemma_guard.errors import ConfigError, unknown
from gemma_guard.exemption import HASH_KEY_BYTES, Exemption
from gemma_guard.guardfile import (
    CalibrationFile,
    FallbackFile,
    GuardFile,
    OverrideFile,
    RouteFile,
    ScorerFile,
)
from gemma_guard.packs import PolicyPack, find, stage_bands
from gemma_guard.policy import Policy
from gemma_guard.route import (
    DEFAULT,
    Match,
    Route,
    Routes,
    Rule,
    looser_than,
)
from gemma_guard.schema import (
    parse,
    read_text,
)

SHIPPED = "routes: {default: {packs: [lite], scorer: lite}}"


def load(path: str | Path) -> Settings:
    """The settings in the file at `path`; raises `ConfigError` with file, key, allowed values."""
    path = Path(path)
    return loads(read_text(path), source=str(path), beside=path.parent)


def loads(text: str, *, source: str = "guard.yaml", beside: Path | None = None) -> Settings:
    """The settings that `text` describes; packs and records are looked for `beside` it."""
    beside = beside or Path()
    written = parse(GuardFile, text, source=source)
    try:
        return _resolve(written, source=source, beside=beside)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _resolve(written: GuardFile, *, source: str, beside: Path) -> Settings:
    if DEFAULT not in written.routes:
        raise ConfigError(
            f"routes: a route called {DEFAULT!r} is needed; it takes all other traffic"
        )
    if written.routes[DEFAULT].match:
        raise ConfigError(f"routes.{DEFAULT}.match: {DEFAULT!r} takes all other traffic, unmatched")
    packs = _Packs(beside)
    exemptions = _exemptions(written)
    made = {name: _route(name, written.routes, packs) for name in written.routes}
    routes = Routes(
        {
            name: replace(route, exemptions=exemptions, hash_key=written.hash_key)
            for name, route in made.items()
        },
        written.trust_claims,
    )
    _check_names(exemptions, routes)
    if not written.trust_claims:
        _refuse_looser_claims(routes)
    calibrations = _calibrations(written, beside)
    jsonl = written.records.jsonl
    return Settings(
        routes,
        _scorers(written, routes),
        beside / jsonl if jsonl else None,
        source,
        _digest(
            written.model_dump_json(),
            *(repr(replace(pack, source="", files=())) for pack in packs.loaded.values()),
            *(repr(calibration) for _, calibration in calibrations.values()),
        ),
        calibrations,
        exemptions,
        written.upkeep(),
        _files(source, packs, calibrations),
    )


def _exemptions(written: GuardFile) -> tuple[Exemption, ...]:
    if any(entry.text for entry in written.exceptions) and not written.hash_key:
        raise ConfigError("hash_key: needed for a text in exceptions; see gemma-guard hash --help")
    if (size := len(written.hash_key.encode())) > HASH_KEY_BYTES:
        raise ConfigError(f"hash_key: at most {HASH_KEY_BYTES} bytes, got {size}")
    return tuple(e.build(f"exceptions.{i}") for i, e in enumerate(written.exceptions))


def _check_names(exemptions: tuple[Exemption, ...], routes: Routes) -> None:
    policies = {rule.policy.name for route in routes.routes.values() for rule in route.rules}
    for exemption in exemptions:
        for policy in exemption.policies - policies:
            raise ConfigError(f"{exemption.key}.policies: {unknown('policy', policy, policies)}")
        for route in exemption.routes - set(routes.routes):
            raise ConfigError(f"{exemption.key}.routes: {unknown('route', route, routes.routes)}")


def _calibrations(written: GuardFile, beside: Path) -> dict[str, tuple[str, Calibration]]:
    return {
        name: (str(path), parse(CalibrationFile, read_text(path), source=str(path)).build())
        for name, entry in written.scorers.items()
        if entry.calibration
        for path in [beside / entry.calibration]
    }


def _files(
    source: str, packs: _Packs, calibrations: Mapping[str, tuple[str, Calibration]]
) -> tuple[Path, ...]:
    found = [Path(source), *(f for pack in packs.loaded.values() for f in pack.files)]
    return tuple(dict.fromkeys([*found, *(Path(path) for path, _ in calibrations.values())]))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class _Packs:
    """The packs of one file, each read once."""

    def __init__(self, beside: Path) -> None:
        self._beside = beside
        self.loaded: dict[str, PolicyPack] = {}

    def find(self, name: str) -> PolicyPack:
        if name not in self.loaded:
            self.loaded[name] = find(name, beside=self._beside)
        return self.loaded[name]


def _lineage(name: str, routes: Mapping[str, RouteFile]) -> list[str]:
    """The route and those it extends, itself last."""
    line: list[str] = []
    step: str | None = name
    while step is not None:
        if step in line:
            circle = " -> ".join([*line, step])
            raise ConfigError(f"routes.{name}.extends: {circle} is a circle")
        line.append(step)
        above = routes[step].extends
        if above is not None and above not in routes:
            raise ConfigError(f"routes.{step}.extends: {unknown('route', above, routes)}")
        step = above
    return line[::-1]


def _route(name: str, routes: Mapping[str, RouteFile], packs: _Packs) -> Route:
    lineage = _lineage(name, routes)
    merged = _merged([routes[step] for step in lineage])
    rules = {rule.policy.name: rule for rule in _pack_rules(name, merged, packs)}
    enabled: dict[str, bool] = {}
    for key, policy, override in _overrides(lineage, routes):
        if policy not in rules:
            raise ConfigError(f"{key}: {unknown('policy', policy, rules)}")
        rules[policy] = _overridden(rules[policy], override, key)
        if override.enabled is not None:
            enabled[policy] = override.enabled
    kept = tuple(rule for policy, rule in rules.items() if enabled.get(policy, True))
    for rule in kept:
        if rule.input is None and rule.output is None:
            raise ConfigError(
                f"routes.{name}: policy {rule.policy.name!r} would never be checked: give it bands"
                " or actions at a stage, or enabled: false"
            )
    return _built(name, routes[name], merged, kept)


def _overrides(
    lineage: list[str], routes: Mapping[str, RouteFile]
) -> list[tuple[str, str, OverrideFile]]:
    """Every change of a policy, with its key, since the packs were last named.

    A route with packs of its own starts from those: what the route above it changed was meant for
    the packs up there, and could loosen a stricter pack.
    """
    naming = [i for i, step in enumerate(lineage) if routes[step].packs is not None]
    return [
        (f"routes.{step}.policies.{policy}", policy, override)
        for step in lineage[naming[-1] if naming else 0 :]
        for policy, override in routes[step].policies.items()
    ]


def _merged(lineage: list[RouteFile]) -> dict[str, Any]:
    """The plain keys of a route; the nearest route that gives one decides."""
    merged: dict[str, Any] = {"scorer": DEFAULT_SCORER}
    for route in lineage:
        given = {key: getattr(route, key) for key in RouteFile.model_fields}
        merged |= {key: value for key, value in given.items() if value is not None}
    return {"packs": PACKS_OF.get(merged["scorer"], ("default",)), **merged}


def _pack_rules(name: str, merged: Mapping[str, Any], packs: _Packs) -> list[Rule]:
    rules: dict[str, Rule] = {}
    for pack in _found(name, merged["packs"], packs):
        for policy in pack.policies:
            twin = rules.get(policy.name)
            if twin and twin.policy != policy:
                raise ConfigError(
                    f"routes.{name}.packs: two packs have a policy called {policy.name!r}"
                )
            rules[policy.name] = _rule(policy, pack, merged["scorer"], route=name)
    return list(rules.values())


def _found(name: str, wanted: Iterable[str], packs: _Packs) -> list[PolicyPack]:
    try:
        return [packs.find(pack) for pack in wanted]
    except ConfigError as error:
        raise ConfigError(f"routes.{name}.packs: {error}") from error


def _rule(policy: Policy, pack: PolicyPack, scorer: str, *, route: str) -> Rule:
    bands = "bands" if policy.kind == "judged" else "actions"
    key = f"{pack.source or pack.name}: policies.{policy.name}.{bands}"
    return Rule(
        policy,
        policy.input,
        policy.output,
        PATTERN_SCORER if policy.kind == "pattern" else scorer,
        input_key=f"{key}.input",
        output_key=f"{key}.output",
        route=route,
    )


def _overridden(rule: Rule, override: OverrideFile, key: str) -> Rule:
    written = "bands" if rule.policy.kind == "judged" else "actions"
    other = {"bands": "actions", "actions": "bands"}[written]
    if getattr(override, other) is not None:
        raise ConfigError(f"{key}.{other}: a {rule.policy.kind} policy has {written}")
    changes: dict[str, Any] = {}
    for stage, bands in stage_bands(override.bands, override.actions).items():
        changes |= {stage: bands, f"{stage}_key": f"{key}.{written}.{stage}"}
    given: dict[str, Any] = {s: changes[s] for s in ("input", "output") if s in changes}
    try:
        replace(rule.policy, **given)  # refuses bands that this policy never has
    except ConfigError as error:
        raise ConfigError(f"{key}.{written}: {error}") from error
    if override.shadow is not None:
        changes["shadow"] = override.shadow
    return replace(rule, **changes)


def _built(name: str, own: RouteFile, merged: Mapping[str, Any], rules: tuple[Rule, ...]) -> Route:
    plain = ("refusal", "media", "max_chars", "judge_system", "scope", "history", "placeholder")
    given = {key: merged[key] for key in plain if key in merged}
    if "deadline_ms" in merged:
        given["deadline_s"] = merged["deadline_ms"] / 1000
    if "stream" in merged:
        given["pacing"] = merged["stream"].build()
    on_error = merged.get("on_error", "fail_closed")
    if isinstance(on_error, FallbackFile):
        given |= {"fallback": on_error.build()}
    else:
        given |= {"on_error": on_error}
    return Route(name, rules, own.match.build() if own.match else Match(), **given)


def _refuse_looser_claims(routes: Routes) -> None:
    for name, route in routes.routes.items():
        looser = route.match.claimed and looser_than(routes.routes[DEFAULT], route)
        if looser:
            raise ConfigError(
                f"routes.{name}.match.claimed: callers choose this route themselves, yet it is"
                f" looser than 'default' for {', '.join(looser)}; make it as strict, match on"
                f" trusted fields, or set trust_claims: true"
            )


def _scorers(written: GuardFile, routes: Routes) -> dict[str, ScorerSpec]:
    specs = {name: _spec(_checked(name, entry)) for name, entry in written.scorers.items()}
    if PATTERN_SCORER in specs:
        raise ConfigError(f"scorers.{PATTERN_SCORER}: this name is taken")
    wanted = dict(_wanted(routes))
    installed = plugins.available("scorers")
    for name, key in wanted.items():
        if name not in specs and name not in installed:
            raise ConfigError(f"{key}: {plugins.missing('scorers', name, beside=specs)}")
    return {name: specs.get(name, ScorerSpec(name)) for name in sorted(wanted)}


def _wanted(routes: Routes) -> Iterator[tuple[str, str]]:
    """Every scorer that a route asks, with the key that names it."""
    for route in routes.routes.values():
        if route.fallback:
            yield route.fallback.scorer, f"routes.{route.name}.on_error.fallback"
        yield from ((rule.scorer, f"routes.{route.name}.scorer") for rule in route.rules)


def _checked(name: str, entry: ScorerFile) -> ScorerFile:
    if entry.type not in plugins.available("scorers"):
        raise ConfigError(f"scorers.{name}.type: {plugins.missing('scorers', entry.type)}")
    return entry


def _spec(entry: ScorerFile) -> ScorerSpec:
    return ScorerSpec(entry.type, dict(entry.model_extra or {}))
