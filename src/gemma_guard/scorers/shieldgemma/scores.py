"""Readings of the model as scores: P(Yes) by the recipe, of the worst window."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gemma_guard.policy import Policy
from gemma_guard.scorers.shieldgemma.engine import Reading
from gemma_guard.verdict import Score
from gemma_guard.windows import Window, worst


def scores(
    policies: Sequence[Policy], cuts: Sequence[Window], readings: Sequence[Sequence[Reading]]
) -> tuple[Score, ...]:
    """One score per policy, from one row of readings per window, in it one per policy."""
    by_policy = zip(policies, zip(*readings, strict=True), strict=True)
    return tuple(
        worst((cut, score(policy, reading)) for cut, reading in zip(cuts, row, strict=True))
        for policy, row in by_policy
    )


def score(policy: Policy, reading: Reading) -> Score:
    """The softmax over both labels, as the recipe has it."""
    margin = reading.yes - reading.no
    probability = 0.5 + 0.5 * math.tanh(margin / 2)
    return Score(policy.name, probability, raw=probability, margin=margin)
