"""What a band is asked to achieve, as one writes it, and the threshold that does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gemma_guard.errors import UsageError
from gemma_guard.evaluate.conformal import Gap, alarms_at_most, missing_at_most
from gemma_guard.evaluate.results import Codes, Floats
from gemma_guard.verdict import Action

HOW = 'use "fpr<=0.001", "recall>=0.95" or "cost fp=1 fn=20", with "log:" or "redact:" before it'
_NUMBER = r"(\d*\.?\d+)"


class Goal(Protocol):
    """What is to be achieved."""

    def choose(self, label: Codes, score: Floats, /, *, prior: float) -> Gap | None:
        """Thresholds that achieve it on these rows; None if none does. May raise `TooFew`."""


@dataclass(frozen=True, slots=True)
class FewAlarms:
    """At most this share of rows without a violation is flagged."""

    rate: float

    def choose(self, label: Codes, score: Floats, /, *, prior: float) -> Gap | None:
        """The lowest thresholds that keep the rate, whatever the prior."""
        del prior
        return alarms_at_most(score[label == 0], score[label == 1], self.rate)


@dataclass(frozen=True, slots=True)
class FewMisses:
    """At most a share `rate` of violations is not flagged."""

    rate: float

    def choose(self, label: Codes, score: Floats, /, *, prior: float) -> Gap | None:
        """The highest thresholds that keep the rate, whatever the prior."""
        del prior
        gap = missing_at_most(score[label == 1], self.rate)
        clean = score[(label == 0) & (score < gap.high)]
        return Gap(max(gap.low, float(clean.max(initial=0.0))), gap.high) if gap.high > 0 else None


@dataclass(frozen=True, slots=True)
class LeastCost:
    """The least of `alarm` for each false alarm plus `miss` for each missed violation."""

    alarm: float
    miss: float

    def choose(self, label: Codes, score: Floats, /, *, prior: float) -> Gap | None:
        """The cheapest thresholds for traffic of which a share `prior` are violations."""
        found, clean = np.sort(score[label == 1]), np.sort(score[label == 0])
        places = np.unique(score[score > 0])
        missed = np.searchsorted(found, places, side="left") / max(1, len(found))
        alarms = 1 - np.searchsorted(clean, places, side="left") / max(1, len(clean))
        cost = self.miss * prior * missed + self.alarm * (1 - prior) * alarms
        if not len(places):
            return None
        best = int(cost.argmin())
        return Gap(float(places[best - 1]) if best else 0.0, float(places[best]))


@dataclass(frozen=True, slots=True)
class Target:
    """A goal for the band of one action; `words` is the goal as written."""

    action: Action
    goal: Goal
    words: str


def parse(given: str) -> Target:
    """A target as written on the command line; raises `UsageError`."""
    word, colon, rest = given.partition(":")
    words = " ".join((rest if colon else given).split())
    action = Action.parse(word.strip()) if colon else Action.BLOCK
    goal = _goal(words.replace(" ", ""))
    if goal is None or action is Action.ALLOW:
        raise UsageError(f"--target {given!r}: {HOW}")
    return Target(action, goal, words)


def _goal(words: str) -> Goal | None:
    if found := re.fullmatch(rf"fpr<={_NUMBER}", words):
        return FewAlarms(rate) if 0 < (rate := float(found[1])) < 1 else None
    if found := re.fullmatch(rf"recall>={_NUMBER}", words):
        return FewMisses(1 - rate) if 0 < (rate := float(found[1])) < 1 else None
    if found := re.fullmatch(rf"costfp={_NUMBER}fn={_NUMBER}", words):
        alarm, miss = float(found[1]), float(found[2])
        return LeastCost(alarm, miss) if alarm > 0 and miss > 0 else None
    return None
