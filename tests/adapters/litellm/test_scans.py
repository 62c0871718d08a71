"""How often a judge is asked about a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from gemma_guard_litellm.asking import Call
from gemma_guard_litellm.streamed import guarded
from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices

from gemma_guard import Guard, Priority, Probe, Score
from gemma_guard.scorers.fake import Fake
from tests.adapters.litellm.proxying import write

GUARD = """
scorers: {judge: {type: fake}}
routes: {default: {packs: [rude.yaml], scorer: judge}}
"""
TOKENS = 1000
TOKENS_A_SCAN = 20

pytestmark = pytest.mark.filterwarnings("ignore:Item.* on TypedDict class:UserWarning")  # LiteLLM's


class Counting(Fake):
    asked = 0

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        self.asked += 1
        return await super().score(probes, deadline=deadline, priority=priority)


async def answer() -> AsyncIterator[ModelResponseStream]:
    for number in range(TOKENS):
        text = " word." if number % 15 == 0 else " word"
        yield ModelResponseStream(choices=[StreamingChoices(index=0, delta=Delta(content=text))])


async def test_a_judge_is_asked_once_for_many_tokens(tmp_path: Path) -> None:
    path = write(tmp_path, {}, guard=GUARD)
    judge = Counting()
    guard = Guard.from_config(path.parent / "guard.yaml", scorers={"judge": judge})
    call = Call({}, None)
    asked = [{"role": "user", "content": "Hello."}]
    async with guard:
        said = [
            chunk.choices[0].delta.content
            async for chunk in guarded(guard, answer(), asked, call, over=lambda _: None)
        ]

    assert "".join(said).count("word") == TOKENS
    assert 1 < judge.asked <= TOKENS / TOKENS_A_SCAN
