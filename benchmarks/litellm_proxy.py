"""What the guardrail costs a LiteLLM proxy, beside a guardrail of LiteLLM's own that does nothing.

    python benchmarks/litellm_proxy.py

Both proxies run at once, answer without a model, and are asked in turns; a ratio is of two bursts
of the same round. A full collection of garbage stops a process of LiteLLM's size for half a second,
so a burst is long enough to hold several. Prints the figures and writes them to
results/litellm_proxy.json.
"""

from __future__ import annotations

import asyncio
import json
import os
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

ROUNDS = 7
WORDS = "This answer is about forty words long, so that it comes in about as many pieces. " * 3
BURSTS = {"1": (1, 200, False), "16": (16, 640, False), "64": (64, 960, False)}
STREAMS = {"stream, 1": (1, 24, True), "stream, 16": (16, 96, True)}
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
    calls_per_second: float
    worked_ms: float
    """Of the proxy's processor time, a call."""


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
    return Burst(calls / took, 1000 * worked / calls)


async def ratios(ours: Proxy, native: Proxy) -> dict[str, dict[str, float]]:
    """Of each kind of burst the medians of the rates and of their ratio."""
    connector = aiohttp.TCPConnector(keepalive_timeout=1)  # sooner than the server's
    async with aiohttp.ClientSession(connector=connector) as client:
        for proxy in (ours, native):
            await ready(proxy, client)
            for kind in WARMING:
                await burst(proxy, client, *kind)
        seen: dict[str, list[tuple[Burst, Burst]]] = {}
        for number in range(ROUNDS):
            for name, kind in {**BURSTS, **STREAMS}.items():
                order = (ours, native) if number % 2 else (native, ours)
                rates = {proxy: await burst(proxy, client, *kind) for proxy in order}
                seen.setdefault(name, []).append((rates[ours], rates[native]))
    return {name: _medians(pairs) for name, pairs in seen.items()}


def _medians(pairs: list[tuple[Burst, Burst]]) -> dict[str, float]:
    rates = [(ours.calls_per_second, native.calls_per_second) for ours, native in pairs]
    worked = [(ours.worked_ms, native.worked_ms) for ours, native in pairs]
    return {
        "calls_per_second": round(statistics.median(ours for ours, _ in rates), 1),
        "native_no_op": round(statistics.median(native for _, native in rates), 1),
        "ratio": round(statistics.median(ours / native for ours, native in rates), 3),
        "processor_ms": round(statistics.median(ours for ours, _ in worked), 2),
        "processor_ratio": round(statistics.median(ours / native for ours, native in worked), 3),
    }


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
