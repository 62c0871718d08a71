"""What a check costs beside the judging itself: fake scorer, texts of 85 characters.

    python benchmarks/overhead.py

Prints the figures and writes them to results/overhead.json.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

import machine

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads

TEXT = "Could you tell me when the next train to the coast leaves, and from which platform? x"
CALLS, ROUNDS, CONCURRENT = 5_000, 5, 64
LONG = (
    "routes: {default: {packs: [default, privacy], scorer: fake, max_chars: 10_000_000,"
    " deadline_ms: 60_000}}"
)


def guard(policies: int) -> Guard:
    bands, wording = Bands(log=0.3, block=0.6), Guideline("in", "out")
    named = [Policy(f"policy_{i}", bands, bands, wording) for i in range(policies)]
    words = {policy.name: {"first": 0.5, "second": 0.7, "third": 0.9} for policy in named}
    return Guard.of(named, Fake(words))


async def median_us(policies: int, *, anew: bool = False) -> float:
    """The median of one check after another, the best of several rounds.

    The text is the same each time, so that its scores are kept; `anew`, it ends in another number.
    """
    numbers = itertools.count(10**6)
    async with guard(policies) as under_test:
        medians = []
        for _ in range(ROUNDS):
            times = []
            for _ in range(CALLS):
                text = f"{TEXT[:-7]}{next(numbers)}" if anew else TEXT
                began = time.perf_counter()
                await under_test.check(text)
                times.append(time.perf_counter() - began)
            medians.append(statistics.median(times) * 1e6)
    return round(min(medians), 1)


async def checks_per_second(policies: int) -> int:
    """Checks from 64 tasks on one event loop, the best of several rounds."""
    async with guard(policies) as under_test:

        async def ask() -> None:
            for _ in range(CALLS // CONCURRENT):
                await under_test.check(TEXT)

        rates = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await asyncio.gather(*(ask() for _ in range(CONCURRENT)))
            done = CONCURRENT * (CALLS // CONCURRENT)
            rates.append(done / (time.perf_counter() - began))
    return round(max(rates))


def chat(messages: int) -> list[dict[str, str]]:
    said = "This is turn {} of an ordinary conversation about trains, with nothing to find in it."
    return [
        {"role": "user" if i % 2 == 0 else "assistant", "content": said.format(i)}
        for i in range(messages)
    ]


async def chat_us(policies: int) -> float:
    """A chat of 21 messages of which all but the newest were judged before, best of rounds."""
    async with guard(policies) as under_test:
        medians = []
        for _ in range(ROUNDS * 2):
            times = []
            for turn in range(CALLS // 20):
                messages = chat(21)
                messages[-1]["content"] += str(turn)
                began = time.perf_counter()
                await under_test.check(messages=messages)
                times.append(time.perf_counter() - began)
            medians.append(statistics.median(times) * 1e6)
    return round(min(medians), 1)


async def long_text() -> dict[str, Any]:
    """Five million characters: seconds, the longest the event loop was held, memory it took."""
    rules = Guard(loads(LONG), sinks=())
    text = "An ordinary sentence about trains and platforms. " * 102_041
    before, held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    checking = asyncio.create_task(rules.check(text))
    began = last = time.perf_counter()
    while not checking.done():
        await asyncio.sleep(0.001)
        held, last = max(held, time.perf_counter() - last), time.perf_counter()
    return {
        "five_mb_s": round(time.perf_counter() - began, 2),
        "five_mb_loop_held_ms": round(held * 1000, 1),
        "five_mb_rss_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
        "five_mb_status": (await checking).status,
    }


def fresh_import() -> dict[str, float]:
    """`import gemma_guard` in seven fresh processes: seconds and megabytes, each the median."""
    script = (
        "import time; t = time.perf_counter(); import gemma_guard;"
        "print(time.perf_counter() - t)"
        # not ru_maxrss: a child starts with its parent's
        "; print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    runs = []
    for _ in range(8):  # the first one writes bytecode
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True
        )
        seconds, kilobytes = done.stdout.split()
        runs.append((float(seconds), int(kilobytes) / 1024))
    seconds_all, megabytes_all = zip(*runs[1:], strict=True)
    return {
        "import_s": round(statistics.median(seconds_all), 3),
        "import_rss_mb": round(statistics.median(megabytes_all), 1),
    }


def core_packages() -> list[str]:
    """Every distribution that `pip install gemma-guard` brings, itself left out."""
    found: set[str] = set()
    todo = ["gemma-guard"]
    while todo:
        try:
            needs = requires(todo.pop()) or []
        except PackageNotFoundError:  # only for another platform
            continue
        for need in needs:
            name = re.split(r"[^A-Za-z0-9._-]", need)[0].lower()
            if "extra ==" not in need and "sys_platform" not in need and name not in found:
                found.add(name)
                todo.append(name)
    return sorted(found)


async def figures() -> dict[str, Any]:
    packages = core_packages()
    return {
        "one_policy_p50_us": await median_us(1),
        "four_policies_p50_us": await median_us(4),
        "one_policy_anew_p50_us": await median_us(1, anew=True),
        "four_policies_anew_p50_us": await median_us(4, anew=True),
        "checks_per_s_64_concurrent_one_policy": await checks_per_second(1),
        "checks_per_s_64_concurrent_four_policies": await checks_per_second(4),
        "chat_of_21_p50_us_one_policy": await chat_us(1),
        "chat_of_21_p50_us_four_policies": await chat_us(4),
        **await long_text(),
        **fresh_import(),
        "core_packages": len(packages),
        "core_package_names": packages,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    described = machine.describe(["gemma-guard", "pydantic", "regex"])
    machine.keep("overhead", described, asyncio.run(figures()))
