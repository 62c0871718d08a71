"""How each endpoint is called, and what its answer says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.adapters.litellm.proxying import Proxy


@dataclass(frozen=True)
class Endpoint:
    name: str
    path: str
    body: Callable[[str], dict[str, Any]]
    streams: bool = True

    def call(self, proxy: Proxy, text: str, *, stream: bool = False, **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        body = {**self.body(text), **({"stream": True} if stream else {}), **more}
        return proxy.post(self.path, body, **headers)


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _messages(model: str) -> Callable[[str], dict[str, Any]]:
    return lambda text: {"model": model, "max_tokens": 99, "messages": _user(text)}


CHAT = Endpoint("chat", "/v1/chat/completions", lambda t: {"model": "plain", "messages": _user(t)})
MESSAGES = Endpoint("messages", "/v1/messages", _messages("claude"))
BRIDGED = Endpoint("messages-of-openai", "/v1/messages", _messages("plain"))
RESPONSES = Endpoint("responses", "/v1/responses", lambda t: {"model": "plain", "input": t})
COMPLETIONS = Endpoint("completions", "/v1/completions", lambda t: {"model": "text", "prompt": t})
ANSWERING = (CHAT, MESSAGES, BRIDGED, RESPONSES, COMPLETIONS)

INPUT_ONLY = (
    Endpoint("embeddings", "/v1/embeddings", lambda t: {"model": "plain", "input": [t, "x"]}),
    Endpoint("images", "/v1/images/generations", lambda t: {"model": "plain", "prompt": t}),
    Endpoint(
        "speech",
        "/v1/audio/speech",
        lambda t: {"model": "plain", "input": t, "voice": "alloy", "instructions": "Softly."},
    ),
    Endpoint("moderations", "/v1/moderations", lambda t: {"model": "plain", "input": t}),
    Endpoint(
        "rerank",
        "/v1/rerank",
        lambda t: {"model": "ranking", "query": "Which?", "documents": [t, "x"]},
    ),
)


def is_refused(response: httpx.Response) -> bool:
    """Whether the call failed; LiteLLM begins a stream of responses before it knows."""
    return response.status_code == 400 or '"type":"response.failed"' in response.text


def said(received: str) -> str:
    """Every text that a client would put together of a body, streamed or not."""
    if not received.lstrip().startswith(("data:", "event:")):
        return "\n".join(_texts(json.loads(received)))
    joined: dict[Any, str] = {}
    for event in _events(received):
        for place, text in _deltas(event):
            joined[place] = joined.get(place, "") + text
    return "\n".join(joined.values())


def _events(received: str) -> Iterator[dict[str, Any]]:
    for line in received.splitlines():
        if line.startswith("data:") and (told := line[5:].strip()) != "[DONE]":
            yield json.loads(told)


def _deltas(event: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    for choice in event.get("choices") or ():
        for key, text in {"text": choice.get("text"), **(choice.get("delta") or {})}.items():
            if isinstance(text, str) and key != "role":
                yield (choice["index"], key), text
        for call in (choice.get("delta") or {}).get("tool_calls") or ():
            yield (choice["index"], call["index"]), call["function"].get("arguments") or ""
    delta = event.get("delta")
    if isinstance(delta, str):
        yield (event.get("output_index"), event.get("content_index")), delta
    elif isinstance(delta, Mapping):
        texts = (delta.get(key) for key in ("text", "thinking", "partial_json"))
        yield from (((event.get("index"),), text) for text in texts if text)


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for branch in tree.values():
            yield from _texts(branch)
    elif isinstance(tree, list):
        for branch in tree:
            yield from _texts(branch)
