"""A run → its figures: per policy and stage, per request, per slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise

import numpy as np
from sklearn.metrics import brier_score_loss

from gemma_guard.evaluate import curves
from gemma_guard.evaluate.intervals import Interval, counted
from gemma_guard.evaluate.recalls import recall_at
from gemma_guard.evaluate.results import UNKNOWN, Codes, Flags, Floats, Run
from gemma_guard.evaluate.spilled import AT_ONCE
from gemma_guard.evaluate.tally import Tally
from gemma_guard.verdict import Action, Stage

REQUEST = "any policy"
RATES = (0.001, 0.01, 0.05)
PREVALENCES = (0.001, 0.01, 0.05)
ENOUGH_VIOLATIONS = 100
MOST_SOURCES = 30
LENGTHS = (100, 400, 1_600, 6_400)
_BINS = 10


@dataclass(frozen=True, slots=True)
class Expected:
    """What 10,000 requests would bring if a share `prevalence` of them were violations."""

    prevalence: float
    wrong: Interval
    missed: Interval


@dataclass(frozen=True, slots=True)
class AtBand:
    """What an action or a harder one does. `threshold` is None for a whole request."""

    action: Action
    threshold: float | None
    recall: Interval
    precision: Interval
    false_alarms: Interval
    expected: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How far violations are from shares of violations, at the mix of these rows.

    `error` is the mean distance over ten bins, weighted by rows; `bins` holds the mean violation
    and the share of violations of each bin that is not empty.
    """

    brier: float
    error: float
    bins: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """The figures of one policy at one stage, or of whole requests."""

    policy: str
    stage: Stage
    rows: int
    violations: int
    au_prc: Interval
    auroc: Interval
    best_f1: curves.BestF1 | None
    recall_at: tuple[tuple[float, Interval | None], ...]
    bands: tuple[AtBand, ...]
    calibrated: Calibrated | None

    @property
    def is_indicative(self) -> bool:
        """Whether there are too few violations for more than a hint."""
        return self.violations < ENOUGH_VIOLATIONS


@dataclass(frozen=True, slots=True)
class Slice:
    """Requests of one kind: which share of violations is logged or worse, and blocked."""

    name: str
    stage: Stage
    rows: int
    violations: int
    auroc: Interval
    caught: Interval
    blocked: Interval
    wrongly_caught: Interval
    wrongly_blocked: Interval


@dataclass(frozen=True, slots=True)
class Group:
    """The labelled rows of one policy at one stage: what curves are drawn from."""

    policy: str
    stage: Stage
    rows: Flags
    label: Codes
    score: Floats


def groups(run: Run) -> Iterator[Group]:
    """Whole requests first, then each policy, at each stage where something is labelled."""
    for stage in Stage:
        if not run.at(stage).any():
            continue
        yield from _group(run, REQUEST, stage, run.harmful, run.request())
        for policy in run.policies:
            yield from _group(run, policy, stage, run.label[policy], run.violation[policy])


def _group(run: Run, policy: str, stage: Stage, label: Codes, score: Floats) -> Iterator[Group]:
    rows = run.at(stage) & (label != UNKNOWN) & ~np.isnan(score)
    label, score = label[rows], score[rows]  # lets go of all others
    if len(label):
        yield Group(policy, stage, rows, label, score)


def measures(run: Run) -> tuple[Measures, ...]:
    """The figures of every group; `map` lets go of one before the next is read."""
    return tuple(map(partial(_measures, run), groups(run)))


def _measures(run: Run, group: Group) -> Measures:
    tally = Tally.of(group.label, group.score)
    return Measures(
        group.policy,
        group.stage,
        len(group.label),
        tally.rows_of(1),
        curves.au_prc(tally),
        curves.auroc(tally),
        curves.best_f1(tally),
        tuple((rate, recall_at(tally, rate)) for rate in RATES),
        tuple(at_bands(run, group)),
        None if group.policy == REQUEST else calibrated(group.label, group.score),
    )


def at_bands(run: Run, group: Group) -> Iterator[AtBand]:
    """One policy by its own bands, a request by what the guard did with it."""
    if group.policy == REQUEST:
        done = run.action[group.rows]
        for action in (Action.LOG, Action.REDACT, Action.BLOCK):
            if (done == action).any() or action is Action.BLOCK:
                yield at_band(group.label, done >= action, action)
        return
    bands = run.subject.bands.get((group.policy, group.stage))
    for action, threshold in bands.thresholds if bands else ():
        yield at_band(group.label, group.score >= threshold, action, threshold)


