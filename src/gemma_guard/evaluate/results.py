"""What judging made of each row: numbers by column, never text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gemma_guard.evaluate.spilled import Array, ByName, Spilled
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
    who is not calibrated for which policy at which stage, `unread` labels that no policy has.
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
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Every result of one subject, by column, ordered by row; a violation not known is NaN.

    `violation`, `margin`, `label` and `other` are read from disk each time a column is asked for.
    `seconds` is the time it took and `concurrency` how many were judged at once; 0 if it was read
    back.
    """

    subject: Subject
    is_output: Flags
    action: Codes
    is_judged: Flags
    harmful: Codes
    sources: tuple[str, ...]
    violation: Mapping[str, Floats]
    margin: Mapping[str, Floats]
    label: Mapping[str, Codes]
    other: Mapping[str, Array]
    causes: Mapping[str, int]
    pickers: Mapping[str, int]
    seconds: float = 0.0
    concurrency: int = 0

    def __len__(self) -> int:
        """How many rows."""
        return len(self.action)

    @property
    def number(self) -> npt.NDArray[np.int32]:
        """Where each row stands in the files."""
        return self.other["number"]

    @property
    def length(self) -> npt.NDArray[np.int32]:
        """How many characters were judged."""
        return self.other["length"]

    @property
    def ms(self) -> npt.NDArray[np.float32]:
        """How long each row took."""
        return self.other["ms"]

    @property
    def source(self) -> npt.NDArray[np.int32]:
        """The place of each row's source among `sources`."""
        return self.other["source"]

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
        worst = np.full(len(self), np.nan)
        for policy in self.policies:
            if policy in self.subject.judged:
                np.fmax(worst, self.violation[policy], out=worst)
        return worst


_ROW = {
    "number": "i",
    "is_output": "b",
    "action": "b",
    "is_judged": "b",
    "harmful": "b",
    "length": "i",
    "ms": "f",
    "source": "i",
}
_BY_POLICY = {"violation": "d", "margin": "d", "label": "b"}


class Collected:
    """Results as they come, in any order: on disk, but for what is counted."""

    def __init__(self, policies: tuple[str, ...]) -> None:
        self.policies = policies
        by_policy = {f"{n} {p}": code for n, code in _BY_POLICY.items() for p in policies}
        self._table = Spilled({**_ROW, **by_policy})
        self._sources: dict[str, int] = {}
        self._causes: Counter[str] = Counter()
        self._pickers: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many results."""
        return len(self._table)

    def numbers(self) -> Iterable[int]:
        """The rows taken."""
        return iter(self._table.column("number"))

    def take(self, result: Result) -> None:
        """Keep what `result` says."""
        self._table.put(
            result.number,
            result.number,
            result.stage is Stage.OUTPUT,
            result.action,
            not result.cause,
            _known(result.harmful),
            result.length,
            result.ms,
            self._sources.setdefault(result.source, len(self._sources)),
            *(result.violations.get(policy, math.nan) for policy in self.policies),
            *(result.margins.get(policy, math.nan) for policy in self.policies),
            *(_known(result.labels.get(policy)) for policy in self.policies),
        )
        if result.cause:
            self._causes[result.cause] += 1
        if result.picked_by and (result.harmful or any(result.labels.values())):
            self._pickers[result.picked_by] += 1

    def run(self, subject: Subject, *, seconds: float = 0.0, concurrency: int = 0) -> Run:
        """Everything taken so far, in the order of the rows."""
        row = ByName(self._table, {name: name for name in _ROW})
        violation, margin, label = (
            ByName(self._table, {p: f"{name} {p}" for p in self.policies}) for name in _BY_POLICY
        )
        return Run(
            subject,
            row["is_output"] == 1,
            row["action"],
            row["is_judged"] == 1,
            row["harmful"],
            tuple(self._sources),
            violation,
            margin,
            label,
            row,
            dict(self._causes),
            dict(self._pickers),
            seconds,
            concurrency,
        )


def _known(label: int | None) -> int:
    return UNKNOWN if label is None else label
