"""A strictly increasing map from a scorer's margin to a probability, and whose map it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gemma_guard.errors import ConfigError
from gemma_guard.verdict import Score, Stage


@dataclass(frozen=True, slots=True)
class Platt:
    """P(violation) = 1 / (1 + exp(-(slope * margin + bias))); a slope of 1 moves the bias only."""

    slope: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a map that does not rise: it would turn worse texts into better scores."""
        if not (0.0 < self.slope < math.inf and math.isfinite(self.bias)):
            raise ConfigError(f"slope must be positive and bias finite, got {self}")

    def probability(self, margin: float) -> float:
        """In [0, 1]; `margin` is a logit gap and may be infinite."""
        at = self.slope * margin + self.bias
        if at >= 0:
            return 1.0 / (1.0 + math.exp(-at))
        rest = math.exp(at)
        return rest / (1.0 + rest)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The maps of one scorer, by policy and stage. `scorer` is the fingerprint they belong to."""

    scorer: str
    maps: Mapping[tuple[str, Stage], Platt]

    def check(self, fingerprint: str, *, source: str) -> None:
        """Refuse a scorer that this calibration was not made for."""
        if fingerprint != self.scorer:
            raise ConfigError(
                f"{source}: made for the scorer {self.scorer!r}, this one is {fingerprint!r};"
                f" calibrate again"
            )

    def apply(self, score: Score, stage: Stage) -> Score:
        """`score` with its violation calibrated; untouched where there is no map for it."""
        given = self.maps.get((score.policy, stage))
        if given is None:
            return score
        margin = logit(score.violation) if score.margin is None else score.margin
        raw = score.violation if score.raw is None else score.raw
        return replace(score, violation=given.probability(margin), raw=raw)


def logit(probability: float) -> float:
    """The margin that the identity maps to `probability`; infinite at 0 and 1."""
    if probability <= 0.0:
        return -math.inf
    return math.inf if probability >= 1.0 else math.log(probability / (1.0 - probability))