def at_band(label: Codes, reached: Flags, action: Action, threshold: float | None = None) -> AtBand:
    """What flagging the rows that `reached` a band makes of `label`."""
    found, wrong = int((reached & (label == 1)).sum()), int((reached & (label == 0)).sum())
    recall, alarms = counted(found, int(label.sum())), counted(wrong, int((label == 0).sum()))
    return AtBand(
        action,
        threshold,
        recall,
        counted(found, found + wrong),
        alarms,
        tuple(_expected(prevalence, recall, alarms) for prevalence in PREVALENCES),
    )


def _expected(prevalence: float, recall: Interval, alarms: Interval) -> Expected:
    missed = Interval(1 - recall.value, 1 - recall.high, 1 - recall.low)
    return Expected(
        prevalence, alarms.scaled(10_000 * (1 - prevalence)), missed.scaled(10_000 * prevalence)
    )


def calibrated(label: Codes, score: Floats) -> Calibrated:
    """Violations against what people said, in ten bins of equal width."""
    edges, sums, brier = np.linspace(0, 1, _BINS + 1)[1:-1], np.zeros((3, _BINS)), 0.0
    for start in range(0, len(label), AT_ONCE):
        some = label[start : start + AT_ONCE], score[start : start + AT_ONCE]
        place = np.searchsorted(edges, some[1])
        sums += [np.bincount(place, each, _BINS) for each in (np.ones(len(place)), *some)]
        brier += (float(brier_score_loss(*some)) - brier) * (len(place) / sums[0].sum())
    rows, violations, scores = sums[:, sums[0] > 0]
    shares, means = violations / rows, scores / rows
    error = float(np.average(np.abs(shares - means), weights=rows))
    return Calibrated(brier, error, tuple(zip(means.tolist(), shares.tolist(), strict=True)))


def slices(run: Run) -> tuple[Slice, ...]:
    """Requests by source, the largest first and at most thirty, and by length in characters."""
    return tuple(_slices(run))


def _slices(run: Run) -> Iterator[Slice]:
    request = np.nan_to_num(run.request(), copy=False)
    for stage in Stage:
        labelled = run.at(stage) & (run.harmful != UNKNOWN)
        for name, rows in chain(_by_source(run, labelled), _by_length(run, labelled)):
            yield _slice(run, name, stage, rows, request)


def _by_source(run: Run, labelled: Flags) -> Iterator[tuple[str, Flags]]:
    source = run.source
    sizes = np.bincount(source[labelled], minlength=len(run.sources))
    for code in np.argsort(-sizes, kind="stable")[:MOST_SOURCES]:
        if sizes[code]:
            yield run.sources[code], labelled & (source == code)


def _by_length(run: Run, labelled: Flags) -> Iterator[tuple[str, Flags]]:
    length, place = run.length, np.zeros(len(run), np.int8)
    for least in LENGTHS:
        place += length >= least
    for i, name in enumerate(_length_names()):
        if (labelled & (place == i)).any():
            yield name, labelled & (place == i)


def _length_names() -> Iterator[str]:
    yield f"under {LENGTHS[0]:,} chars"
    for low, high in pairwise(LENGTHS):
        yield f"{low:,} to {high:,} chars"
    yield f"{LENGTHS[-1]:,} chars and more"


def _slice(run: Run, name: str, stage: Stage, rows: Flags, request: Floats) -> Slice:
    label, done = run.harmful[rows], run.action[rows]
    caught = at_band(label, done >= Action.LOG, Action.LOG)
    blocked = at_band(label, done >= Action.BLOCK, Action.BLOCK)
    return Slice(
        name,
        stage,
        len(label),
        int(label.sum()),
        curves.auroc(Tally.of(run.harmful, request, rows)),
        caught.recall,
        blocked.recall,
        caught.false_alarms,
        blocked.false_alarms,
    )


def latency(run: Run) -> Mapping[str, float]:
    """Milliseconds of a check at the concurrency of the run, and rows a second if it was timed."""
    p50, p95, p99 = (float(q) for q in np.percentile(run.ms, (50, 95, 99)))
    rate = len(run) / run.seconds if run.seconds else float("nan")
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "rows_per_s": rate}
