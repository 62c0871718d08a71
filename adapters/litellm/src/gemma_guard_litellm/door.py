"""Calls that could reach a model unjudged are turned away before any endpoint sees them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from gemma_guard_litellm.endpoints import WEBSOCKET, Label, family, is_allowed

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_FORBIDDEN = 403
_POLICY_VIOLATION = 1008


class Door:
    """An ASGI app around the proxy's; `allowed` says what may pass although nobody judges it.

    `first` is called before the first call: by then the proxy has all the routes it starts with.
    """

    def __init__(
        self, app: App, allowed: Callable[[], Iterable[str]], first: Callable[[], None]
    ) -> None:
        self._app = app
        self._allowed = allowed
        self._first: Callable[[], None] | None = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Turn the call away, or hand it on."""
        if self._first and scope["type"] != "lifespan":
            first, self._first = self._first, None
            first()
        if scope["type"] == "lifespan" or (name := self._refused(scope)) is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": _why(name)})
        else:
            await _answer(send, json.dumps(_error(name)).encode())

    def _refused(self, scope: Scope) -> str | None:
        """The family of a call that is turned away."""
        method = scope.get("method", WEBSOCKET)
        if method == "OPTIONS":  # a browser asks whether it may call at all
            return None
        path = _path(scope)
        found = family(method, path)
        if found.label is not Label.UNGUARDED or is_allowed(method, path, self._allowed()):
            return None
        return found.name


def _path(scope: Scope) -> str:
    """The path as the proxy's routes see it."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _why(name: str) -> str:
    return f"gemma-guard: {name} is not guarded, so it is refused; allow_unguarded can name it"


def _error(name: str) -> dict[str, Any]:
    """In the forms of OpenAI and of Anthropic at once."""
    fields: dict[str, Any] = {"code": "unguarded_endpoint", "policies": [], "decision": None}
    error = {
        "message": _why(name),
        "type": "permission_error",
        "param": None,
        "code": str(_FORBIDDEN),
        "provider_specific_fields": fields,
    }
    return {"type": "error", "error": error}


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": _FORBIDDEN, "headers": headers})
    await send({"type": "http.response.body", "body": body})
