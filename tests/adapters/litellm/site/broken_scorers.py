"""Scorers that fail, as a plugin of another distribution."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from gemma_guard import Priority, Probe, Score
from gemma_guard.scorers.fake import Fake


class Raising(Fake):
    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        del deadline, priority
        # the cause is one that LiteLLM would call the caller's own fault
        raise AttributeError(f"{len(probes)} texts, the first is {probes[0].text}")


class Restarting(Fake):
    """Down as long as the file `judge-is-down` is there."""

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        if Path(os.environ["WITNESS"]).with_name("judge-is-down").exists():
            raise ConnectionError("not now")
        return await super().score(probes, deadline=deadline, priority=priority)


class Hanging(Fake):
    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        await asyncio.sleep(60)
        return await super().score(probes, deadline=deadline, priority=priority)
