"""Every error gemma-guard raises on purpose.

```
GuardError
├── UsageError        the call is wrong: an unknown route, stage, field or message shape
├── ConfigError       a file or a policy cannot be accepted; names file, key and allowed values
├── PluginError       a scorer or pack of another distribution cannot be loaded
├── NotServing        the guard or a scorer is closed
├── ScoringError      a judge could not answer; `.cause` says why
│   ├── Unreachable
│   ├── ScoringFailed
│   ├── DeadlineExceeded
│   └── Overloaded
├── TextRefused       the text itself cannot be judged: too long, undecodable, too costly
└── Blocked           `verdict.raise_if_blocked()`; carries the verdict
```

`ScoringError` and `TextRefused` are for scorers to raise: `Guard.check` answers them with a verdict
that names the gap.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from gemma_guard.verdict import Verdict


class Cause(StrEnum):
    """Why something was not judged."""

    UNREACHABLE = "unreachable"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    FULL = "full"

    TOO_LONG = "too_long"
    UNDECODABLE = "undecodable"
    TOO_MANY_WINDOWS = "too_many_windows"
    TOO_COSTLY = "too_costly"

    MEDIA = "media"

    EMPTY = "empty"
    NO_POLICY = "no_policy"
    OUT_OF_SCOPE = "out_of_scope"

    @property
    def is_judges(self) -> bool:
        """Whether the judge failed, so that the route's `on_error` decides."""
        return self in _JUDGE_SIDE

    @property
    def is_requests(self) -> bool:
        """Whether the request brought it, so that it is refused whatever `on_error` says."""
        return self in _REQUEST_SIDE


_JUDGE_SIDE = frozenset({Cause.UNREACHABLE, Cause.CRASHED, Cause.TIMED_OUT, Cause.FULL})
_REQUEST_SIDE = frozenset(
    {Cause.TOO_LONG, Cause.UNDECODABLE, Cause.TOO_MANY_WINDOWS, Cause.TOO_COSTLY}
)


class GuardError(Exception):
    """Base of everything this package raises on purpose."""


class UsageError(GuardError, ValueError):
    """The call is wrong; nothing was judged."""


class ConfigError(GuardError, ValueError):
    """A file, pack or policy cannot be accepted; the message says where and what is allowed."""


class PluginError(GuardError):
    """A scorer or pack named in the configuration cannot be loaded."""


class NotServing(GuardError):
    """The guard is closed, or closed while this call waited."""


class ScoringError(GuardError):
    """A judge could not answer. Keep judged text out of the message: it reaches records."""

    cause: ClassVar[Cause] = Cause.CRASHED


class ScoringFailed(ScoringError):
    """The judge broke while answering."""


class Unreachable(ScoringError):
    """The judge is on another machine, or in another process, that does not answer."""

    cause = Cause.UNREACHABLE


class DeadlineExceeded(ScoringError):
    """The judge did not answer within the route's deadline."""

    cause = Cause.TIMED_OUT


class Overloaded(ScoringError):
    """The judge's queue is full."""

    cause = Cause.FULL


class TextRefused(GuardError):
    """The text itself cannot be judged, whatever the judge: refused under every `on_error`."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Blocked(GuardError):
    """A verdict says block. The message names policies or causes, never text or scores."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.summary)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[Self], tuple[Verdict]]:
        """Made again of the verdict, as where a worker raises it in another process."""
        return type(self), (self.verdict,)


def unknown(kind: str, name: object, allowed: Iterable[str]) -> str:
    """A sentence for a name that is not one of `allowed`, with the nearest one."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}use one of: {', '.join(names)}"
