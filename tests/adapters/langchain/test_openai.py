"""A real ChatOpenAI, guarded, against a server on this machine that says what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from gemma_guard_langchain import GuardBlocked, wrap
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from gemma_guard import Guard

BAD = "pipe bomb"
LONG = "All is fine, and the weather is too. " * 8
REFUSAL = "This was blocked by a content policy."


class Answer(BaseModel):
    text: str


class Scripted(ThreadingHTTPServer):
    """Chat completions with one message, whole or as server-sent events."""

    message: dict[str, Any]
    asked: list[dict[str, Any]]
    hung_up: threading.Event


class _Reply(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)
        self.send_response(200)
        kind = "text/event-stream" if asked.get("stream") else "application/json"
        self.send_header("content-type", kind)
        self.end_headers()
        answer = (self._events if asked.get("stream") else self._whole)().encode()
        try:
            for start in range(0, len(answer), 4096):
                self.wfile.write(answer[start : start + 4096])
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.set()

    def _whole(self) -> str:
        message = {"role": "assistant", "content": None, **self.server.message}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-test"}
        return json.dumps({**body, "choices": [choice], "usage": usage})

    def _events(self) -> str:
        body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test"}
        message = self.server.message
        deltas: list[dict[str, Any]] = [
            {"role": "assistant", "content": letter} for letter in message["content"] or ""
        ]
        for index, call in enumerate(message.get("tool_calls", ())):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            begun = {**call, "index": index, "function": {"name": name, "arguments": ""}}
            deltas.append({"tool_calls": [begun]})
            more = [{"index": index, "function": {"arguments": letter}} for letter in arguments]
            deltas.extend({"tool_calls": [each]} for each in more)
        choices: list[dict[str, Any]] = [
            {"index": 0, "delta": delta, "finish_reason": None} for delta in deltas
        ]
        choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        lines = [json.dumps({**body, "choices": [choice]}) for choice in choices]
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        lines.append(json.dumps({**body, "choices": [], "usage": usage}))
        return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), _Reply) as scripted:
        scripted.asked, scripted.message = [], {"content": "fine"}
        scripted.hung_up = threading.Event()
        thread = threading.Thread(target=scripted.serve_forever, daemon=True)
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


def _model(server: Scripted, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="gpt-test",
        api_key=SecretStr("none"),
        base_url=f"http://127.0.0.1:{server.server_port}/v1",
        max_retries=0,
        **options,
    )


@pytest.mark.parametrize("options", [{}, {"streaming": True}, {"output_version": "v1"}])
async def test_a_call_is_guarded_on_both_sides(
    server: Scripted, guard: Guard, options: dict[str, Any]
) -> None:
    guarded = wrap(_model(server, **options), guard)
    fine = guarded.invoke("a punch")
    server.message = {"content": f"a {BAD}"}
    blocked, afterwards = guarded.invoke("hi"), await guarded.ainvoke("hi")
    never = await guarded.ainvoke(BAD)

    assert isinstance(guarded, ChatOpenAI)
    assert fine.text == "fine"
    assert [m.text for m in (blocked, afterwards, never)] == [REFUSAL] * 3
    assert BAD not in repr((blocked, afterwards, never))
    contents = [asked["messages"][0]["content"] for asked in server.asked]
    assert contents == ["a [redacted: violence]", "hi", "hi"]


async def test_c6_usage_survives_a_block(server: Scripted, guard: Guard) -> None:
    server.message = {"content": BAD}
    answer = await wrap(_model(server), guard).ainvoke("hi")

    assert answer.usage_metadata
    assert answer.usage_metadata["total_tokens"] == 3
    assert answer.response_metadata["finish_reason"] == "content_filter"


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_w4_structured_output_is_parsed_redacted_or_raised(
    server: Scripted, guard: Guard, method: Any
) -> None:
    structured = wrap(_model(server), guard).with_structured_output(Answer, method=method)

    server.message = _structured("a punch", method)
    assert structured.invoke("hi") == Answer(text="a [redacted: violence]")
    server.message = _structured(BAD, method)
    with pytest.raises(GuardBlocked):
        structured.invoke("hi")


async def _chunks(model: Any, way: str) -> list[Any]:
    if way == "stream":
        return list(model.stream("hi"))
    return [chunk async for chunk in model.astream("hi")]


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("options", [{}, {"output_version": "v1"}])
async def test_a_stream_is_guarded(
    server: Scripted, guard: Guard, way: str, options: dict[str, Any]
) -> None:
    guarded = wrap(_model(server, **options), guard)

    server.message = {"content": f"{LONG}a punch."}
    chunks = await _chunks(guarded, way)
    assert "".join(chunk.text for chunk in chunks) == f"{LONG}a [redacted: violence]."
    server.message = {"content": f"{LONG}a {BAD}. {LONG}"}
    chunks = await _chunks(guarded, way)
    assert BAD not in repr(chunks)
    assert "".join(chunk.text for chunk in chunks).endswith(REFUSAL)
    whole = sum(chunks[1:], chunks[0])
    assert whole.response_metadata["finish_reason"] == "content_filter"


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_streamed_calls_and_usage_are_the_models_own(
    server: Scripted, guard: Guard, way: str
) -> None:
    guarded = wrap(_model(server, stream_usage=True), guard).bind_tools([Answer])

    server.message = {"content": "Well.", **_structured("fine", "function_calling")}
    chunks = await _chunks(guarded, way)
    whole = sum(chunks[1:], chunks[0])
    assert whole.tool_calls[0]["args"] == {"text": "fine"}
    assert whole.usage_metadata["total_tokens"] == 3
    server.message = {"content": "Well.", **_structured(BAD, "function_calling")}
    chunks = await _chunks(guarded, way)
    assert BAD not in repr(chunks)
    assert not any(chunk.tool_calls or chunk.tool_call_chunks for chunk in chunks)


def test_c7_a_block_hangs_up_on_the_provider(server: Scripted, guard: Guard) -> None:
    server.message = {"content": f"{BAD}. {LONG * 300}"}
    said = [chunk.text for chunk in wrap(_model(server), guard).stream("hi")]

    assert "".join(said) == REFUSAL
    assert server.hung_up.wait(timeout=5)


def _structured(text: str, method: str) -> dict[str, Any]:
    answer = json.dumps({"text": text})
    if method != "function_calling":
        return {"content": answer}
    call = {"id": "1", "type": "function", "function": {"name": "Answer", "arguments": answer}}
    return {"tool_calls": [call]}
