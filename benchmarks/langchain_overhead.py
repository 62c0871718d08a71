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
from math import inf
from typing import Any

import machine
from gemma_guard_langchain import wrap
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads

ASKED = "Could you tell me when the next train to the coast leaves, and from which platform? x"
ANSWER = "It leaves at ten past nine from platform four, and takes a little under two hours."
CALLS, ROUNDS = 100, 40
STREAMS, SHORT, LONG = 300, 20, 120
HELD = "routes: {default: {packs: [default], scorer: fake, stream: {mode: buffer}}}"


class Instant(BaseChatModel):
    """Answers at once, whatever it is asked."""

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        del messages
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])

    def _stream(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> Any:
        del messages
        for _each in range(kwargs["chunks"]):
            yield ChatGenerationChunk(message=AIMessageChunk(content="word "))

    async def _astream(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> Any:
        for chunk in self._stream(messages, **kwargs):
            yield chunk

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
    """The best round of each side, which other work on the machine disturbed least."""
    raw, guarded = (min(side) for side in zip(*pairs, strict=True))
    return {
        f"{name}_raw_us": round(raw, 1),
        f"{name}_guarded_us": round(guarded, 1),
        f"{name}_added_us": round(guarded - raw, 1),
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


def streamed(raw: BaseChatModel, held: BaseChatModel) -> dict[str, float]:
    """A chunk more in a stream that is judged once, at its end."""
    best = {(model, n): inf for model in ("raw", "held") for n in (SHORT, LONG)}
    for _ in range(STREAMS):
        for (name, n), so_far in best.items():
            model = raw if name == "raw" else held
            best[name, n] = min(so_far, stream_us(model, n))
    return a_chunk("sync_chunk", best)


async def astreamed(raw: BaseChatModel, held: BaseChatModel) -> dict[str, float]:
    best = {(model, n): inf for model in ("raw", "held") for n in (SHORT, LONG)}
    for _ in range(STREAMS):
        for (name, n), so_far in best.items():
            model = raw if name == "raw" else held
            best[name, n] = min(so_far, await astream_us(model, n))
    return a_chunk("async_chunk", best)


def a_chunk(name: str, best: dict[tuple[str, int], float]) -> dict[str, float]:
    more = [(best[m, LONG] - best[m, SHORT]) / (LONG - SHORT) for m in ("raw", "held")]
    return added(name, [(more[0], more[1])])


def stream_us(model: BaseChatModel, chunks: int) -> float:
    began = time.perf_counter()
    for _ in model.stream(ASKED, chunks=chunks):
        pass
    return (time.perf_counter() - began) * 1e6


async def astream_us(model: BaseChatModel, chunks: int) -> float:
    began = time.perf_counter()
    async for _ in model.astream(ASKED, chunks=chunks):
        pass
    return (time.perf_counter() - began) * 1e6


def figures() -> dict[str, Any]:
    raw = Instant()
    guarded, held = wrap(raw, guard()), wrap(raw, Guard(loads(HELD), sinks=()))
    return {
        **invoked(raw, guarded),
        **asyncio.run(ainvoked(raw, guarded)),
        **streamed(raw, held),
        **asyncio.run(astreamed(raw, held)),
    }


if __name__ == "__main__":
    described = machine.describe(["gemma-guard", "langchain-core"])
    machine.keep("langchain_overhead", described, figures())
