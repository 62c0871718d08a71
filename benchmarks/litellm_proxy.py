"""What the guardrail costs a LiteLLM proxy, beside a guardrail of LiteLLM's own that does nothing.

    python benchmarks/litellm_proxy.py

Both proxies run at once, answer without a model, and are asked in turns, in many short bursts: what
else the machine does falls on both. A full collection of garbage stops a process of LiteLLM's size
for 0.4 s, every 1,700 calls or so: single bursts say little; a ratio is of what all rounds took,
and `interval` where it lies in 95 % of the draws of as many rounds. The rounds of one kind of burst
follow each other, so that collections come as regularly as in a proxy that serves it.
Prints the figures and writes them to results/litellm_proxy.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import machine
import psutil
from gemma_guard_litellm import GemmaGuard
from gemma_guard_litellm.asking import Call
from gemma_guard_litellm.evidence import enter
from litellm.types.guardrails import GuardrailEventHooks

from gemma_guard import Stage

ROUNDS = 50
DRAWS = 2000
WORDS = "This answer is about forty words long, so that it comes in about as many pieces. " * 3
BURSTS = {"1": (1, 160, False), "16": (16, 160, False), "64": (64, 192, False)}
STREAMS = {"stream, 1": (1, 8, True), "stream, 16": (16, 32, True)}
WARMING = ((16, 128, False), (16, 48, True))
GUARD = "routes: {default: {packs: [default], scorer: fake}}\n"
NOOP = """
from litellm.integrations.custom_guardrail import CustomGuardrail

class Noop(CustomGuardrail):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        return data

    async def async_post_call_success_hook(self, data, user_api_key_dict, response):
        return response
