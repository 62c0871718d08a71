"""Labelled scores, counted: what figures that ask only for the order of scores are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gemma_guard.evaluate.results import Codes, Flags, Floats, Numbers


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of the same label and score once, with how many they are: often far fewer.

    Violations first, then rows without one, the scores of each ascending.
    """

    label: Codes
    score: Floats
    rows: Numbers

    @classmethod
    def of(cls, label: Codes, score: Floats, among: Flags | bool = True) -> Tally:  # noqa: FBT001, FBT002  all rows or some
        """The figures of a tally are those of its rows."""
        found, hits = _counted(score[(label == 1) & among])
        clean, others = _counted(score[(label == 0) & among])
        labels = np.repeat(np.array([1, 0], np.int8), (len(found), len(clean)))
        return cls(labels, np.concatenate((found, clean)), np.concatenate((hits, others)))

    def standard_error(self, influence: Floats) -> float:
        """Of a figure that each row moves by its `influence`."""
        apart = influence - np.average(influence, weights=self.rows)
        variance = np.average(apart * apart, weights=self.rows)
        return math.sqrt(variance / self.rows.sum())

    def part(self, label: int) -> tuple[Floats, Numbers]:
        """Scores and counts of the rows with this label."""
        among = self.label == label
        return self.score[among], self.rows[among]

    def rows_of(self, label: int) -> int:
        """How many rows have this label."""
        return int(self.rows[self.label == label].sum())

    @property
    def rarer(self) -> int:
        """How many rows have the label that fewer have; 0: there is nothing to tell apart."""
        return min(self.rows_of(0), self.rows_of(1))


def has_both(label: Codes) -> bool:
    """Whether there are violations and rows without one."""
    return bool((label == 1).any() and (label == 0).any())


def _counted(scores: Floats) -> tuple[Floats, Numbers]:
    """Each of `scores` once, ascending, and how many there are; sorts them where they are."""
    scores.sort()
    is_new = np.append(np.ones(min(1, len(scores)), bool), scores[1:] != scores[:-1])
    first = np.flatnonzero(is_new)
    return scores[first], np.diff(first, append=len(scores))
