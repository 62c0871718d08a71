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
REFUSAL = "This was blocked by a content policy."


class Answer(BaseModel):
    text: str


class Scripted(ThreadingHTTPServer):
    """Chat completions with one message, whole or as server-sent events."""

    message: dict[str, Any]
    asked: list[dict[str, Any]]


class _Reply(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)
        self.send_response(200)
        kind = "text/event-stream" if asked.get("stream") else "application/json"
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write((self._events if asked.get("stream") else self._whole)().encode())

    def _whole(self) -> str:
        message = {"role": "assistant", "content": None, **self.server.message}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-test"}
        return json.dumps({**body, "choices": [choice], "usage": usage})

    def _events(self) -> str:
        body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test"}
        deltas = [
            {"role": "assistant", "content": letter} for letter in self.server.message["content"]
        ]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        lines = [json.dumps({**body, "choices": [choice]}) for choice in choices]
        return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), _Reply) as scripted:
        scripted.asked, scripted.message = [], {"content": "fine"}
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


async def test_usage_survives_a_block(server: Scripted, guard: Guard) -> None:
    server.message = {"content": BAD}
    answer = await wrap(_model(server), guard).ainvoke("hi")

    assert answer.usage_metadata
    assert answer.usage_metadata["total_tokens"] == 3
    assert answer.response_metadata["finish_reason"] == "content_filter"


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_structured_output_is_parsed_redacted_or_raised(
    server: Scripted, guard: Guard, method: Any
) -> None:
    structured = wrap(_model(server), guard).with_structured_output(Answer, method=method)

    server.message = _structured("a punch", method)
    assert structured.invoke("hi") == Answer(text="a [redacted: violence]")
    server.message = _structured(BAD, method)
    with pytest.raises(GuardBlocked):
        structured.invoke("hi")


def _structured(text: str, method: str) -> dict[str, Any]:
    answer = json.dumps({"text": text})
    if method != "function_calling":
        return {"content": answer}
    call = {"id": "1", "type": "function", "function": {"name": "Answer", "arguments": answer}}
    return {"tool_calls": [call]}
