"""What scoring says and what the guard decides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Literal, TypeAlias

from gemma_guard.errors import Blocked, Cause, UsageError

Place: TypeAlias = tuple[str | int, ...]
"""Where a text stood in the messages, as keys and indexes; `()` for a text checked alone."""


class Stage(StrEnum):
    """Which side of the model a text is on."""

    INPUT = "input"
    OUTPUT = "output"


class Action(IntEnum):
    """What is done with a text. Ordered, so that several policies combine by `max`."""

    ALLOW = 0
    LOG = 1
    REDACT = 2
    BLOCK = 3

    def __str__(self) -> str:
        """The word used in YAML and JSON."""
        return _WORDS[self]

    @classmethod
    def parse(cls, word: str) -> Action:
        """The action called `word`; `UsageError` lists the allowed ones."""
        try:
            return cls[word.upper()]
        except KeyError:
            allowed = ", ".join(map(str, cls))
            raise UsageError(f"unknown action {word!r}; use one of {allowed}") from None


_WORDS = tuple([action.name.lower() for action in Action])


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start <= i < end` of the judged text; `kind` says what was found there."""

    start: int
    end: int
    kind: str = ""

    def __post_init__(self) -> None:
        """Refuse a span that covers nothing."""
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span needs 0 <= start < end, got {self.start}, {self.end}")


@dataclass(frozen=True, slots=True)
class Score:
    """How surely one text violates one policy.

    `violation` is in [0, 1], higher is worse, calibrated where a calibration is set. `raw` is the
    model's own probability and `margin` its logit gap, where it has them. `spans` are exact places
    in the text, if the scorer knows them, and `window` the worst window of a long text. `hold_from`
    is where something begins that more text could turn into a violation, or make longer; a scorer
    needs it only for probes that say `stream`.
    """

    policy: str
    violation: float
    raw: float | None = None
    margin: float | None = None
    spans: tuple[Span, ...] = ()
    window: Span | None = None
    hold_from: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a probability, NaN included, and a margin that is not finite."""
        if not 0.0 <= self.violation <= 1.0:
            raise ValueError(f"violation must be in [0, 1], got {self.violation!r}")
        if self.raw is not None and not 0.0 <= self.raw <= 1.0:
            raise ValueError(f"raw must be in [0, 1], got {self.raw!r}")
        if self.margin is not None and not math.isfinite(self.margin):
            raise ValueError(f"margin must be finite, got {self.margin!r}")


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was not judged. `policy` is None where it concerns every policy.

    `judged_by` names the fallback scorer that judged it instead.
    """

    cause: Cause
    place: Place = ()
    policy: str | None = None
    reason: str = ""
    judged_by: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One policy at or above a band. `key` is the exact configuration key that decided.

    Neither a policy in `shadow` nor one that an exception at the key `exempt` lets through is
    enforced; both are recorded.
    """

    policy: str
    action: Action
    violation: float
    threshold: float
    key: str
    place: Place = ()
    shadow: bool = False
    spans: tuple[Span, ...] = ()
    exempt: str = ""

    @property
    def is_enforced(self) -> bool:
        """Whether it takes part in the action."""
        return not (self.shadow or self.exempt)


@dataclass(frozen=True, slots=True)
class Judged:
    """One passage with its scores and what they make of it."""

    place: Place
    role: str
    stage: Stage
    action: Action
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """A text as redacted, and where it goes."""

    place: Place = field(repr=False)  # keys of a call's input are text too
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was taken out: `span` of the judged text at `place`, for which `text` stands now.

    `before` is what `policy` scored with it, `after` without it.
    """

    place: Place = field(repr=False)  # keys of a call's input are text too
    span: Span
    text: str
    policy: str
    before: float
    after: float


Status: TypeAlias = Literal["scored", "degraded", "not_scanned"]
Fault: TypeAlias = Literal["content", "request", "judge"]


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The guard's decision on one text or one list of messages.

    `scores` holds the worst score per policy, `passages` the scores at each place, `gaps` what was
    not judged, `findings` each policy at or above a band, shadowed ones too. `text` is what may go
    on: the text as given, redacted where `action` is REDACT, None where it is BLOCK or where
    messages were checked (`apply` gives those). `edits` are the redacted texts with their places,
    `redactions` what was taken out of them. `released` are the texts, with their places, that a
    stream had let out before it ended or was blocked.
    `unvalidated` names the policies whose judge has no calibration. `ms` is the time the check took
    in milliseconds.
    """

    id: str
    action: Action
    route: str
    stage: Stage
    fingerprint: str
    refusal: str
    ms: float = 0.0
    scores: tuple[Score, ...] = ()
    gaps: tuple[Gap, ...] = ()
    findings: tuple[Finding, ...] = ()
    passages: tuple[Judged, ...] = ()
    edits: tuple[Edit, ...] = ()
    redactions: tuple[Redaction, ...] = ()
    released: tuple[Edit, ...] = ()
    unvalidated: tuple[str, ...] = ()
    text: str | None = None

    def __repr__(self) -> str:
        """No text, so that a verdict can be logged."""
        return f"<Verdict {self.id} {self.summary}, route {self.route}, {self.status}>"

    @property
    def status(self) -> Status:
        """Whether all, some or none of it was judged; what the route leaves out does not count."""
        if not self.gaps:
            return "scored"
        if all(gap.cause is Cause.OUT_OF_SCOPE for gap in self.gaps):
            return "scored" if self.scores else "not_scanned"
        return "degraded" if self.scores else "not_scanned"

    @property
    def blocked(self) -> bool:
        """Whether nothing may go on."""
        return self.action is Action.BLOCK

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that asked for `action`, in order, each once."""
        acting = (f.policy for f in self.findings if f.action is self.action and f.is_enforced)
        return tuple(dict.fromkeys(acting))

    @property
    def fault(self) -> Fault | None:
        """Who a block is about: the content, the request's form or the judge; None if allowed."""
        if not self.blocked:
            return None
        if self.policies:
            return "content"
        return "judge" if any(gap.cause.is_judges for gap in self.gaps) else "request"

    @property
    def summary(self) -> str:
        """One line without text or scores, fit for the caller whose text it was."""
        if self.policies:
            return f"{self.action}: {', '.join(self.policies)} (decision {self.id})"
        causes = ", ".join(dict.fromkeys(gap.cause for gap in self.gaps))
        return f"{self.action}{': ' if causes else ''}{causes} (decision {self.id})"

    def raise_if_blocked(self) -> None:
        """Raise `Blocked` where nothing may go on."""
        if self.blocked:
            raise Blocked(self)

    def apply(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A copy of `messages` with every redaction written into its place.

        Parts that were not redacted are the very same objects. Raises `Blocked` on a block and
        `UsageError` where a text was checked alone.
        """
        self.raise_if_blocked()
        places = [p.place for p in self.passages] + [e.place for e in self.edits]
        if () in places:
            raise UsageError("this verdict is about a text, not messages; its .text may go on")
        return list(rewritten(messages, self.edits))


def rewritten(tree: Any, edits: Iterable[Edit]) -> Any:
    """A copy of `tree`, messages or a text, with every edit in its place."""
    branches: dict[str | int, list[Edit]] = {}
    for edit in edits:
        if not edit.place:
            return edit.text
        branches.setdefault(edit.place[0], []).append(Edit(edit.place[1:], edit.text))
    if not branches:
        return tree
    copy: Any = list(tree) if isinstance(tree, Sequence) else dict(tree)
    for branch, inner in branches.items():
        copy[branch] = rewritten(tree[branch], inner)
    return copy
