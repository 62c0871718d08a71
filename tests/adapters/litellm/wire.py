"""What a model's API puts on the wire: whole answers and streams, of OpenAI and of Anthropic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Said = Sequence[dict[str, Any]]

_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_TOKENS = {"input_tokens": 3, "output_tokens": 4}


def whole(path: str, says: Said, completion: dict[str, Any]) -> dict[str, Any]:
    answers: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
        ("/chat/completions", lambda: completion),
        ("/completions", lambda: _text(says)),
        ("/messages", lambda: _message(says[0])),
        ("/responses", lambda: _response(says[0])),
        ("/embeddings", _embedding),
        ("/images/generations", _image),
        ("/moderations", _moderation),
        ("/rerank", _ranking),
    )
    for end, answer in answers:
        if path.endswith(end):
            return answer()
    raise AssertionError(path)


def streamed(path: str, says: Said, piece: int) -> Iterator[bytes]:
    if path.endswith("/messages"):
        yield from _message_events(says[0], piece)
    elif path.endswith("/responses"):
        yield from _response_events(says[0], piece)
    elif path.endswith("/chat/completions"):
        yield from _chat_chunks(says, piece)
    else:
        yield from _text_chunks(says, piece)


def chat(says: Said, of_choice: dict[str, Any], of_response: dict[str, Any]) -> dict[str, Any]:
    choices = [
        {"index": i, "message": m, "finish_reason": "stop", **of_choice} for i, m in enumerate(says)
    ]
    return {**_head("chat.completion"), "choices": choices, "usage": _USAGE, **of_response}


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "scripted"}


def _text(says: Said) -> dict[str, Any]:
    choices = [
        {"index": i, "text": m["content"], "finish_reason": "stop", "logprobs": None}
        for i, m in enumerate(says)
    ]
    return {**_head("text_completion"), "choices": choices, "usage": _USAGE}


def _message(said: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": blocks(said),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _TOKENS,
    }


def blocks(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The content blocks that `said` stands for; `blocks` gives them outright."""
    if "blocks" in said:
        return list(said["blocks"])
    found = []
    if said.get("reasoning_content"):
        thinking = said["reasoning_content"]
        found.append({"type": "thinking", "thinking": thinking, "signature": "s"})
    if said.get("content"):
        found.append({"type": "text", "text": said["content"]})
    for call in said.get("tool_calls") or ():
        values = json.loads(call["function"]["arguments"])
        name = call["function"]["name"]
        found.append({"type": "tool_use", "id": call["id"], "name": name, "input": values})
    return found


def _response(said: dict[str, Any], *, status: str = "completed") -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "scripted",
        "status": status,
        "output": items(said) if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {**_TOKENS, "total_tokens": 7} if status == "completed" else None,
    }


