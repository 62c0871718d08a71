"""Bands and a calibration chosen on one part of the rows, and tried on the part held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gemma_guard.calibration import Platt
from gemma_guard.errors import ConfigError, UsageError
from gemma_guard.evaluate.calibrating import fit, margins, probabilities
from gemma_guard.evaluate.conformal import TooFew, shortest
from gemma_guard.evaluate.measures import ENOUGH_VIOLATIONS, REQUEST, AtBand, at_band
from gemma_guard.evaluate.results import UNKNOWN, Codes, Flags, Floats, Run
from gemma_guard.evaluate.rows import Row
from gemma_guard.evaluate.tally import has_both
from gemma_guard.evaluate.targets import FewMisses, Target
from gemma_guard.policy import Bands
from gemma_guard.verdict import Action, Stage


@dataclass(frozen=True, slots=True)
class Chosen:
    """One band: `threshold` was chosen on one part, `held_out` is what it does on the other.

    `missed_at_most` is the conformal promise of a recall target: marginal, for violations drawn
    like those of these rows.
    """

    target: Target
    threshold: float
    held_out: AtBand
    missed_at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Bands for `policies` at one stage. `rows` and `violations` are those chosen by.

    `calibration` is set where the judge had none.
    """

    name: str
    policies: tuple[str, ...]
    stage: Stage
    rows: int
    violations: int
    held_out_rows: int
    held_out_violations: int
    bands: Bands
    chosen: tuple[Chosen, ...]
    calibration: Platt | None

    @property
    def is_indicative(self) -> bool:
        """Whether either part has too few violations for more than a hint."""
        return min(self.violations, self.held_out_violations) < ENOUGH_VIOLATIONS


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no proposal for a policy at a stage, or for one of its bands."""

    name: str
    stage: Stage
    reason: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What to choose by. `prior` is the share of violations in traffic; None: as in the rows.

    `judges` are the names by which rows may say that this judge picked them.
    """

    targets: tuple[Target, ...]
    calibrate: bool
    prior: float | None = None
    judges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """The labelled rows of what gets one set of bands."""

    name: str
    policies: tuple[str, ...]
    stage: Stage
    label: Codes
    violation: Floats
    margin: Floats
    is_held_out: Flags

    def score(self, given: Platt | None) -> Floats:
        """What a guard would say of each row with the map `given`."""
        return self.violation if given is None else probabilities(self.margin, given)


def held_out(rows: Iterable[Row]) -> Flags:
    """Which rows are held out: about half, by a hash, so that equal texts stay on one side."""
    return np.array([_is_odd(row.judged) for row in rows], bool)


def propose(run: Run, is_held_out: Flags, terms: Terms) -> Iterator[Proposal | Refused]:
    """Bands for every judged policy that is labelled, or for all alike where only rows are."""
    for part in _parts(run, is_held_out):
        yield from _proposed(part, run, terms)


def _is_odd(text: str) -> bool:
    written = " ".join(text.split()).encode("utf-8", "surrogatepass")
    return bool(hashlib.blake2b(written, digest_size=1).digest()[0] & 1)


def _parts(run: Run, is_held_out: Flags) -> Iterator[_Part]:
    side = is_held_out[run.number]
    for stage in Stage:
        labelled = {
            policy: run.at(stage) & (run.label[policy] != UNKNOWN)
            for policy in run.policies
            if policy in run.subject.judged and (policy, stage) in run.subject.bands
        }
        by_policy = {policy: rows for policy, rows in labelled.items() if rows.any()}
        for policy, rows in by_policy.items():
            yield _part(run, policy, (policy,), stage, rows, run.label[policy], side)
        together = run.at(stage) & (run.harmful != UNKNOWN)
        if labelled and not by_policy and together.any():
            yield _part(run, REQUEST, tuple(labelled), stage, together, run.harmful, side)


def _part(
    run: Run,
    name: str,
    policies: tuple[str, ...],
    stage: Stage,
    rows: Flags,
    label: Codes,
    side: Flags,
) -> _Part:
    """`rows` with the worst score of `policies`: one map for all of them keeps the order."""
    violation: Floats = np.fmax.reduce([run.violation[p][rows] for p in policies])
    margin: Floats = np.fmax.reduce(
        [margins(run.violation[p][rows], run.margin[p][rows]) for p in policies]
    )
    return _Part(name, policies, stage, label[rows], violation, margin, side[rows])


def _proposed(part: _Part, run: Run, terms: Terms) -> Iterator[Proposal | Refused]:
    label, margin = part.label[~part.is_held_out], part.margin[~part.is_held_out]
    if not (has_both(label) and has_both(part.label[part.is_held_out])):
        lacking = "both halves need violations and rows without one (equal texts stay in one half)"
        yield Refused(part.name, part.stage, lacking)
        return
    prior = terms.prior if terms.prior is not None else float(label.mean())
    try:
        given = fit(label, margin, prior=prior) if terms.calibrate else None
    except UsageError as error:
        yield Refused(part.name, part.stage, str(error))
        return
    chosen: list[Chosen] = []
    for target in sorted(terms.targets, key=lambda each: each.action, reverse=True):
        highest = min((each.threshold for each in chosen), default=1.0)  # of a band less hard
        made = _chosen(part, run, target, given, highest, prior=prior, judges=terms.judges)
        if isinstance(made, Chosen):
            chosen.append(made)
        else:
            yield Refused(part.name, part.stage, f"{target.action} {target.words}: {made}")
    if chosen:
        yield _proposal(part, chosen, given)


def _chosen(
    part: _Part,
    run: Run,
    target: Target,
    given: Platt | None,
    highest: float,
    *,
    prior: float,
    judges: Sequence[str],
) -> Chosen | str:
    """The band, at most `highest`, or why there is none."""
    is_recall = isinstance(target.goal, FewMisses)
    if is_recall and (picked := _picked_by(run, judges)):
        return f"violations were picked by {picked}, the judge itself: it would only find its own"
    score, side = part.score(given), part.is_held_out
    try:
        gap = target.goal.choose(part.label[~side], score[~side], prior=prior)
    except TooFew as few:
        kind = "violations" if is_recall else "rows without a violation"
        return (
            f"too few {kind}: about {2 * few.missing:,} more are needed, as half of them are held"
            " out and not chosen by"
        )
    if gap is None:
        return "no threshold does that on these rows"
    threshold = min(shortest(gap), highest)
    tried = at_band(part.label[side], score[side] >= threshold, target.action, threshold)
    rate = target.goal.rate if isinstance(target.goal, FewMisses) else None
    return Chosen(target, threshold, tried, rate)


def _picked_by(run: Run, judges: Sequence[str]) -> str:
    return next((name for name in run.pickers if name in judges), "")


def _proposal(part: _Part, chosen: Sequence[Chosen], given: Platt | None) -> Proposal:
    label = part.label[~part.is_held_out]
    return Proposal(
        part.name,
        part.policies,
        part.stage,
        len(label),
        int(label.sum()),
        int(part.is_held_out.sum()),
        int(part.label[part.is_held_out].sum()),
        _bands({each.target.action: each.threshold for each in chosen}),
        tuple(chosen),
        given,
    )


def _bands(thresholds: dict[Action, float]) -> Bands:
    try:
        return Bands(**{str(action): threshold for action, threshold in thresholds.items()})
    except ConfigError as error:
        raise UsageError(f"these targets make no bands: {error}") from error
