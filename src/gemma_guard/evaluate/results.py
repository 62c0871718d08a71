"""What judging made of each row: numbers by column, never text."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gemma_guard.policy import Bands
from gemma_guard.verdict import Action, Stage

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Codes: TypeAlias = npt.NDArray[np.int8]
Numbers: TypeAlias = npt.NDArray[np.int64]

UNKNOWN = -1  # in place of a label


@dataclass(frozen=True, slots=True)
class Result:
    """One row as judged. `cause` says why it was not, `ms` how long it took.

    `violations` and `margins` are by policy; `margins` only where the judge says one.
    """

    number: int
    stage: Stage
    action: Action
    cause: str
    labels: Mapping[str, int]
    harmful: int | None
    violations: Mapping[str, float]
    margins: Mapping[str, float]
    length: int
    ms: float
    source: str
    picked_by: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was judged by what: enough to tell whether two runs can be compared or continued.

    `rows` is a digest of the files and the columns; `bands` are by policy and stage, `unvalidated`
    who is not calibrated for which policy at which stage.
    """

    judge: str
    route: str
    origin: str
    fingerprint: str
    rows: str
    files: tuple[str, ...]
    bands: Mapping[tuple[str, Stage], Bands]
    judged: frozenset[str]
    unvalidated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Every result of one subject, by column, ordered by row; a violation not known is NaN.

    `seconds` is the time it took and `concurrency` how many were judged at once; 0 if it was read
    back.
    """

    subject: Subject
    number: Numbers
    is_output: Flags
    action: Codes
    is_judged: Flags
    harmful: Codes
    length: Numbers
    ms: npt.NDArray[np.float32]
    source: npt.NDArray[np.int32]
    sources: tuple[str, ...]
    violation: Mapping[str, Floats]
    margin: Mapping[str, Floats]
    label: Mapping[str, Codes]
    causes: Mapping[str, int]
    pickers: Mapping[str, int]
    seconds: float = 0.0
    concurrency: int = 0

    def __len__(self) -> int:
        """How many rows."""
        return len(self.number)

    @property
    def policies(self) -> tuple[str, ...]:
        """Every policy that some row has a violation of."""
        return tuple(self.violation)

    def at(self, stage: Stage) -> Flags:
        """The rows of a stage that were judged."""
        judged: Flags = self.is_judged & (self.is_output == (stage is Stage.OUTPUT))
        return judged

    def request(self) -> Floats:
        """The worst violation of each row among the policies that a judge judges."""
        judged = [v for policy, v in self.violation.items() if policy in self.subject.judged]
        if not judged:
            return np.full(len(self), np.nan)
        worst: Floats = np.fmax.reduce(judged)
        return worst


class Collected:
    """Results as they come, in any order: some 20 bytes a row, and 17 for each policy."""

    def __init__(self, policies: tuple[str, ...]) -> None:
        self.policies = policies
        self._number = array("l")
        self._flags = array("b")  # is_output, action, is_judged, harmful of each row
        self._length = array("l")
        self._ms = array("f")
        self._source = array("i")
        self._by_policy = {p: (array("d"), array("d"), array("b")) for p in policies}
        self._sources: dict[str, int] = {}
        self._causes: Counter[str] = Counter()
        self._pickers: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many results."""
        return len(self._number)

    def numbers(self) -> Iterable[int]:
        """The rows taken."""
        return iter(self._number)

    def take(self, result: Result) -> None:
        """Keep what `result` says."""
        is_output = result.stage is Stage.OUTPUT
        self._number.append(result.number)
        self._flags.extend(
            (is_output, result.action, not result.cause, _known(result.harmful)),
        )
        self._length.append(result.length)
        self._ms.append(result.ms)
        self._source.append(self._sources.setdefault(result.source, len(self._sources)))
        for policy, (violations, margins, labels) in self._by_policy.items():
            violations.append(result.violations.get(policy, math.nan))
            margins.append(result.margins.get(policy, math.nan))
            labels.append(_known(result.labels.get(policy)))
        if result.cause:
            self._causes[result.cause] += 1
        if result.picked_by and (result.harmful or any(result.labels.values())):
            self._pickers[result.picked_by] += 1

    def run(self, subject: Subject, *, seconds: float = 0.0, concurrency: int = 0) -> Run:
        """Everything taken so far, in the order of the rows."""
        numbers = np.array(self._number)
        order = np.argsort(numbers, kind="stable")
        is_output, action, is_judged, harmful = np.array(self._flags).reshape(-1, 4)[order].T
        by_policy = {
            policy: [np.array(column)[order] for column in columns]
            for policy, columns in self._by_policy.items()
        }
        return Run(
            subject,
            numbers[order],
            is_output == 1,
            action,
            is_judged == 1,
            harmful,
            np.array(self._length)[order],
            np.array(self._ms)[order],
            np.array(self._source)[order],
            tuple(self._sources),
            {policy: columns[0] for policy, columns in by_policy.items()},
            {policy: columns[1] for policy, columns in by_policy.items()},
            {policy: columns[2] for policy, columns in by_policy.items()},
            dict(self._causes),
            dict(self._pickers),
            seconds,
            concurrency,
        )


def _known(label: int | None) -> int:
    return UNKNOWN if label is None else label
