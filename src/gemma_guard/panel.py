"""The scorers of a guard: made by name, opened together, asked with what is known already."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from gemma_guard import plugins
from gemma_guard.cache import ScoreCache
from gemma_guard.calibration import Calibration
from gemma_guard.configuration import PATTERN_SCORER, ScorerSpec
from gemma_guard.errors import Cause, ConfigError, ScoringError, TextRefused, unknown
from gemma_guard.route import Ask, Route
from gemma_guard.scorer import Priority, Probe, Scorer
from gemma_guard.seat import Seat
from gemma_guard.verdict import Score, Stage


@dataclass(frozen=True, slots=True)
class Silence:
    """A scorer that did not answer. `reason` holds no judged text."""

    cause: Cause
    reason: str


Answer: TypeAlias = Sequence[tuple[Score, ...]] | Silence


@dataclass(frozen=True, slots=True)
class Panel:
    """Every scorer a configuration names, with the calibrations it gives them."""

    seats: Mapping[str, Seat]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    cache: ScoreCache | None = None

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What the scorers say of themselves, in order of their names."""
        return tuple(f"{name}={self.seats[name].scorer.fingerprint}" for name in sorted(self.seats))

    def is_exact(self, name: str) -> bool:
        """Whether all scores of `name` mean what they say by nature."""
        return bool(getattr(self.seats[name].scorer, "is_calibrated", False))

    def mapped(self, name: str) -> Collection[tuple[str, Stage]]:
        """The policies and stages whose scores by `name` are calibrated here."""
        return self.calibrations[name].maps if name in self.calibrations else ()

    async def open(self) -> None:
        """Open every scorer."""
        for seat in self.seats.values():
            await seat.open()

    async def aclose(self, *, sparing: Iterable[Seat] = ()) -> None:
        """Close every scorer but those `sparing`; asking again raises `NotServing`."""
        spared = set(sparing)
        for seat in self.seats.values():
            if seat not in spared:
                await seat.aclose()

    async def ask(
        self,
        name: str,
        probes: Sequence[Probe],
        deadline: float,
        *,
        tenant: str = "",
        priority: Priority = Priority.LIVE,
    ) -> Answer:
        """What the scorer called `name` answers by `deadline`, or why it does not."""
        seat = self.seats[name]
        asking = partial(seat.ask, deadline=deadline, priority=priority)
        try:
            if self.cache is None or name == PATTERN_SCORER:
                answer = await asking(probes)
            else:
                mark = seat.scorer.fingerprint
                answer = await self.cache.scores(
                    probes, asking, fingerprint=mark, deadline=deadline, tenant=tenant
                )
        except (ScoringError, TextRefused) as silent:
            return Silence(silent.cause, f"{name}: {silent}")
        calibration = self.calibrations.get(name)
        return _calibrated(answer, probes, calibration) if calibration else answer

    def preparing(self, route: Route, stage: Stage) -> list[Ask]:
        """What `route` asks of scorers that gain by reading beforehand."""
        return [ask for ask in route.plans[stage].asks if self.seats[ask.scorer].prepares]

    def known(self, name: str, probe: Probe) -> tuple[Score, ...] | None:
        """What the scorer `name` would say, if all of it is known without asking.

        It counts as a hit; whoever makes no use of it says so by `unused`.
        """
        if self.cache is None:
            return None
        mark = self.seats[name].scorer.fingerprint
        scores = self.cache.known(probe, fingerprint=mark, tenant=probe.tenant)
        calibration = self.calibrations.get(name)
        if scores is None or calibration is None:
            return scores
        return _calibrated([scores], [probe], calibration)[0]

    def unused(self, scores: tuple[Score, ...]) -> None:
        """What was `known` is asked for again."""
        if self.cache is not None:
            self.cache.unused(scores)


def _calibrated(
    answer: Sequence[tuple[Score, ...]], probes: Sequence[Probe], calibration: Calibration
) -> list[tuple[Score, ...]]:
    return [
        tuple([calibration.apply(score, probe.stage) for score in scores])
        for scores, probe in zip(answer, probes, strict=True)
    ]


def load(specs: Mapping[str, ScorerSpec]) -> dict[str, Scorer]:
    """The scorers that `specs` names; raises `ConfigError` or `PluginError`."""
    return {name: _make(name, spec) for name, spec in specs.items()}


def check_judges(route: Route, scorers: Mapping[str, Scorer]) -> None:
    """Refuse a route that asks a scorer about a policy it cannot judge."""
    for stage in Stage:
        for ask in route.plans[stage].asks:
            for name in _asked(ask, route):
                _check(route.name, stage, ask, name, scorers)


def _asked(ask: Ask, route: Route) -> tuple[str, ...]:
    if route.fallback is None or ask.policies[0].patterns:
        return (ask.scorer,)
    return (ask.scorer, route.fallback.scorer)


def _check(route: str, stage: Stage, ask: Ask, name: str, scorers: Mapping[str, Scorer]) -> None:
    for policy in ask.policies:
        if not scorers[name].judges(policy, stage):
            raise ConfigError(
                f"routes.{route}: scorer {name!r} cannot judge policy {policy.name!r} at {stage}"
            )


def _make(name: str, spec: ScorerSpec) -> Scorer:
    factory = plugins.load("scorers", spec.type)
    _check_options(name, factory, spec.options)
    try:
        scorer = factory(**spec.options)
    except Exception as error:  # a scorer's constructor may raise anything
        raise ConfigError(f"scorers.{name}: {type(error).__name__}: {error}") from error
    if not isinstance(scorer, Scorer):
        raise ConfigError(f"scorers.{name}: {spec.type!r} made no scorer")
    return scorer


def _check_options(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    allowed = [parameter.name for parameter in parameters]
    for option in options:
        if option not in allowed:
            raise ConfigError(f"scorers.{name}: {unknown('option', option, allowed)}")
