"""What `wrap` adds to a call of a chat model that answers at once: fake scorer, one policy.

    python benchmarks/langchain_overhead.py

Raw and guarded calls take turns in one process. Prints the figures and writes them to
results/langchain_overhead.json.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import machine
from gemma_guard_langchain import wrap
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake

ASKED = "Could you tell me when the next train to the coast leaves, and from which platform? x"
ANSWER = "It leaves at ten past nine from platform four, and takes a little under two hours."
CALLS, ROUNDS = 400, 15


class Instant(BaseChatModel):
    """Answers at once, whatever it is asked."""

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        del messages
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)

    @property
    def _llm_type(self) -> str:
        return "instant"


def guard() -> Guard:
    bands = Bands(log=0.3, block=0.6)
    policy = Policy("harm", bands, bands, Guideline("in", "out"))
    return Guard.of([policy], Fake({"harm": {"first": 0.5, "second": 0.9}}))


def median_us(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def amedian_us(call: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def added(name: str, pairs: list[tuple[float, float]]) -> dict[str, float]:
    """The medians of the rounds; what is added is worked out round by round."""
    raw, guarded = (statistics.median(side) for side in zip(*pairs, strict=True))
    more = statistics.median(after - before for before, after in pairs)
    return {
        f"{name}_raw_us": round(raw, 1),
        f"{name}_guarded_us": round(guarded, 1),
        f"{name}_added_us": round(more, 1),
    }


def invoked(raw: BaseChatModel, guarded: BaseChatModel) -> dict[str, float]:
    pairs = [
        (median_us(lambda: raw.invoke(ASKED)), median_us(lambda: guarded.invoke(ASKED)))
        for _ in range(ROUNDS)
    ]
    return added("invoke", pairs)


async def ainvoked(raw: BaseChatModel, guarded: BaseChatModel) -> dict[str, float]:
    pairs = [
        (
            await amedian_us(lambda: raw.ainvoke(ASKED)),
            await amedian_us(lambda: guarded.ainvoke(ASKED)),
        )
        for _ in range(ROUNDS)
    ]
    return added("ainvoke", pairs)


def figures() -> dict[str, Any]:
    raw = Instant()
    guarded = wrap(raw, guard())
    return {
        **invoked(raw, guarded),
        **asyncio.run(ainvoked(raw, guarded)),
    }


if __name__ == "__main__":
    described = machine.describe(["gemma-guard", "langchain-core"])
    machine.keep("langchain_overhead", described, figures())
