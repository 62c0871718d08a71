"""Server-sent events as bytes: cut into events, read, and written again."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

_BREAKS = (b"\r\n\r\n", b"\n\n", b"\r\r")


async def events(source: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """Each event whole, however the bytes were cut; what is no bytes stays as it is."""
    held = b""
    async for chunk in source:
        if not isinstance(chunk, bytes | str):
            yield chunk
            continue
        held += chunk if isinstance(chunk, bytes) else chunk.encode()
        while (end := _end(held)) is not None:
            event, held = held[:end], held[end:]
            yield event
    if held.strip():
        yield held + b"\n\n"


def _end(held: bytes) -> int | None:
    ends = [at + len(one) for one in _BREAKS if (at := held.find(one)) >= 0]
    return min(ends, default=None)


def content(event: bytes) -> Any:
    """The JSON of an event's data; None where it has none."""
    lines = event.decode(errors="replace").splitlines()
    told = [line[len("data:") :].removeprefix(" ") for line in lines if line.startswith("data:")]
    try:
        return json.loads("\n".join(told)) if told else None
    except ValueError:
        return {"unreadable": "\n".join(told)}


def event(content: dict[str, Any]) -> bytes:
    """An event, called by the type of its content."""
    return f"event: {content['type']}\ndata: {json.dumps(content)}\n\n".encode()