def items(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The output items that `said` stands for; `items` gives them outright."""
    if "items" in said:
        return list(said["items"])
    found: list[dict[str, Any]] = []
    if said.get("reasoning_content"):
        summary = [{"type": "summary_text", "text": said["reasoning_content"]}]
        found.append({"type": "reasoning", "id": "rs_1", "summary": summary})
    if said.get("content"):
        part = {"type": "output_text", "text": said["content"], "annotations": []}
        item = {"type": "message", "id": "it_1", "role": "assistant", "status": "completed"}
        found.append({**item, "content": [part]})
    found += [
        {
            "type": "function_call",
            "id": f"fc_{n}",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
            "status": "completed",
        }
        for n, call in enumerate(said.get("tool_calls") or ())
    ]
    return found


def _embedding() -> dict[str, Any]:
    numbers = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}
    return {"object": "list", "model": "scripted", "data": [numbers], "usage": _USAGE}


def _image() -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": "aW1hZ2U="}]}


def _moderation() -> dict[str, Any]:
    result = {"flagged": False, "categories": {}, "category_scores": {}}
    return {"id": "modr-1", "model": "scripted", "results": [result]}


def _ranking() -> dict[str, Any]:
    return {"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], "meta": {}}


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _event(content: dict[str, Any], name: str | None = None) -> bytes:
    first = f"event: {name}\n" if name else ""
    return f"{first}data: {json.dumps(content)}\n\n".encode()


def _chat_chunks(says: Said, size: int) -> Iterator[bytes]:
    def chunk(index: int, delta: dict[str, Any], ended: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": ended}
        return _event({**_head("chat.completion.chunk"), "choices": [choice]})

    for index, said in enumerate(says):
        yield chunk(index, {"role": "assistant", "content": ""})
        for key in ("reasoning_content", "content"):
            for text in _pieces(said.get(key) or "", size):
                yield chunk(index, {key: text})
        for number, call in enumerate(said.get("tool_calls") or ()):
            name = {**call, "index": number, "function": {**call["function"], "arguments": ""}}
            yield chunk(index, {"tool_calls": [name]})
            for text in _pieces(call["function"]["arguments"], size):
                part = {"index": number, "function": {"arguments": text}}
                yield chunk(index, {"tool_calls": [part]})
        yield chunk(index, {}, "tool_calls" if said.get("tool_calls") else "stop")
    yield b"data: [DONE]\n\n"


def _text_chunks(says: Said, size: int) -> Iterator[bytes]:
    for index, said in enumerate(says):
        pieces = [*_pieces(said["content"], size), ""]
        for number, text in enumerate(pieces):
            ended = "stop" if number == len(pieces) - 1 else None
            choice = {"index": index, "text": text, "finish_reason": ended, "logprobs": None}
            yield _event({**_head("text_completion"), "choices": [choice]})
    yield b"data: [DONE]\n\n"


_DELTAS = {
    "text": ("text", "text_delta", "text"),
    "thinking": ("thinking", "thinking_delta", "thinking"),
}


def _message_events(said: dict[str, Any], size: int) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return _event({"type": kind, **fields}, kind)

    yield event("message_start", message={**_message(said), "content": [], "stop_reason": None})
    for index, block in enumerate(blocks(said)):
        for name, fields in _block_events(block, size):
            yield event(name, index=index, **fields)
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": 4})
    yield event("message_stop")


def _block_events(block: dict[str, Any], size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if block["type"] == "tool_use":
        yield "content_block_start", {"content_block": {**block, "input": {}}}
        for text in _pieces(json.dumps(block["input"]), size):
            delta = {"type": "input_json_delta", "partial_json": text}
            yield "content_block_delta", {"delta": delta}
    else:
        key, kind, field = _DELTAS[block["type"]]
        yield "content_block_start", {"content_block": {**block, key: ""}}
        for text in _pieces(block[key], size):
            yield "content_block_delta", {"delta": {"type": kind, field: text}}
    yield "content_block_stop", {}


def _response_events(said: dict[str, Any], size: int) -> Iterator[bytes]:
    numbers = iter(range(10_000))

    def event(kind: str, **fields: Any) -> bytes:
        return _event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    yield event("response.created", response=_response(said, status="in_progress"))
    for index, item in enumerate(items(said)):
        yield event("response.output_item.added", output_index=index, item=_begun(item))
        where = {"item_id": item["id"], "output_index": index}
        for kind, fields in _item_events(item, size):
            yield event(kind, **where, **fields)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=_response(said))
    yield b"data: [DONE]\n\n"


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    empty = {"content": [], "summary": [], "arguments": ""}
    return {k: empty.get(k, v) for k, v in item.items()} | {"status": "in_progress"}


def _item_events(item: dict[str, Any], size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if item["type"] == "function_call":
        for text in _pieces(item["arguments"], size):
            yield "response.function_call_arguments.delta", {"delta": text}
        name, said = item["name"], item["arguments"]
        yield "response.function_call_arguments.done", {"arguments": said, "name": name}
    for number, part in enumerate(item.get("content") or ()):
        at = {"content_index": number}
        yield "response.content_part.added", {**at, "part": {**part, "text": ""}}
        for text in _pieces(part["text"], size):
            yield "response.output_text.delta", {**at, "delta": text, "logprobs": []}
        yield "response.output_text.done", {**at, "text": part["text"], "logprobs": []}
        yield "response.content_part.done", {**at, "part": part}
    for number, part in enumerate(item.get("summary") or ()):
        at = {"summary_index": number}
        yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
        for text in _pieces(part["text"], size):
            yield "response.reasoning_summary_text.delta", {**at, "delta": text}
        yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**at, "part": part}
