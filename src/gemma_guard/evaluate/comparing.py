"""Two runs over the same rows: how far apart they are, by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gemma_guard.errors import UsageError
from gemma_guard.evaluate.intervals import Interval
from gemma_guard.evaluate.measures import Group, groups
from gemma_guard.evaluate.results import Codes, Floats, Numbers, Run
from gemma_guard.evaluate.tally import has_both
from gemma_guard.verdict import Stage

_FEWEST, _MOST = 200, 1_000
_EFFORT = 20_000_000  # rows times resamples


@dataclass(frozen=True, slots=True)
class Difference:
    """What the second run has more than the first, of one policy at one stage."""

    policy: str
    stage: Stage
    rows: int
    resamples: int
    au_prc: Interval
    auroc: Interval


def refuse_others(runs: tuple[Run, ...]) -> None:
    """Raise `UsageError` unless all runs are about the same rows."""
    if len({run.subject.rows for run in runs}) > 1:
        raise UsageError("these runs are about different files or columns; compare like with like")


def differences(first: Run, second: Run) -> Iterator[Difference]:
    """By policy and stage, over the rows that both judged; both are drawn with the same rows."""
    others = {(group.policy, group.stage): group for group in groups(second)}
    for group in groups(first):
        other = others.get((group.policy, group.stage))
        if other is not None:
            yield from _difference(group, other)


def _difference(first: Group, second: Group) -> Iterator[Difference]:
    mine, theirs = second.rows[first.rows], first.rows[second.rows]
    label = first.label[mine]
    if not has_both(label):
        return
    both = (_Ranked.of(label, first.score[mine]), _Ranked.of(label, second.score[theirs]))
    resamples = int(np.clip(_EFFORT // len(label), _FEWEST, _MOST))
    drawn = np.array(list(_draws(both, len(label), resamples)))
    whole = np.ones(len(label), np.int64)
    seen = np.subtract(both[1].areas(whole), both[0].areas(whole))
    low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    au_prc, auroc = (Interval(*map(float, ends)) for ends in zip(seen, low, high, strict=True))
    yield Difference(first.policy, first.stage, len(label), resamples, au_prc, auroc)


def _draws(
    both: tuple[_Ranked, _Ranked], rows: int, resamples: int
) -> Iterator[npt.NDArray[np.float64]]:
    draw = np.random.default_rng(0)
    for _ in range(resamples):
        times = np.bincount(draw.integers(rows, size=rows), minlength=rows)
        yield np.subtract(both[1].areas(times), both[0].areas(times))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Rows from the worst score down; `last` are the ends of runs of equal scores."""

    order: Numbers
    is_violation: Codes
    last: Numbers

    @classmethod
    def of(cls, label: Codes, score: Floats) -> _Ranked:
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        return cls(order, label[order], last)

    def areas(self, times: Numbers) -> tuple[float, float]:
        """AU-PRC and AUROC of a sample with each row so many `times`; NaN if it lacks a label."""
        drawn = times[self.order]
        flagged = np.cumsum(drawn)[self.last]
        found = np.cumsum(drawn * self.is_violation)[self.last]
        wrong = flagged - found
        if not (found[-1] and wrong[-1]):
            return float("nan"), float("nan")
        gained = np.diff(found, prepend=0)
        precision = np.divide(found, flagged, out=np.zeros(len(found)), where=flagged > 0)
        middle = found - gained / 2
        auroc = (np.diff(wrong, prepend=0) * middle).sum() / (found[-1] * wrong[-1])
        return float((gained * precision).sum() / found[-1]), float(auroc)