"""


@dataclass(frozen=True)
class Proxy:
    url: str
    key: str
    process: psutil.Process

    def worked_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True)
class Burst:
    """What a call took, in milliseconds: until the next could be made, and of the processor."""

    took_ms: float
    worked_ms: float


def files(folder: Path, guardrail: str) -> Path:
    answering = {"model": "openai/m", "api_key": "none", "mock_response": WORDS}
    params = {"guardrail": guardrail, "mode": ["pre_call", "post_call"], "default_on": True}
    if guardrail.startswith("gemma"):
        params["gemma_guard"] = {"config": "guard.yaml"}
    config = {
        "model_list": [{"model_name": "m", "litellm_params": answering}],
        "guardrails": [{"guardrail_name": "measured", "litellm_params": params}],
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "guard.yaml").write_text(GUARD)
    (folder / "noop.py").write_text(NOOP)
    return folder / "config.yaml"


@contextmanager
def running(guardrail: str) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port, key = probe.getsockname()[1], f"sk-{secrets.token_hex(16)}"
        probe.close()
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [sys.executable, "-c", "from litellm import run_server; run_server()"]
        options = ["--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [*command, "--config", str(files(Path(folder), guardrail)), *options],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Proxy(f"http://127.0.0.1:{port}", key, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(20)


async def ready(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    for _ in range(600):
        try:
            async with client.get(f"{proxy.url}/health/liveliness") as response:
                response.raise_for_status()
        except aiohttp.ClientError:
            await asyncio.sleep(0.2)
        else:
            return
    raise SystemExit("a proxy did not start")


async def burst(
    proxy: Proxy,
    client: aiohttp.ClientSession,
    at_once: int,
    calls: int,
    stream: bool,  # noqa: FBT001  as BURSTS has it
) -> Burst:
    body = {"model": "m", "messages": [{"role": "user", "content": "How do trains brake?"}]}
    headers, left = {"authorization": f"Bearer {proxy.key}"}, iter(range(calls))

    async def caller() -> None:
        for _ in left:
            url = f"{proxy.url}/v1/chat/completions"
            async with client.post(url, json={**body, "stream": stream}, headers=headers) as answer:
                answer.raise_for_status()
                if not (await answer.read()).endswith((b"}", b"[DONE]\n\n")):
                    raise SystemExit("an answer was cut short")

    began, worked = time.perf_counter(), proxy.worked_s()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    took, worked = time.perf_counter() - began, proxy.worked_s() - worked
    return Burst(1000 * took / calls, 1000 * worked / calls)


async def ratios(ours: Proxy, native: Proxy) -> dict[str, dict[str, Any]]:
    """Of each kind of burst what a call took of both proxies, as rates and ratios."""
    connector = aiohttp.TCPConnector(keepalive_timeout=1)  # sooner than the server's
    async with aiohttp.ClientSession(connector=connector) as client:
        for proxy in (ours, native):
            await ready(proxy, client)
            for kind in WARMING:
                await burst(proxy, client, *kind)
        return {
            name: _figures([await _round(n, ours, native, client, kind) for n in range(ROUNDS)])
            for name, kind in (BURSTS | STREAMS).items()
        }


async def _round(
    number: int,
    ours: Proxy,
    native: Proxy,
    client: aiohttp.ClientSession,
    kind: tuple[int, int, bool],
) -> tuple[Burst, Burst]:
    """A burst of each, now one first, now the other."""
    order = (ours, native) if number % 2 else (native, ours)
    bursts = {proxy: await burst(proxy, client, *kind) for proxy in order}
    return bursts[ours], bursts[native]


def _figures(pairs: list[tuple[Burst, Burst]]) -> dict[str, Any]:
    took = [(ours.took_ms, native.took_ms) for ours, native in pairs]
    worked = [(ours.worked_ms, native.worked_ms) for ours, native in pairs]
    return {
        "calls_per_second": round(1000 / statistics.mean(ours for ours, _ in took), 1),
        "native_no_op": round(1000 / statistics.mean(native for _, native in took), 1),
        "ratio": round(1 / _ratio(took), 3),
        "interval": [round(1 / each, 3) for each in reversed(_interval(took))],
        "processor_ms": round(statistics.mean(ours for ours, _ in worked), 2),
        "processor_ratio": round(_ratio(worked), 3),
        "processor_interval": [round(each, 3) for each in _interval(worked)],
    }


def _ratio(pairs: list[tuple[float, float]]) -> float:
    return sum(ours for ours, _ in pairs) / sum(native for _, native in pairs)


def _interval(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Where the ratio lies in 95 % of the draws of as many rounds, with replacement."""
    draw = random.Random(0)  # noqa: S311  the same figures for the same rounds
    drawn = sorted(_ratio(draw.choices(pairs, k=len(pairs))) for _ in range(DRAWS))
    return drawn[DRAWS // 40], drawn[-DRAWS // 40]


async def pre_call_us() -> dict[str, float]:
    """The hook before the call: all of it, and without the guard's check and LiteLLM's logging."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "guard.yaml").write_text(GUARD)
        options = {"config": str(Path(folder) / "guard.yaml")}
        guardrail = GemmaGuard(event_hook=["pre_call"], default_on=True, gemma_guard=options)
        times: dict[str, list[float]] = {"hook": [], "check": [], "logging": []}
        for _ in range(3000):
            await _timed(guardrail, times)
        await guardrail.guard.aclose()
    found = {name: statistics.median(each) * 1e6 for name, each in times.items()}
    found["our_own"] = found["hook"] - found["check"] - found["logging"]
    return {name: round(us, 1) for name, us in found.items()}


async def _timed(guardrail: GemmaGuard, times: dict[str, list[float]]) -> None:
    """The same request once through the hook, once through what the hook calls."""
    messages = [{"role": "user", "content": "How do trains brake?"}]
    key: Any = None
    for name, each in times.items():
        data = {"model": "m", "messages": messages, "metadata": {}}
        began = time.perf_counter()
        if name == "hook":
            await guardrail.async_pre_call_hook(key, None, data, "acompletion")
        elif name == "check":
            call = Call(data, key)
            verdict = await guardrail.guard.check(
                messages=messages, stage=Stage.INPUT, trusted=call.trusted, claimed=call.claimed
            )
        else:
            enter(verdict, guardrail, data, GuardrailEventHooks.pre_call)
        each.append(time.perf_counter() - began)


def main() -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(running("gemma_guard_litellm.GemmaGuard"))
        native = stack.enter_context(running("noop.Noop"))
        against_native = asyncio.run(ratios(ours, native))
    figures = {"at_once": against_native, "pre_call_us": asyncio.run(pre_call_us())}
    machine.keep("litellm_proxy", machine.describe(["litellm", "gemma-guard"]), figures)


if __name__ == "__main__":
    main()
