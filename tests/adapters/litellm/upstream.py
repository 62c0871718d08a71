"""A small scripted model on loopback, in the shape of OpenAI's chat API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Upstream:
    """Answers every call with the messages set in `says`; keeps what it received in `bodies`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.says: list[dict[str, Any]] = []
        self.logprobs: Any = None
        self.of_choice: dict[str, Any] = {}
        self.of_response: dict[str, Any] = {}
        self.url = ""
        self.reset()

    def reset(self) -> None:
        self.bodies.clear()
        self.says = [{"role": "assistant", "content": "A friendly answer."}]
        self.logprobs = None
        self.of_choice, self.of_response = {}, {}

    def completion(self) -> dict[str, Any]:
        choices = [
            {
                "index": i,
                "message": m,
                "finish_reason": "stop",
                "logprobs": self.logprobs,
                **self.of_choice,
            }
            for i, m in enumerate(self.says)
        ]
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": choices,
            "usage": usage,
            **self.of_response,
        }


@contextmanager
def serving() -> Iterator[Upstream]:
    upstream = Upstream()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(upstream))
    upstream.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answering(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            upstream.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(upstream.completion()).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    return Answering
