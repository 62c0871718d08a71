"""A configuration in service: its scorers and sinks, and the checks that run under it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from gemma_guard import panel
from gemma_guard.cache import ScoreCache
from gemma_guard.configuration import Settings, Upkeep
from gemma_guard.counters import PrometheusSink
from gemma_guard.errors import ConfigError, PluginError, UsageError
from gemma_guard.panel import Panel
from gemma_guard.policy import Bands
from gemma_guard.records import JsonLinesSink, LoggerSink, QueueSink, Sink, logger
from gemma_guard.route import Route
from gemma_guard.scorer import Batch, Queued, Scorer
from gemma_guard.seat import Seat
from gemma_guard.verdict import Gap, Stage


@dataclass(eq=False, slots=True)
class Service:
    """Begun by every check, so that what a reload replaces is closed after its last one."""

    settings: Settings
    panel: Panel
    sinks: tuple[Sink, ...]
    fingerprint: str
    _mapped: Mapping[str, Collection[tuple[str, Stage]]]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: int = 0
    _is_over: bool = False
    _drained: Future[None] | None = None

    def begin(self) -> bool:
        """Whether a check begins under this configuration; none does once it is being replaced."""
        with self._lock:
            if self._is_over:
                return False
            self._running += 1
        return True

    def __enter__(self) -> Self:
        """What `begin` began."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        with self._lock:
            self._running -= 1
            if self._drained and not self._running and not self._drained.done():
                self._drained.set_result(None)

    def unvalidated(self, route: Route, stage: Stage, gaps: Iterable[Gap] = ()) -> tuple[str, ...]:
        """The policies that their judge, or who judged in `gaps`, has no calibration for."""
        if not self._mapped:
            return ()
        names: list[str] = []
        for ask in route.plans[stage].asks:
            names += self.doubtful(ask.scorer, ask.names, stage)
        for gap in gaps:
            names += self.doubtful(gap.judged_by, (gap.policy,), stage) if gap.policy else ()
        return tuple(dict.fromkeys(names))

    def doubtful(self, scorer: str | None, policies: Sequence[str], stage: Stage) -> Sequence[str]:
        """Those of `policies` whose scores by `scorer` are not known to mean what they say."""
        mapped = self._mapped.get(scorer) if scorer else None
        if mapped is None:
            return ()
        return [p for p in policies if (p, stage) not in mapped] if mapped else policies

    def tightened(self, route: Route, bands: Mapping[str, Bands]) -> Route:
        """`route` with the bands of a request; its scorers must be able to judge what they ask."""
        tightened = route.tightened(bands)
        try:
            panel.check_judges(tightened, {n: s.scorer for n, s in self.panel.seats.items()})
        except ConfigError as error:  # one question that fails would leave all of them open
            raise UsageError(f"tighten: {error}") from error
        return tightened

    def observe(self) -> None:
        """Have the scorers' queues told to the sinks of this service, and to no other's."""
        for name, seat in self.panel.seats.items():
            if isinstance(seat.scorer, Queued):
                seat.scorer.observed_by(partial(_tell, self.sinks, name))

    async def drained(self) -> None:
        """Let no new check begin, and wait for the last one."""
        with self._lock:
            self._is_over = True
            if not self._running:
                return
            self._drained = self._drained or Future()
        await asyncio.shield(asyncio.wrap_future(self._drained))

    async def aclose(self, *, sparing: Service | None = None) -> None:
        """Close what no service but this one uses."""
        await self.panel.aclose(sparing=sparing.panel.seats.values() if sparing else ())
        close(self.sinks, sparing=sparing.sinks if sparing else ())


def cache_of(upkeep: Upkeep) -> ScoreCache | None:
    """The cache that `upkeep` asks for."""
    if not upkeep.cache_bytes:
        return None
    return ScoreCache(max_bytes=upkeep.cache_bytes, ttl_s=upkeep.cache_ttl_s)


def sinks_of(settings: Settings) -> list[Sink]:
    """Where `settings` want decisions kept, beside the logger."""
    file = [JsonLinesSink(settings.records)] if settings.records else []
    counters = [PrometheusSink()] if settings.upkeep.prometheus else []
    return [LoggerSink(), *file, *counters]


def same_sinks(one: Settings, other: Settings) -> bool:
    """Whether both want decisions kept in the same places."""
    return (one.records, one.upkeep.prometheus) == (other.records, other.upkeep.prometheus)


def close(sinks: Iterable[Sink], *, sparing: Collection[Sink] = ()) -> None:
    """Close the files among `sinks`, but for those `sparing`."""
    for sink in sinks:
        if isinstance(sink, JsonLinesSink) and sink not in sparing:
            sink.close()


def make(
    settings: Settings,
    *,
    given: Mapping[str, Scorer],
    sinks: Iterable[Sink],
    cache: ScoreCache | None,
    before: Service | None = None,
) -> Service:
    """The service that `settings` describe; scorers made alike `before` are kept.

    Raises `ConfigError` where a scorer cannot be loaded, or cannot judge what it is asked about.
    """
    try:
        seats = _seats(settings, given, before)
        scorers = {name: seat.scorer for name, seat in seats.items()}
        for route in settings.routes.routes.values():
            panel.check_judges(route, scorers)
        for name, (source, calibration) in settings.calibrations.items():
            calibration.check(seats[name].scorer.fingerprint, source=source)
    except (ConfigError, PluginError) as error:
        where = f"{settings.source}: " if settings.source else ""
        raise ConfigError(f"{where}{error}") from error
    calibrations = {name: made for name, (_, made) in settings.calibrations.items()}
    members = Panel(seats, calibrations, cache)
    mapped = {name: members.mapped(name) for name in seats if not members.is_exact(name)}
    return Service(settings, members, tuple(sinks), _fingerprint(settings, members), mapped)


def _tell(sinks: Iterable[Sink], scorer: str, batch: Batch) -> None:
    for sink in sinks:
        try:
            if isinstance(sink, QueueSink):
                sink.observe(scorer, batch)
        except Exception:  # noqa: BLE001  a sink that breaks must not stop the scoring, nor go unseen
            logger.exception("a batch of %s was not recorded by %r", scorer, sink)


def _seats(
    settings: Settings, given: Mapping[str, Scorer], before: Service | None
) -> dict[str, Seat]:
    seats = dict(before.panel.seats) if before else {}
    known = before.settings.scorers if before else {}
    for name, scorer in given.items():
        seats.setdefault(name, Seat(scorer))
    specs = settings.scorers
    missing = {n: spec for n, spec in specs.items() if n not in given and known.get(n) != spec}
    seats |= {name: Seat(scorer) for name, scorer in panel.load(missing).items()}
    return {name: seats[name] for name in dict.fromkeys((*settings.scorers, *given))}


def _fingerprint(settings: Settings, members: Panel) -> str:
    parts = "\0".join((settings.fingerprint, *members.fingerprints))
    return hashlib.sha256(parts.encode()).hexdigest()[:12]
