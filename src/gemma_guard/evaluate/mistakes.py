"""The rows a guard got most wrong, with their text: for a terminal, never kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gemma_guard.evaluate.results import Run
from gemma_guard.evaluate.rows import Columns, Row, read
from gemma_guard.verdict import Action

WORST = 5


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that was blocked for nothing, or a violation that passed."""

    row: Row = field(repr=False)
    violation: float
    action: Action
    is_missed: bool

    @property
    def heading(self) -> str:
        """What went wrong, without the text."""
        missed = "missed" if self.action is Action.ALLOW else "not blocked"
        kind = missed if self.is_missed else "false alarm"
        at = f"{self.violation:.3f}, {self.action}, row {self.row.number + 1}"
        return f"{kind} ({at}, {self.row.source})"


def worst(run: Run, paths: Sequence[Path], columns: Columns) -> Iterator[Mistake]:
    """The surest false alarms, then the surest misses; the files are read once more."""
    violation = run.request()
    alarms = _first(run, (run.harmful == 0) & (run.action > Action.ALLOW), -violation)
    missed = _first(run, (run.harmful == 1) & (run.action < Action.BLOCK), violation)
    texts = {row.number: row for row in read(paths, columns) if row.number in {*alarms, *missed}}
    for number, place in (*alarms.items(), *missed.items()):
        action = Action(int(run.action[place]))
        yield Mistake(texts[number], float(violation[place]), action, number in missed)


def _first(run: Run, rows: np.ndarray, key: np.ndarray) -> dict[int, int]:
    """Row number → place in the run of the first few of `rows` by `key`."""
    places = np.flatnonzero(rows & run.is_judged & ~np.isnan(key))
    chosen = places[np.argsort(key[places], kind="stable")][:WORST]
    return {int(run.number[place]): int(place) for place in chosen}
