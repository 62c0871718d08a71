"""`/v1/messages`, in Anthropic's form ↔ messages as the guard reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gemma_guard_litellm import shape
from gemma_guard_litellm.refusal import unsupported
from gemma_guard_litellm.texts import beside, texts

# the keys of a block that the guard reads, by the block's type
_READ = {
    "text": ("text",),
    "thinking": ("thinking",),
    "tool_use": ("name", "input"),
    "server_tool_use": ("name", "input"),
}
_SEALED = "redacted_thinking"  # nobody but the model can read it
_OF_RESPONSE = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "usage", "_hidden_params"}
)
_SYSTEM = "system"


def asked(data: Mapping[str, Any]) -> list[shape.Message]:
    """The request as messages to judge: the system text, and the messages."""
    messages = data.get("messages")
    if not isinstance(messages, list):
        raise unsupported("invalid_messages", "messages: a list of messages is needed")
    return [*_system(data), *messages]


def _system(data: Mapping[str, Any]) -> list[shape.Message]:
    return [{"role": _SYSTEM, "content": data[_SYSTEM]}] if data.get(_SYSTEM) else []


def put_back(data: shape.Request, messages: Sequence[shape.Message]) -> None:
    """Replace the system text and the messages."""
    before = len(_system(data))
    if before:
        data[_SYSTEM] = messages[0]["content"]
    data["messages"] = list(messages[before:])


def answered(response: Any) -> list[shape.Message]:
    """The answer as one message; texts the guard does not know are one more part of it."""
    blocks = [block for block in _blocks(response) if block.get("type") != _SEALED]
    known = [block for block in blocks if block.get("type") in _READ]
    rest = {k: v for k, v in response.items() if k not in _OF_RESPONSE}
    more = "\n".join(texts([*map(_unread, blocks), rest]))
    parts = [*map(_read, known), *([{"type": "text", "text": more}] if more else [])]
    return [{"role": "assistant", "content": parts}]


def rewrite(response: Any, index: int, redacted: shape.Message) -> bool:
    """Write the answer as redacted; False if what was redacted is in no block the guard reads.

    A redacted block keeps only what was judged: no citations, and no signature, for that is of the
    text as it was.
    """
    del index
    blocks = _blocks(response)
    known = [i for i, block in enumerate(blocks) if block.get("type") in _READ]
    (before,) = answered(response)
    parts = redacted["content"]
    if parts[len(known) :] != before["content"][len(known) :]:
        return False
    for place, part, was in zip(known, parts, before["content"], strict=False):
        if part != was:
            blocks[place] = {**_kept(blocks[place]), **part}
    response["content"] = blocks
    return True


def _blocks(response: Any) -> list[dict[str, Any]]:
    content = response.get("content")
    if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
        raise unsupported("unsupported_answer", "an answer without content blocks is not guarded")
    return list(content)


def _read(block: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("type", *_READ[block["type"]])
    return {key: block[key] for key in keys if block.get(key) is not None}


def _unread(block: Mapping[str, Any]) -> dict[str, Any]:
    read = _READ.get(block.get("type", ""), ())
    return {key: value for key, value in block.items() if key not in read}


def _kept(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: block[key] for key in ("type", "id") if key in block}


MESSAGES = shape.Shape(beside("messages", _SYSTEM), asked, put_back, answered, rewrite)
