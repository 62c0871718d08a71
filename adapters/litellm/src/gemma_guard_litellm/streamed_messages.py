"""Streams of `/v1/messages`: Anthropic's events, as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gemma_guard import Gap, Part, Place, Release, Verdict
from gemma_guard_litellm import sse
from gemma_guard_litellm.codec import Undeliverable
from gemma_guard_litellm.texts import texts

# by the type of a delta: the key of its text, and the name of the text it adds to
_DELTAS = {
    "text_delta": ("text", "content"),
    "thinking_delta": ("thinking", "reasoning"),
    "input_json_delta": ("partial_json", "tool_calls"),
}
# by the type of a block: the same, for what of its text comes with its start
_BLOCKS = {"text": ("text", "content"), "thinking": ("thinking", "reasoning")}
_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_QUIET = frozenset({"ping", "message_delta", "message_stop"})
_SEALED = frozenset({"signature_delta"})
_REFUSED = "refusal"


class Messages:
    """Reads and writes Anthropic's events."""

    def __init__(self) -> None:
        self._places: dict[int, list[Place]] = {}
        self._open: int | None = None
        self._changed: set[int] = set()
        self._sent = 0
        self._has_begun = False

    def read(self, chunk: Any) -> Sequence[Part | Gap]:
        """The text that an event adds to; a block's texts end with it."""
        content = _content(chunk)
        if content is None or (kind := content.get("type")) in _QUIET:
            return ()
        index = content.get("index", 0)
        if kind == "content_block_stop":
            return [Part(place, ends=True) for place in self._places.pop(index, ())]
        parts = list(_parts(content, index))
        self._places.setdefault(index, []).extend(part.place for part in parts)
        return parts

    def write(self, release: Release[Any]) -> Any | None:
        """The event as it came, or with what may be seen of it; None where that is nothing."""
        content = _content(release.chunk)
        if content is None:
            return release.chunk
        if not release.is_whole and (content := _written(content, release.texts)) is None:
            return None
        self._note(content, is_whole=release.is_whole)
        if _is_signature(content) and content["index"] in self._changed:
            return None  # it is of the text as it was
        return release.chunk if release.is_whole else sse.event(content)

    def refuse(self, verdict: Verdict) -> Iterable[Any]:
        """The refusal as a block of its own, and the end of the message."""
        if not self._has_begun:
            return
        if self._open is not None:
            yield sse.event({"type": "content_block_stop", "index": self._open})
        for content in _refusal(self._sent, verdict.refusal):
            yield sse.event(content)

    def _note(self, content: Mapping[str, Any], *, is_whole: bool) -> None:
        kind, index = content.get("type"), content.get("index", 0)
        self._has_begun = True
        if kind == "content_block_start":
            self._open, self._sent = index, index + 1
        elif kind == "content_block_stop":
            self._open = None
        if not is_whole:
            self._changed.add(index)


def _content(chunk: Any) -> dict[str, Any] | None:
    found = chunk if isinstance(chunk, Mapping) else sse.content(chunk)
    return dict(found) if isinstance(found, Mapping) else None


def _parts(content: Mapping[str, Any], index: int) -> Iterator[Part]:
    kind = content.get("type")
    delta = content.get("delta") if kind == "content_block_delta" else None
    block = content.get("content_block") if kind == "content_block_start" else None
    if isinstance(delta, Mapping) and delta.get("type") in _DELTAS:
        key, name = _DELTAS[delta["type"]]
        call = "" if name == "tool_calls" else None
        yield Part((0, name, index), delta.get(key) or "", call=call)
    elif isinstance(block, Mapping) and block.get("type") in _BLOCKS:
        key, name = _BLOCKS[block["type"]]
        yield Part((0, name, index), block.get(key) or "")
        if more := "\n".join(texts({k: v for k, v in block.items() if k != key})):
            yield Part((0, "rest", index), more)
    elif isinstance(block, Mapping) and block.get("type") in _CALLS:
        yield Part((0, "tool_calls", index), _given(block), call=str(block.get("name") or ""))
    elif not (isinstance(delta, Mapping) and delta.get("type") in _SEALED):
        more = "\n".join(texts(_unread(content)))
        if more:
            yield Part((0, "rest", index), more)


def _given(block: Mapping[str, Any]) -> str:
    return json.dumps(block["input"]) if block.get("input") else ""


def _unread(content: Mapping[str, Any]) -> Any:
    if content.get("type") == "message_start":
        return (content.get("message") or {}).get("content")
    return {key: value for key, value in content.items() if key != "index"}


def _written(content: dict[str, Any], allowed: Sequence[str]) -> dict[str, Any] | None:
    """The event with its one text replaced; nothing where nothing of it may be seen yet."""
    text = allowed[0] if allowed else ""
    delta, block = content.get("delta"), content.get("content_block")
    if isinstance(delta, Mapping) and delta.get("type") in _DELTAS:
        key, _ = _DELTAS[delta["type"]]
        return {**content, "delta": {**delta, key: text}} if text else None
    if isinstance(block, Mapping) and block.get("type") in _BLOCKS and len(allowed) == 1:
        key, _ = _BLOCKS[block["type"]]
        return {**content, "content_block": {**block, key: text}}
    raise Undeliverable


def _is_signature(content: Mapping[str, Any]) -> bool:
    delta = content.get("delta")
    return isinstance(delta, Mapping) and delta.get("type") in _SEALED


def _refusal(index: int, text: str) -> Iterator[dict[str, Any]]:
    at: dict[str, Any] = {"index": index}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", **at, "content_block": block}
    yield {"type": "content_block_delta", **at, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", **at}
    ended = {"stop_reason": _REFUSED, "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 0}}
    yield {"type": "message_stop"}
