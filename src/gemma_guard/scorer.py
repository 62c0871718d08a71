"""The seam every model plugs into."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from gemma_guard.policy import Policy
from gemma_guard.verdict import Score, Stage

F = TypeVar("F", bound=Callable[..., Any])


class Priority(IntEnum):
    """Who is served first when a scorer is busy."""

    LIVE = 0
    BACKGROUND = 1


@dataclass(frozen=True, slots=True)
class Probe:
    """One text to judge under several policies at once.

    `prompt` is what an output-stage text answers. `stream` hints that the text continues an
    earlier one, `tenant` says who may gain time from it; scores depend on neither.
    """

    text: str = field(repr=False)
    policies: tuple[Policy, ...]
    stage: Stage = Stage.INPUT
    prompt: str | None = field(default=None, repr=False)
    stream: str | None = None
    tenant: str = field(default="", repr=False)


@runtime_checkable
class Scorer(Protocol):
    """Anything that turns probes into violation scores.

    One whose scores are probabilities already says so with an attribute `is_calibrated = True`;
    the scores of any other are `unvalidated` until guard.yaml gives it a calibration.
    """

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same probe could score differently: weights, template, options."""

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        """Whether it can judge `policy` at `stage`; False stops the load of a configuration."""

    def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> Coroutine[Any, Any, Sequence[tuple[Score, ...]]]:
        """One tuple per probe, in order, with one score per policy of the probe, in order.

        `deadline` is absolute, in seconds of `time.monotonic()`. Raises `ScoringError` when the
        judge cannot answer and `TextRefused` when the text cannot be judged by any.
        """

    async def __aenter__(self) -> Self:
        """Load what is needed to answer."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer everyone who waits, then free what was loaded."""


def at_once(score: F) -> F:
    """Mark a `Scorer.score` that answers without waiting, or waits only behind `on_a_loop`.

    Sync callers run it on their own threads. The mark is the function's: one that overrides it has
    none.
    """
    score.is_at_once = True  # type: ignore[attr-defined]
    return score


def answers_at_once(scorer: Scorer) -> bool:
    """Whether its `score` is marked `at_once`."""
    return getattr(scorer.score, "is_at_once", False)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a scorer took out of its queue to run at once.

    `waits_s` has the seconds that each of it waited. `late` ones are not in it: their deadline had
    passed. `left` still wait.
    """

    waits_s: tuple[float, ...]
    tokens: int
    late: int = 0
    left: int = 0


Observe: TypeAlias = Callable[[Batch], None]
"""Called with every batch, from any thread, before it runs; it may not raise."""


def unobserved(_batch: Batch, /) -> None:
    """Nobody looks."""


@runtime_checkable
class Queued(Protocol):
    """A scorer with a queue. The guard gives it who wants to know of it."""

    def observed_by(self, observe: Observe, /) -> None:
        """Tell `observe` of every batch from now on, and nobody else any more."""


@runtime_checkable
class Preparing(Protocol):
    """A scorer that answers sooner about what it could read beforehand."""

    def prepare(self, probe: Probe, /, *, deadline: float) -> Coroutine[Any, Any, None]:
        """Read what questions to come will share with `probe`.

        That is its prompt, and of its text the whole sentences: there may be none yet. Scores are
        the same without, and every question that waits goes first. It is cancelled when there is
        more to read or the first question comes; whatever it raises is passed over.
        """


@runtime_checkable
class Described(Protocol):
    """A scorer that says what it runs on."""

    def describe(self) -> Mapping[str, str]:
        """What an operator wants to know: device, model, revision, template, licence; no text."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a scorer found out about itself."""

    name: str
    is_well: bool
    detail: str


@runtime_checkable
class Examined(Protocol):
    """A scorer that can find out more about itself than that it answers."""

    def examine(self, *, deadline: float) -> Coroutine[Any, Any, Sequence[Check]]:
        """Ask whatever it takes; raises `ScoringError` where nothing answers."""


@runtime_checkable
class Reasoning(Protocol):
    """A scorer whose model can also say why, in words of its own."""

    def reason(self, probe: Probe, /, *, tokens: int, deadline: float) -> Coroutine[Any, Any, str]:
        """What it writes about the one policy of `probe`, in at most `tokens` tokens.

        Nothing is ever decided by it. Errors as for `score`.
        """
