"""How many decisions of each kind, how long they took, what waited for a judge; no text in it."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from gemma_guard.errors import PluginError
from gemma_guard.scorer import Batch
from gemma_guard.verdict import Verdict

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SIZES = tuple(2.0**power for power in range(16))


@dataclass(frozen=True, slots=True)
class Decision:
    """What decisions are counted by. `policy` is empty where none asked for the action."""

    route: str
    stage: str
    action: str
    status: str
    policy: str = ""
    cause: str = ""
    shadow: bool = False
    exempt: str = ""


@dataclass(slots=True)
class Queue:
    """The queue of one scorer. `waits` are by the least of `SECONDS` that was not passed.

    `late` ones left it without being judged. `left` is what the last batch left waiting.
    """

    batches: int = 0
    jobs: int = 0
    tokens: int = 0
    late: int = 0
    left: int = 0
    waits: Counter[float] = field(default_factory=Counter)

    def add(self, batch: Batch) -> None:
        """Count one batch."""
        self.batches += bool(batch.waits_s)
        self.jobs += len(batch.waits_s)
        self.tokens += batch.tokens
        self.late += batch.late
        self.left = batch.left
        self.waits.update(map(_bucket, batch.waits_s))


@dataclass(slots=True)
class Counters:
    """A sink that counts in memory: decisions by `Decision`, queues by scorer."""

    checks: Counter[Decision] = field(default_factory=Counter)
    findings: Counter[Decision] = field(default_factory=Counter)
    gaps: Counter[Decision] = field(default_factory=Counter)
    queues: defaultdict[str, Queue] = field(default_factory=lambda: defaultdict(Queue))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, verdict: Verdict, /) -> None:
        """Count one decision."""
        with self._lock:
            self.checks[_of(verdict)] += 1
            self.findings.update(_findings(verdict))
            self.gaps.update(_gaps(verdict))

    def observe(self, scorer: str, batch: Batch, /) -> None:
        """Count one batch."""
        with self._lock:
            self.queues[scorer].add(batch)


class PrometheusSink:
    """Counters and histograms for Prometheus; needs the package prometheus-client."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Count in `registry`, or in the one of the process; every sink of one counts together."""
        registry = registry or _prometheus().REGISTRY
        self._checks, self._findings, self._gaps, self._seconds = _metrics(registry)
        self._waits, self._jobs, self._tokens, self._late, self._left = _queue_metrics(registry)

    def write(self, verdict: Verdict, /) -> None:
        """Count one decision."""
        whole = _of(verdict)
        by = (whole.route, whole.stage, whole.action, whole.status)
        self._checks.labels(*by).inc()
        self._seconds.labels(*by[:2]).observe(verdict.ms / 1000)
        for found in _findings(verdict):
            labels = by[0], by[1], found.action, by[3], found.policy, found.shadow, found.exempt
            self._findings.labels(*labels).inc()
        for gap in _gaps(verdict):
            self._gaps.labels(*by, gap.policy, gap.cause).inc()

    def observe(self, scorer: str, batch: Batch, /) -> None:
        """Count one batch."""
        for waited_s in batch.waits_s:
            self._waits.labels(scorer).observe(waited_s)
        if batch.waits_s:
            self._jobs.labels(scorer).observe(len(batch.waits_s))
            self._tokens.labels(scorer).observe(batch.tokens)
        self._late.labels(scorer).inc(batch.late)
        self._left.labels(scorer).set(batch.left)


@cache  # a name can be registered once, and a reload makes another sink
def _metrics(registry: CollectorRegistry) -> tuple[Any, Any, Any, Any]:
    library = _prometheus()
    options: dict[str, Any] = {"registry": registry}
    by = ["route", "stage", "action", "status"]
    checks = library.Counter("gemma_guard_checks", "Decisions", by, **options)
    findings = library.Counter(
        "gemma_guard_findings", "Policies at a band", [*by, "policy", "shadow", "exempt"], **options
    )
    gaps = library.Counter(
        "gemma_guard_gaps", "What was not judged", [*by, "policy", "cause"], **options
    )
    seconds = library.Histogram(
        "gemma_guard_check_seconds", "How long a check took", by[:2], buckets=SECONDS, **options
    )
    return checks, findings, gaps, seconds


@cache
def _queue_metrics(registry: CollectorRegistry) -> tuple[Any, Any, Any, Any, Any]:
    library = _prometheus()
    by, options = ["scorer"], {"registry": registry}
    return (
        library.Histogram(
            "gemma_guard_queue_seconds", "How long it waited", by, buckets=SECONDS, **options
        ),
        library.Histogram(
            "gemma_guard_batch_jobs", "What runs at once", by, buckets=SIZES[:8], **options
        ),
        library.Histogram(
            "gemma_guard_batch_tokens", "Tokens of it", by, buckets=SIZES[4:], **options
        ),
        library.Counter("gemma_guard_queue_late", "Past its deadline in the queue", by, **options),
        library.Gauge("gemma_guard_queue_jobs", "Left waiting by the last batch", by, **options),
    )


def _bucket(waited_s: float) -> float:
    return next((limit for limit in SECONDS if waited_s <= limit), math.inf)


def _of(verdict: Verdict) -> Decision:
    return Decision(verdict.route, str(verdict.stage), str(verdict.action), verdict.status)


def _findings(verdict: Verdict) -> Iterator[Decision]:
    for found in verdict.findings:
        yield Decision(
            verdict.route,
            str(verdict.stage),
            str(found.action),
            verdict.status,
            policy=found.policy,
            shadow=found.shadow,
            exempt=found.exempt,
        )


def _gaps(verdict: Verdict) -> Iterator[Decision]:
    for gap in verdict.gaps:
        yield Decision(
            verdict.route,
            str(verdict.stage),
            str(verdict.action),
            verdict.status,
            policy=gap.policy or "",
            cause=gap.cause,
        )


def _prometheus() -> Any:
    try:
        import prometheus_client  # noqa: PLC0415  an extra
    except ModuleNotFoundError as missing:
        raise PluginError(
            "counting for Prometheus needs the package prometheus-client, which is not installed;"
            " try: pip install 'gemma-guard[prometheus]'"
        ) from missing
    return prometheus_client
