"""A real LiteLLM proxy in a process of its own, and the files it is made of."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
STARTS_WITHIN_S = 120

WORDS = {"allow": "friend", "log": "silly", "redact": "idiot", "block": "vermin"}
"""A word for each action; the bands in guard.yaml make it that."""

PACK = """
name: rude
version: "1"
policies:
  harassment:
    kind: judged
    guideline: {input: No harassment., output: No harassment.}
    bands:
      input: {log: 0.2, redact: 0.5, block: 0.8}
      output: {log: 0.2, redact: 0.5, block: 0.8}
"""

GUARD = """
scorers:
  judge:
    type: fake
    keywords: {harassment: {silly: 0.3, idiot: 0.6, vermin: 0.9}}
  raises: {type: broken}
  hangs: {type: hanging}
  restarts: {type: restarting, keywords: {harassment: {vermin: 0.9}}}
records: {jsonl: decisions.jsonl}
routes:
  default: {packs: [rude.yaml], scorer: judge, max_chars: 2000, refusal: We do not say that here.}
  strict:
    extends: default
    policies: {harassment: {bands: {input: {block: 0.2}, output: {block: 0.2}}}}
  by_model: {extends: strict, match: {trusted: {model: strict-model}}}
  by_key: {extends: strict, match: {trusted: {key_alias: strict}}}
  by_team: {extends: strict, match: {trusted: {team: id-of-kids}}}
  by_path: {extends: strict, match: {trusted: {path: "/openai/*"}}}
  by_tag: {extends: strict, match: {claimed: {tag: strict}}}
  by_user: {extends: strict, match: {claimed: {user: strict}}}
  by_header: {extends: strict, match: {claimed: {header.x-strict: "yes"}}}
  by_metadata: {extends: strict, match: {claimed: {metadata.audience: kids}}}
  raises_closed: {extends: default, scorer: raises, match: {trusted: {model: raises-closed}}}
  raises_open: {extends: raises_closed, on_error: fail_open, match: {trusted: {model: raises-open}}}
  restarts_closed: {extends: default, scorer: restarts, match: {trusted: {model: restarts-closed}}}
  restarts_open:
    extends: restarts_closed
    on_error: fail_open
    match: {trusted: {model: restarts-open}}
  hangs_closed:
    extends: default
    scorer: hangs
    deadline_ms: 700
    match: {trusted: {model: hangs-closed}}
  polite: {extends: default, match: {trusted: {model: polite}}}
  pictures: {extends: default, media: gap, judge_system: true, match: {trusted: {model: pictures}}}
  newest: {extends: default, scope: new, match: {trusted: {model: newest}}}
  hangs_open: {extends: hangs_closed, on_error: fail_open, match: {trusted: {model: hangs-open}}}
"""

SUBCLASS_GUARD = """
scorers: {judge: {type: fake, keywords: {harassment: {mauve: 0.9}}}}
routes: {default: {packs: [rude.yaml], scorer: judge}}
"""

MODELS = (
    "plain",
    "strict-model",
    "raises-closed",
    "raises-open",
    "hangs-closed",
    "hangs-open",
    "polite",
    "restarts-closed",
    "restarts-open",
    "pictures",
    "newest",
)


def proxy_config(upstream: str) -> dict[str, Any]:
    """The proxy's configuration; JSON is YAML."""
    model = {"model": "openai/scripted", "api_base": upstream, "api_key": "sk-upstream"}
    named = [{"model_name": name, "litellm_params": model} for name in MODELS]
    others: list[dict[str, Any]] = [
        {"model_name": name, "litellm_params": {**model, "model": real}}
        for name, real in (
            ("text", "text-completion-openai/scripted"),
            ("claude", "anthropic/scripted"),
            ("ranking", "cohere/scripted"),
        )
    ]
    others[1]["litellm_params"]["api_base"] = upstream.removesuffix("/v1")
    others[2]["litellm_params"]["api_base"] = f"{upstream}/rerank"
    named[1]["model_info"] = {"id": "strict-id"}
    twice = {"model_name": "twice", "litellm_params": {**model, "guardrails": ["everyone"]}}
    return {
        "model_list": [*named, *others, twice],
        "router_settings": {"model_group_alias": {"strict-alias": "strict-model"}},
        "general_settings": {
            "custom_auth": "proxy_parts.authenticate",
            "pass_through_endpoints": [
                {"path": "/my-pass-through/chat", "target": f"{upstream}/chat/completions"}
            ],
        },
        "litellm_settings": {"callbacks": ["proxy_parts.witness"], "num_retries": 0},
        "guardrails": [
            stanza(
                "everyone",
                "gemma_guard_litellm.GemmaGuard",
                "guard.yaml",
                default_on=True,
                polite=["polite"],
                allow_unguarded=["fine-tuning", "/v1/threads*"],
            ),
            stanza("inherited", "proxy_parts.Subclassed", "subclass.yaml"),
            {
                "guardrail_name": "foreign",
                "litellm_params": {"guardrail": "proxy_parts.Foreign", "mode": "pre_call"},
            },
            stanza(
                "answers-only", "gemma_guard_litellm.GemmaGuard", "guard.yaml", mode="post_call"
            ),
        ],
    }


