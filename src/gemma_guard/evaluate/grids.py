"""A run as grids of words, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gemma_guard.evaluate import figures
from gemma_guard.evaluate.comparing import Difference
from gemma_guard.evaluate.intervals import Interval
from gemma_guard.evaluate.measures import (
    ENOUGH_VIOLATIONS,
    RATES,
    REQUEST,
    AtBand,
    Measures,
    Slice,
    latency,
    measures,
    slices,
)
from gemma_guard.evaluate.recalls import rows_needed
from gemma_guard.evaluate.results import Run
from gemma_guard.verdict import Action, Stage

NOTES = (
    "Caught: logged, redacted or blocked. Intervals are at 95 %. Best F1 chooses its threshold on"
    " these very rows: optimistic. Off by: the mean distance of violations from shares of"
    " violations, at the mix of these rows. Rows short: so many more without a violation are needed"
    " to tell."
)

PAIRED = (
    "Differences over the rows that both judged, with 95 % intervals of a paired bootstrap: both"
    " runs are drawn with the same rows. An interval that holds 0 tells neither apart."
)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table whose first column says what each row is about."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def at_stage(run: Run, stage: Stage) -> Iterator[Grid]:
    """Everything there is to say of one stage; nothing where no row is labelled there."""
    found = [each for each in measures(run) if each.stage is stage]
    if found:
        yield areas(found)
        yield recalls(found)
        yield at_bands(found)
        yield expected(found)
        yield by_slice([each for each in slices(run) if each.stage is stage])


def warnings(run: Run) -> Iterator[str]:
    """What a reader must know of the figures."""
    found = measures(run)
    if not found:
        yield "No labelled row was judged."
    if any(each.is_indicative for each in found):
        yield f"* fewer than {ENOUGH_VIOLATIONS} violations: indicative only."


def headline(run: Run) -> Iterator[str]:
    """What was judged by what, and what was not."""
    subject = run.subject
    yield f"{subject.judge}, route {subject.route} of {subject.origin}"
    yield f"{', '.join(subject.files)}: {len(run):,} rows, {int(run.is_judged.sum()):,} judged"
    for cause, rows in sorted(run.causes.items()):
        yield f"not judged, and in no figure: {rows:,} row{'' if rows == 1 else 's'}: {cause}"
    if subject.unvalidated:
        yield f"unvalidated, for want of a calibration: {figures.gathered(subject.unvalidated)}"
    if subject.unread:
        yield f"labels not read, as no policy here is called so: {', '.join(subject.unread)}"
    took = latency(run)
    speed = f"{took['rows_per_s']:,.0f} rows a second, " if run.seconds else ""
    at_once = f", {run.concurrency} at once" if run.concurrency else ""
    yield (
        f"{speed}a check took {took['p50_ms']:.1f} ms (p50), {took['p95_ms']:.1f} (p95),"
        f" {took['p99_ms']:.1f} (p99){at_once}"
    )


def areas(found: Iterable[Measures]) -> Grid:
    """How well each policy ranks, whatever its bands."""
    head = ("policy", "rows", "violations", "AU-PRC", "AUROC", "best F1", "off by")
    return Grid(head, tuple(_area(each) for each in found))


def _area(each: Measures) -> tuple[str, ...]:
    return (
        _name(each),
        f"{each.rows:,}",
        f"{each.violations:,}",
        figures.area(each.au_prc),
        figures.area(each.auroc),
        f"{each.best_f1.value:.3f}" if each.best_f1 else figures.NONE,
        f"{each.calibrated.error:.3f}" if each.calibrated else figures.NONE,
    )


def recalls(found: Iterable[Measures]) -> Grid:
    """What a threshold with so many false alarms would catch."""
    head = ("recall at false alarms of", *(figures.percent(rate) for rate in RATES))
    return Grid(
        head,
        tuple(
            (_name(each), *(_recall(each, rate, r) for rate, r in each.recall_at)) for each in found
        ),
    )


def _recall(each: Measures, rate: float, recall: Interval | None) -> str:
    if recall is not None:
        return figures.share(recall)
    return f"{rows_needed(rate) - (each.rows - each.violations):,} rows short"


def at_bands(found: Iterable[Measures]) -> Grid:
    """What each band does."""
    head = ("at or above the band", "action", "from", "recall", "precision", "false alarms")
    return Grid(head, tuple(_band(each, band) for each in found for band in each.bands))


def _band(each: Measures, band: AtBand) -> tuple[str, ...]:
    return (
        _name(each),
        str(band.action),
        figures.NONE if band.threshold is None else f"{band.threshold:g}",
        figures.share(band.recall),
        figures.share(band.precision),
        figures.share(band.false_alarms),
    )


def expected(found: Iterable[Measures]) -> Grid:
    """What 10,000 requests would bring, if some of them were violations like those seen here."""
    blocks = (band for each in found if each.policy == REQUEST for band in each.bands)
    return Grid(
        ("of 10,000 requests, if", "wrong blocks", "violations not blocked"),
        tuple(
            (
                f"{figures.percent(row.prevalence)} violate",
                figures.count(row.wrong),
                figures.count(row.missed),
            )
            for band in blocks
            if band.action is Action.BLOCK
            for row in band.expected
        ),
    )


def by_slice(found: Iterable[Slice]) -> Grid:
    """Where it is good and where it is not."""
    head = ("requests", "rows", "violations", "caught", "blocked")
    return Grid(
        (*head, "wrongly caught", "wrongly blocked"),
        tuple(
            (
                each.name,
                f"{each.rows:,}",
                f"{each.violations:,}",
                figures.share(each.caught),
                figures.share(each.blocked),
                figures.share(each.wrongly_caught),
                figures.share(each.wrongly_blocked),
            )
            for each in found
        ),
    )


def differences(name: str, found: Iterable[Difference]) -> Grid:
    """How far two runs are apart."""
    rows = (
        (
            f"{each.policy}, {each.stage}",
            f"{each.rows:,}",
            figures.difference(each.au_prc),
            figures.difference(each.auroc),
            f"{each.resamples:,}",
        )
        for each in found
    )
    return Grid((name, "rows", "AU-PRC", "AUROC", "resamples"), tuple(rows))


def _name(each: Measures) -> str:
    return each.policy + (" *" if each.is_indicative else "")
