"""What is forbidden, at which stage, how sure we must be, and what happens then."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from gemma_guard.errors import ConfigError
from gemma_guard.verdict import Action, Stage

Detector: TypeAlias = Literal[
    "api_key", "email", "iban", "ip_address", "payment_card", "phone", "private_key"
]
DETECTORS: tuple[Detector, ...] = get_args(Detector)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NEVER_REDACTED = frozenset({"dangerous_content"})


@dataclass(frozen=True, slots=True)
class Guideline:
    """The wording the judge reads; ShieldGemma words the two stages differently."""

    input: str
    output: str

    def at(self, stage: Stage) -> str:
        """The wording for `stage`."""
        return self.input if stage is Stage.INPUT else self.output


@dataclass(frozen=True, slots=True)
class Bands:
    """Thresholds in (0, 1]; an action applies at `violation >= threshold`.

    Thresholds rise with the action. Raises `ConfigError` for anything else.
    """

    log: float | None = None
    redact: float | None = None
    block: float | None = None
    thresholds: tuple[tuple[Action, float], ...] = field(init=False, repr=False, compare=False)
    """The given thresholds, mildest action first."""
    lowest: float = field(init=False, repr=False, compare=False)
    """Where the first band begins; infinite if there is none."""

    def __post_init__(self) -> None:
        """Refuse 0, NaN, more than 1, and a milder action above a harder one."""
        given = zip(Action, (None, self.log, self.redact, self.block), strict=True)
        thresholds = tuple((action, at) for action, at in given if at is not None)
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "lowest", thresholds[0][1] if thresholds else math.inf)
        for action, threshold in thresholds:
            if not _is_threshold(threshold):
                raise ConfigError(
                    f"{action}: {threshold!r} is not a threshold; use a number above 0, at most 1"
                )
        rising = [threshold for _, threshold in thresholds]
        if rising != sorted(rising):
            raise ConfigError(f"bands must rise from log over redact to block, got {self}")

    def __str__(self) -> str:
        """As written in YAML."""
        return "{" + ", ".join(f"{action}: {at:g}" for action, at in self.thresholds) + "}"

    @property
    def enforces(self) -> bool:
        """Whether anything is redacted or blocked."""
        return self.redact is not None or self.block is not None

    def judge(self, violation: float) -> tuple[Action, float]:
        """The hardest action whose threshold is reached, with that threshold; inf if none is."""
        for reached in reversed(self.thresholds):
            if violation >= reached[1]:
                return reached
        return Action.ALLOW, math.inf

    @classmethod
    def of(cls, action: Action) -> Bands:
        """Bands of a yes-or-no policy: `action` on a match (violation 1), nothing otherwise."""
        return cls(**{str(action): 1.0}) if action else cls()


def _is_threshold(given: object) -> bool:
    """Also refuses NaN, and `True`, which Python counts as 1."""
    return isinstance(given, int | float) and given is not True and 0.0 < given <= 1.0


@dataclass(frozen=True, slots=True)
class Patterns:
    """What a pattern policy looks for.

    `words` match whole words whatever their case; `expressions` are in the syntax of the `regex`
    package; `regions` (ISO 3166) allow phone numbers without a country code.
    """

    detectors: tuple[Detector, ...] = ()
    words: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.detectors or self.words or self.expressions)


@dataclass(frozen=True, slots=True)
class Policy:
    """One named rule: `judged` by a model that reads its guideline, or found by `pattern`.

    No bands at a stage: not checked there. `head` names the output of a trained scorer that
    judges this policy, for a guideline the scorer was not trained with.
    """

    name: str
    input: Bands | None = None
    output: Bands | None = None
    guideline: Guideline | None = None
    head: str | None = None
    patterns: Patterns | None = None

    def __post_init__(self) -> None:
        """Refuse a name that is not snake_case, and a policy that is neither or both kinds."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"policy name {self.name!r}: use snake_case, at most 64 letters")
        if self.head == "" or (self.patterns is not None and not self.patterns):
            raise ConfigError(f"policy {self.name!r}: an empty head or patterns judge nothing")
        if bool(self.patterns) == bool(self.guideline or self.head):
            raise ConfigError(f"policy {self.name!r}: give either a guideline or patterns")
        if self.name in _NEVER_REDACTED and any(b and b.redact for b in (self.input, self.output)):
            raise ConfigError(f"policy {self.name!r} is never redacted, only logged or blocked")

    @property
    def kind(self) -> Literal["judged", "pattern"]:
        """Whether a model judges it or patterns find it."""
        return "pattern" if self.patterns else "judged"

    def bands(self, stage: Stage) -> Bands | None:
        """The bands at `stage`; None if it is not checked there."""
        return self.input if stage is Stage.INPUT else self.output