def stanza(
    name: str, path: str, config: str, *, default_on: bool = False, mode: Any = None, **more: Any
) -> dict[str, Any]:
    params = {
        "guardrail": path,
        "mode": mode or ["pre_call", "post_call"],
        "default_on": default_on,
        "gemma_guard": {"config": config, **more},
    }
    return {"guardrail_name": name, "litellm_params": params}


@dataclass
class Proxy:
    """A running proxy, its files and its clients."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    key: str = field(repr=False)
    started_in_s: float = 0.0

    @property
    def log(self) -> str:
        return (self.folder / "proxy.log").read_text(errors="replace")

    def client(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        headers = {
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            **headers,
        }
        content = json.dumps(body)  # httpx refuses half a surrogate pair
        return httpx.post(f"{self.url}{path}", content=content, headers=headers, timeout=20)

    def decisions(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "decisions.jsonl")

    def logged(self, tag: str) -> dict[str, Any]:
        """What the proxy's log store got of the call with `tag`; it is written after the answer."""
        line: dict[str, Any] = _soon(
            lambda: next(
                (line for line in _lines(self.folder / "witness.jsonl") if tag in line["tags"]),
                None,
            )
        )
        return line


def write(folder: Path, config: dict[str, Any], *, guard: str = GUARD) -> Path:
    """Write the proxy's files; answers where its configuration is."""
    texts = {
        "rude.yaml": PACK,
        "guard.yaml": guard,
        "subclass.yaml": SUBCLASS_GUARD,
        "config.yaml": json.dumps(config),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder / "config.yaml"


def start(config: Path) -> Proxy:
    """Start a proxy; it may still be loading, or fail."""
    folder, port, key = config.parent, _free_port(), f"sk-{secrets.token_urlsafe(32)}"
    command = [sys.executable, "-c", "from litellm import run_server; run_server()"]
    options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options],
            env=_environment(folder, key),
            cwd=folder.parent,  # so that a path relative to the configuration is told apart
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Proxy(f"http://127.0.0.1:{port}", folder, process, key)


def stop(proxy: Proxy) -> None:
    """End the process that `start` started, and wait for it."""
    proxy.process.terminate()
    try:
        proxy.process.wait(10)
    except subprocess.TimeoutExpired:
        proxy.process.kill()
        proxy.process.wait()


def _environment(folder: Path, key: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    sources = [ROOT / "src", ROOT / "lite/src", ROOT / "adapters/litellm/src", HERE / "site"]
    return {
        **kept,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": key,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "WITNESS": str(folder / "witness.jsonl"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(proxy: Proxy) -> None:
    began = time.monotonic()
    while time.monotonic() - began < STARTS_WITHIN_S:
        if proxy.process.poll() is not None:
            break
        try:
            httpx.get(f"{proxy.url}/health/liveliness", timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            proxy.started_in_s = time.monotonic() - began
            return
    pytest.fail(f"the proxy did not start:\n{proxy.log[-3000:]}")


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines; the last one may still be being written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _soon(look: Any, within_s: float = 10.0) -> Any:
    deadline = time.monotonic() + within_s
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found is not None, "it did not happen in time"
    return found
