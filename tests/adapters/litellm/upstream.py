"""A small scripted model on loopback, in the shapes of OpenAI's and Anthropic's APIs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.adapters.litellm import wire


class Upstream:
    """Answers every call with the messages set in `says`; keeps what it received in `bodies`.

    A streamed answer comes in pieces of `piece` characters, `pause_s` apart.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.says: list[dict[str, Any]] = []
        self.logprobs: Any = None
        self.of_choice: dict[str, Any] = {}
        self.of_response: dict[str, Any] = {}
        self.piece = 3
        self.pause_s = 0.0
        self.failures = 0
        self.hung_up = threading.Event()
        self.url = ""
        self.reset()

    def reset(self) -> None:
        self.bodies.clear()
        self.paths.clear()
        self.says = [{"role": "assistant", "content": "A friendly answer."}]
        self.logprobs = None
        self.of_choice, self.of_response = {}, {}
        self.piece, self.pause_s, self.failures = 3, 0.0, 0
        self.hung_up.clear()

    @property
    def received(self) -> str:
        return b"".join(self.bodies).decode()

    def completion(self) -> dict[str, Any]:
        return wire.chat(self.says, {"logprobs": self.logprobs, **self.of_choice}, self.of_response)


@contextmanager
def serving() -> Iterator[Upstream]:
    upstream = Upstream()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(upstream))
    server.daemon_threads = True
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
            body = self.rfile.read(int(self.headers["content-length"]))
            upstream.bodies.append(body)
            upstream.paths.append(self.path)
            if upstream.failures:
                upstream.failures -= 1
                self._send(500, "application/json", b'{"error": {"message": "try again"}}')
            elif json.loads(body).get("stream"):
                self._stream()
            elif self.path.endswith("/audio/speech"):
                self._send(200, "audio/mpeg", b"sound")
            else:
                answer = wire.whole(self.path, upstream.says, upstream.completion())
                self._send(200, "application/json", json.dumps(answer).encode())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            try:
                for event in wire.streamed(self.path, upstream.says, upstream.piece):
                    self.wfile.write(event)
                    self.wfile.flush()
                    time.sleep(upstream.pause_s)
            except (BrokenPipeError, ConnectionResetError):
                upstream.hung_up.set()
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    return Answering
