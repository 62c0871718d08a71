"""What is evaluated: one route of a guard, with the judge it names or another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from gemma_guard import plugins, settings
from gemma_guard.configuration import Settings, Upkeep
from gemma_guard.evaluate.yamledit import set_at
from gemma_guard.guard import Guard
from gemma_guard.policy import Bands
from gemma_guard.route import DEFAULT, Route, Routes
from gemma_guard.schema import dump, read_text
from gemma_guard.verdict import Stage

PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guard with one route, for judging rows: it records and remembers nothing.

    `origin` says where the configuration came from, `text` is that configuration, with the judge
    that was asked for, and `file` the path it was read from, if any. `has_calibration` says whether
    guard.yaml gives the judge one, be it for some policies only.
    """

    guard: Guard
    route: Route
    origin: str
    text: str
    file: Path | None = None
    has_calibration: bool = False

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies of the route."""
        return tuple(rule.policy.name for rule in self.route.rules)

    @property
    def judged(self) -> frozenset[str]:
        """Those that a model judges."""
        return frozenset(r.policy.name for r in self.route.rules if r.policy.kind == "judged")

    @property
    def judges(self) -> tuple[str, ...]:
        """The scorers that judge them."""
        named = [rule.scorer for rule in self.route.rules if rule.policy.kind == "judged"]
        return tuple(dict.fromkeys(named))

    @property
    def bands(self) -> Mapping[tuple[str, Stage], Bands]:
        """The bands of each policy at each stage where it has some."""
        return {
            (rule.policy.name, stage): bands
            for rule in self.route.rules
            for stage in Stage
            if (bands := rule.bands(stage)) is not None
        }


def candidate(
    config: Path | None,
    *,
    scorer: str | None = None,
    route: str | None = None,
    is_raw: bool = False,
    patience_s: float = PATIENCE_S,
) -> Candidate:
    """The route of a guard.yaml, or of what is shipped; `scorer` replaces its judge.

    Without a file, a scorer comes with the pack of its name if there is one. `is_raw` leaves its
    calibration out. A row is waited for `patience_s` whatever the route says: many are asked at
    once, which is the evaluation's doing and not the traffic's.
    """
    text = read_text(config) if config else _shipped(scorer)
    name, origin = route or DEFAULT, str(config) if config else "what is shipped"
    beside = config.parent if config else None
    loaded = settings.loads(text, source=origin, beside=beside)
    if config and scorer and loaded.routes.named(name):
        text = set_at(text, ("routes", name, "scorer"), scorer)
        loaded = settings.loads(text, source=origin, beside=beside)
    alone = _alone(loaded, loaded.routes.named(name), is_raw=is_raw, patience_s=patience_s)
    guard = Guard(alone, sinks=())
    found = guard.routes.named(name)
    return Candidate(guard, found, origin, text, config, bool(alone.calibrations))


def _shipped(scorer: str | None) -> str:
    if scorer is None:
        return dump(yaml.safe_load(settings.SHIPPED))
    pack = scorer if scorer in plugins.available("packs") else "default"
    return dump({"routes": {DEFAULT: {"packs": [pack], "scorer": scorer}}})


def _alone(loaded: Settings, route: Route, *, is_raw: bool, patience_s: float) -> Settings:
    """Only what `route` needs, so that the judges of other routes are not loaded."""
    wanted = {rule.scorer for rule in route.rules}
    wanted |= {route.fallback.scorer} if route.fallback else set()
    patient = replace(route, deadline_s=max(route.deadline_s, patience_s))
    return replace(
        loaded,
        routes=Routes({route.name: patient}),
        scorers={name: spec for name, spec in loaded.scorers.items() if name in wanted},
        calibrations={n: c for n, c in loaded.calibrations.items() if n in wanted and not is_raw},
        records=None,
        upkeep=Upkeep(cache_bytes=0),
    )
