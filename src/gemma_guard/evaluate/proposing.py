"""Rows on disk → proposals, and what a person reads of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import RenderableType

from gemma_guard.errors import UsageError
from gemma_guard.evaluate import figures, grids
from gemma_guard.evaluate.candidates import Candidate
from gemma_guard.evaluate.evaluating import Order, Progress, evaluate
from gemma_guard.evaluate.grids import Grid
from gemma_guard.evaluate.measures import ENOUGH_VIOLATIONS
from gemma_guard.evaluate.rows import read
from gemma_guard.evaluate.tables import table
from gemma_guard.evaluate.targets import Target, parse
from gemma_guard.evaluate.tuning import Chosen, Proposal, Refused, Terms, held_out
from gemma_guard.evaluate.tuning import propose as proposals_of

PROMISE = (
    "Missed at most: a conformal bound on the share of violations not caught. It is marginal, on"
    " average over violations drawn like those in these rows, at their mix; it promises nothing for"
    " one kind of violation, nor for other traffic."
)


@dataclass(frozen=True, slots=True)
class Proposed:
    """What is proposed and what is not. `rows` is the digest of what it was chosen by.

    `fingerprint` is the judge's, `prior` the share of violations that was reckoned with, in words,
    `headline` what was judged by what.
    """

    proposals: tuple[Proposal, ...]
    refused: tuple[Refused, ...]
    rows: str
    fingerprint: str
    prior: str
    headline: tuple[str, ...] = ()


def targets(given: Iterable[str]) -> tuple[Target, ...]:
    """Targets as written on the command line; raises `UsageError`."""
    found = tuple(parse(each) for each in given)
    if len({target.action for target in found}) < len(found):
        raise UsageError("--target: one for each action")
    return found


async def propose(
    candidate: Candidate,
    order: Order,
    targets: tuple[Target, ...],
    prior: float | None,
    progress: Progress,
) -> Proposed:
    """Judge the rows, choose by one half, try on the other."""
    health = await candidate.guard.health()
    run = await evaluate(candidate, order, progress)
    names = {name for one in health for name in (one.scorer, one.fingerprint)}
    needs_map = not candidate.has_calibration and any(one.unvalidated for one in health)
    terms = Terms(targets, needs_map, prior, tuple(names))
    made = tuple(proposals_of(run, held_out(read(order.paths, order.columns)), terms))
    return Proposed(
        tuple(each for each in made if isinstance(each, Proposal)),
        tuple(each for each in made if isinstance(each, Refused)),
        run.subject.rows,
        ", ".join(one.fingerprint for one in health),
        "as in the rows" if prior is None else f"{prior:g}",
        tuple(grids.headline(run)),
    )


def report(proposed: Proposed) -> Iterator[RenderableType]:
    """What `tune` prints before the difference."""
    yield from proposed.headline
    yield ""
    if proposed.proposals:
        yield table(_grid(proposed.proposals))
    for each in proposed.refused:
        yield f"no band for {each.name} at {each.stage}: {each.reason}"
    if any(each.is_indicative for each in proposed.proposals):
        yield f"* fewer than {ENOUGH_VIOLATIONS} violations in a half: indicative only"
    if any(one.missed_at_most for each in proposed.proposals for one in each.chosen):
        yield PROMISE
    if proposed.proposals:
        yield "Chosen by one half of the rows; recall and false alarms are those of the other half."
    for made in proposed.proposals:
        yield (
            f"{made.name} at {made.stage}: chosen by {made.violations:,} violations of"
            f" {made.rows:,} rows, tried on {made.held_out_violations:,} of {made.held_out_rows:,}"
        )


def _grid(proposals: Iterable[Proposal]) -> Grid:
    head = ("policy", "stage", "band", "from", "chosen by", "recall", "false alarms")
    return Grid(
        (*head, "missed at most"),
        tuple(_row(each, one) for each in proposals for one in each.chosen),
    )


def _row(proposal: Proposal, one: Chosen) -> tuple[str, ...]:
    return (
        proposal.name + (" *" if proposal.is_indicative else ""),
        str(proposal.stage),
        str(one.target.action),
        f"{one.threshold:g}",
        one.target.words,
        figures.share(one.held_out.recall),
        figures.share(one.held_out.false_alarms),
        figures.percent(round(one.missed_at_most, 6)) if one.missed_at_most else figures.NONE,
    )
