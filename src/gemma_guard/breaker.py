"""Whether a scorer that keeps failing is asked at all; time is passed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Literal, NewType, TypeAlias

from gemma_guard.errors import Cause

Admission = NewType("Admission", int)
"""Says which spell of the circuit a call belongs to: what an earlier spell learns is stale."""

State: TypeAlias = Literal["closed", "open", "half_open"]

COUNTED = frozenset({Cause.UNREACHABLE, Cause.CRASHED, Cause.TIMED_OUT})
"""Failures of the judge. A full queue is none: it answers at once, and opening would add to it."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Opens after `failures` in a row; `backoff_s` is doubled with every failed try."""

    failures: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse a breaker that is always open or never waits."""
        if self.failures < 1 or not 0.0 < self.backoff_s <= self.max_backoff_s:
            raise ValueError(f"use failures >= 1 and 0 < backoff_s <= max_backoff_s, got {self}")

    def pause(self, tries: int) -> float:
        """How long the circuit stays open after `tries` failed tries, in seconds."""
        return min(self.backoff_s * 2.0 ** min(tries - 1, 60), self.max_backoff_s)


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state machine: every transition returns the next state.

    `failures` in a row while closed; `tries` that failed since, 0 while closed. While open, the
    first call from `retry_at` on is the one probe, and nobody else passes until it has reported or
    its deadline, by which every call has ended, is over.
    """

    tolerance: Tolerance = field(default_factory=Tolerance)
    failures: int = 0
    tries: int = 0
    retry_at: float = 0.0
    probing: bool = False
    spell: Admission = Admission(0)

    def state(self, now: float) -> State:
        """Whether calls pass; half-open is when the next one, or one that is out, decides."""
        if not self.tries:
            return "closed"
        return "half_open" if self.probing or now >= self.retry_at else "open"

    def admit(self, now: float, deadline: float) -> tuple[Circuit, Admission | None]:
        """Whether a call that ends by `deadline` may be made."""
        if not self.tries:
            return self, self.spell
        if now < self.retry_at:
            return self, None
        probed = replace(self, retry_at=deadline, probing=True, spell=self._next)
        return probed, probed.spell

    def succeeded(self, admission: Admission) -> Circuit:
        """After an answer: closed, unless the call was from an earlier spell."""
        if admission != self.spell or not (self.failures or self.tries):
            return self
        return Circuit(self.tolerance, spell=self.spell)

    def failed(self, admission: Admission, now: float) -> Circuit:
        """After a failure of the judge: one nearer to open, or open for longer."""
        if admission != self.spell:
            return self
        failures = self.failures + 1
        if not self.tries and failures < self.tolerance.failures:
            return replace(self, failures=failures)
        pause = self.tolerance.pause(self.tries + 1)
        return Circuit(self.tolerance, failures, self.tries + 1, now + pause, spell=self._next)

    def withdrawn(self, admission: Admission, now: float) -> Circuit:
        """After a call that says nothing of the judge: the next one may be the probe."""
        if admission != self.spell or not self.tries:
            return self
        return replace(self, retry_at=now, probing=False, spell=self._next)

    @property
    def _next(self) -> Admission:
        return Admission(self.spell + 1)


class Breaker:
    """A `Circuit` for callers on any thread.

    Every admitted call is settled, also one that was cancelled. One that never is (its event loop
    died) holds the others back until its deadline at most.
    """

    def __init__(self, tolerance: Tolerance | None = None) -> None:
        self._circuit = Circuit(tolerance or Tolerance())
        self._lock = threading.Lock()

    def state(self, now: float) -> State:
        """For health and records."""
        return self._circuit.state(now)

    def admit(self, now: float, *, deadline: float) -> Admission | None:
        """None where the scorer should not be asked; otherwise what `settle` needs."""
        circuit = self._circuit
        if not circuit.tries:  # the common case needs no lock: a circuit never changes
            return circuit.spell
        with self._lock:
            self._circuit, admission = self._circuit.admit(now, deadline)
        return admission

    def answered(self, admission: Admission) -> None:
        """The scorer answered."""
        circuit = self._circuit
        if not (circuit.failures or circuit.tries):
            return
        with self._lock:
            self._circuit = self._circuit.succeeded(admission)

    def silent(self, admission: Admission, cause: Cause | None, now: float) -> None:
        """The scorer did not answer, for `cause`; None where the caller was cancelled.

        Refusing a text is no failure: it is `withdrawn`, as is whatever else is not counted.
        """
        with self._lock:
            if cause in COUNTED:
                self._circuit = self._circuit.failed(admission, now)
            else:
                self._circuit = self._circuit.withdrawn(admission, now)
