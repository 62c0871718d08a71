"""What queue and batching cost per probe, and what a known score costs: no model, a no-op run.

    python benchmarks/batching.py

Prints the figures and writes them to results/batching.json.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import machine

from gemma_guard import Bands, Batcher, Guideline, Job, Policy, Probe, Score
from gemma_guard.cache import ScoreCache

TEXT = "Could you tell me when the next train to the coast leaves, and from which platform? Ta."
JOBS, ROUNDS, CALLS = 6_400, 5, 5_000
PAUSE_S = 0.02


async def awaited_us(callers: int, pause_s: float) -> dict[str, float]:
    """`callers` ask one probe after another; a run that does nothing answers.

    Per probe: the wall clock over the probes, where callers do not pause. What a caller waits
    for holds the work for all who ask at the same moment.
    """
    async with Batcher[int, int](list) as batcher:
        rounds = [await one_round(batcher, callers, pause_s) for _ in range(ROUNDS)]
    waits, walls = zip(*rounds, strict=True)
    figures = {"wait_p50": round(min(statistics.median(w) for w in waits) * 1e6, 1)}
    if not pause_s:
        figures["per_probe"] = round(min(walls) / JOBS * 1e6, 1)
    return figures


async def one_round(
    batcher: Batcher[int, int], callers: int, pause_s: float
) -> tuple[list[float], float]:
    waits: list[float] = []
    pauses = random.Random(0)  # noqa: S311  the same ones in every round

    async def caller(place: int) -> None:
        await asyncio.sleep(pause_s * place / callers)
        for i in range(JOBS // callers):
            asked = time.perf_counter()
            await batcher.ask([Job(i, 100, time.monotonic() + 5)])
            waits.append(time.perf_counter() - asked)
            if pause_s:  # at random, or the callers of one batch stay together for ever
                await asyncio.sleep(pauses.uniform(0, 2 * pause_s))

    began = time.perf_counter()
    await asyncio.gather(*map(caller, range(callers)))
    return waits, time.perf_counter() - began


async def direct_us() -> float:
    """The lower bound: a bare hand-over to a thread and back, one caller, nothing else."""
    loop, times = asyncio.get_running_loop(), []
    for _ in range(CALLS):
        asked = time.perf_counter()
        await loop.run_in_executor(None, int)
        times.append(time.perf_counter() - asked)
    return round(statistics.median(times) * 1e6, 1)


async def hit_us(policies: int, texts: int = 1) -> float:
    """`ScoreCache.scores` where everything is known: the median, the best of several rounds."""
    cache, bands = ScoreCache(), Bands(block=0.6)
    named = tuple(Policy(f"policy_{i}", bands, bands, Guideline("a", "b")) for i in range(policies))
    probes = [Probe(f"{TEXT}{i}", named) for i in range(texts)]
    medians = []
    for _ in range(ROUNDS):
        times = []
        for _ in range(CALLS // texts):
            began = time.perf_counter()
            await cache.scores(probes, calm, fingerprint="none", deadline=float("inf"))
            times.append(time.perf_counter() - began)
        medians.append(statistics.median(times) * 1e6)
    return round(min(medians), 1)


async def calm(probes: Sequence[Probe]) -> list[tuple[Score, ...]]:
    return [tuple(Score(policy.name, 0.0) for policy in probe.policies) for probe in probes]


async def figures() -> dict[str, Any]:
    return {
        "batching_us": {
            "1_caller": await awaited_us(1, 0.0),
            "64_callers": await awaited_us(64, 0.0),
            "64_callers_that_pause_20_ms": await awaited_us(64, PAUSE_S),
            "run_in_executor_1_caller": await direct_us(),
        },
        "cache_hit_us": {
            "one_policy": await hit_us(1),
            "four_policies": await hit_us(4),
            "21_texts_four_policies": await hit_us(4, 21),
        },
    }


if __name__ == "__main__":
    machine.keep("batching", machine.describe(["gemma-guard"]), asyncio.run(figures()))
