"""A policy pack and a scorer that gemma-guard finds by their entry points."""

from collections.abc import Sequence
from importlib.resources import as_file, files
from types import TracebackType
from typing import Self

from gemma_guard import Policy, PolicyPack, Priority, Probe, Score, Stage


def pack() -> PolicyPack:
    """The pack `medical`."""
    with as_file(files(__package__) / "medical.yaml") as path:
        return PolicyPack.from_yaml(path)


class Doses:
    """The scorer `doses`: how many milligrams an answer speaks of, against `limit`."""

    def __init__(self, limit: int = 3) -> None:
        self._limit = limit
        self.fingerprint = f"doses-1-{limit}"

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        return policy.name == "medical_advice" and stage is Stage.OUTPUT

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        return [tuple(self._score(probe.text, p) for p in probe.policies) for probe in probes]

    def _score(self, text: str, policy: Policy) -> Score:
        return Score(policy.name, min(1.0, text.count(" mg") / self._limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
