"""How long a new user waits for a first verdict, and a later one, with the embedded judge.

    python benchmarks/first_check.py

Prints the figures and writes them to results/first_check.json.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

from gemma_guard import Guard

TEXT = "Could you tell me when the next train to the coast leaves, and from which platform? x"
STARTS, CHECKS = 11, 500


def start_s() -> float:
    """The median time of `gemma-guard check`, process and all, with warm disk caches."""
    command = [str(Path(sys.executable).parent / "gemma-guard"), "check", TEXT]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(STARTS):
            began = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
    return round(statistics.median(times), 2)


async def checks() -> tuple[float, float]:
    """Seconds to make and open a guard, and the median of a check in ms; no text comes twice."""
    began = time.perf_counter()
    async with Guard.default(sinks=()) as guard:
        await guard.check(TEXT)
        loaded = time.perf_counter() - began
        times = []
        for number in range(CHECKS):
            began = time.perf_counter()
            await guard.check(f"{TEXT[:-4]}{number:04d}")
            times.append(time.perf_counter() - began)
    return round(loaded, 2), round(statistics.median(times) * 1e3, 1)


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, the children's too
    loaded, checked = asyncio.run(checks())
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "start_to_verdict_s": start_s(),
        "load_s": loaded,
        "rss_mb": round(rss),
        "check_p50_ms": checked,
    }
    packages = ("gemma-guard-lite", "onnxruntime", "tokenizers", "numpy")
    machine.keep("first_check", machine.describe(packages), figures)


if __name__ == "__main__":
    main()
