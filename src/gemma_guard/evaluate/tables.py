"""A run as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table

from gemma_guard.evaluate import figures
from gemma_guard.evaluate.measures import (
    ENOUGH_VIOLATIONS,
    RATES,
    REQUEST,
    Measures,
    Slice,
    latency,
    measures,
    slices,
)
from gemma_guard.evaluate.results import Run
from gemma_guard.verdict import Action, Stage

NOTES = (
    "Caught: logged, redacted or blocked. Intervals are at 95 %. Best F1 chooses its threshold on"
    " these very rows: optimistic. Off by: the mean distance of violations from shares of"
    " violations, at the mix of these rows."
)


def report(run: Run) -> Iterator[RenderableType]:
    """Everything that `eval` prints of a run."""
    found, kinds = measures(run), slices(run)
    yield from headline(run)
    for stage in Stage:
        mine = [each for each in found if each.stage is stage]
        if mine:
            yield f"\n[bold]{stage}[/]"
            yield from _stage(mine, [each for each in kinds if each.stage is stage])
    if not found:
        yield "no labelled row was judged"
    if any(each.is_indicative for each in found):
        yield f"* fewer than {ENOUGH_VIOLATIONS} violations: indicative only"
    yield NOTES


def _stage(found: Sequence[Measures], kinds: Sequence[Slice]) -> Iterator[Table]:
    yield areas(found)
    yield recalls(found)
    yield at_bands(found)
    yield expected(found)
    yield by_slice(kinds)


def headline(run: Run) -> Iterator[str]:
    """What was judged by what, and what was not."""
    subject = run.subject
    yield f"{subject.judge}, route {subject.route} of {subject.origin}"
    yield f"{', '.join(subject.files)}: {len(run):,} rows, {int(run.is_judged.sum()):,} judged"
    for cause, rows in sorted(run.causes.items()):
        yield f"not judged, and in no figure: {rows:,} rows: {cause}"
    if subject.unvalidated:
        yield f"unvalidated: {', '.join(subject.unvalidated)} has no calibration"
    took = latency(run)
    speed = f"{took['rows_per_s']:,.0f} rows a second, " if run.seconds else ""
    yield (
        f"{speed}a check took {took['p50_ms']:.1f} ms (p50), {took['p95_ms']:.1f} (p95),"
        f" {took['p99_ms']:.1f} (p99), {run.concurrency} at once"
    )


def areas(found: Iterable[Measures]) -> Table:
    """How well each policy ranks, whatever its bands."""
    table = _table("policy", "rows", "violations", "AU-PRC", "AUROC", "best F1", "off by")
    for each in found:
        table.add_row(
            _name(each),
            f"{each.rows:,}",
            f"{each.violations:,}",
            figures.area(each.au_prc),
            figures.area(each.auroc),
            f"{each.best_f1.value:.3f}" if each.best_f1 else figures.NONE,
            f"{each.calibrated.error:.3f}" if each.calibrated else figures.NONE,
        )
    return table


def recalls(found: Iterable[Measures]) -> Table:
    """What a threshold with so many false alarms would catch."""
    table = _table("recall at false alarms of", *(figures.percent(rate) for rate in RATES))
    for each in found:
        table.add_row(_name(each), *(figures.recall(rate, r) for rate, r in each.recall_at))
    return table


def at_bands(found: Iterable[Measures]) -> Table:
    """What each band does."""
    table = _table("at or above the band", "", "from", "recall", "precision", "false alarms")
    for each in found:
        for band in each.bands:
            table.add_row(
                _name(each),
                str(band.action),
                figures.NONE if band.threshold is None else f"{band.threshold:g}",
                figures.share(band.recall),
                figures.share(band.precision),
                figures.share(band.false_alarms),
            )
    return table


def expected(found: Iterable[Measures]) -> Table:
    """What 10,000 requests would bring, if some of them were violations like those seen here."""
    table = _table("of 10,000 requests, if", "wrong blocks", "violations not blocked")
    for each in found:
        for band in each.bands if each.policy == REQUEST else ():
            for row in band.expected if band.action is Action.BLOCK else ():
                violate = f"{figures.percent(row.prevalence)} violate"
                table.add_row(violate, figures.count(row.wrong), figures.count(row.missed))
    return table


def by_slice(found: Iterable[Slice]) -> Table:
    """Where it is good and where it is not."""
    table = _table("requests", "rows", "violations", "caught", "blocked")
    for name in ("wrongly caught", "wrongly blocked"):
        table.add_column(name, justify="right")
    for each in found:
        table.add_row(
            each.name,
            f"{each.rows:,}",
            f"{each.violations:,}",
            figures.share(each.caught),
            figures.share(each.blocked),
            figures.share(each.wrongly_caught),
            figures.share(each.wrongly_blocked),
        )
    return table


def _table(first: str, *names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    return table


def _name(each: Measures) -> str:
    return each.policy + (" *" if each.is_indicative else "")
