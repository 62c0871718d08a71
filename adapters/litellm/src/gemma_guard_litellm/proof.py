"""The answer to a judged call names the decisions made on it: the proof that the guard ran.

LiteLLM has a hook for such headers, but then asks all its callbacks for them, each time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any

from gemma_guard import Verdict
from gemma_guard_litellm.door import App, Receive, Scope, Send

_ID, _ACTION = attrgetter("id"), attrgetter("action")


class _Answer:
    """The answer to one call; `made` are the decisions on it, None once its headers are out."""

    __slots__ = ("_send", "made")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.made: list[Verdict] | None = []

    def send(self, message: Any) -> Awaitable[None]:
        """Send `message`, the headers with what was decided so far."""
        if message["type"] == "http.response.start":
            theirs = [header for header in message.get("headers", ()) if not _is_ours(*header)]
            message = {**message, "headers": [*theirs, *_headers(self.made)]}
            self.made = None
        return self._send(message)


_answer: ContextVar[_Answer | None] = ContextVar("answer", default=None)


class Proof:
    """An ASGI app around the proxy's."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the call on. LiteLLM makes some within another, in the same task."""
        answer = _Answer(send) if scope["type"] == "http" else None
        before = _answer.set(answer)
        try:
            await self._app(scope, receive, answer.send if answer else send)
        finally:
            _answer.reset(before)


def note(verdict: Verdict) -> None:
    """Have the answer to the call under way name this decision."""
    answer = _answer.get()
    made = None if answer is None else answer.made
    if made is not None:
        made.append(verdict)


def _is_ours(name: bytes, _value: bytes) -> bool:
    """Whether only the guard may say it: what stands behind a pass-through might say it too."""
    return name.lower().startswith(b"x-gemma-guard-")


def _headers(made: Sequence[Verdict] | None) -> list[tuple[bytes, bytes]]:
    """The decisions, and the strictest of their actions."""
    if not made:
        return []
    return [
        (b"x-gemma-guard-decisions", ",".join(map(_ID, made)).encode()),
        (b"x-gemma-guard-action", str(max(map(_ACTION, made))).encode()),
    ]
