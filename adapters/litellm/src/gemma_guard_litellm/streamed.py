"""A stream of any form through the guard: nothing leaves before it was judged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from gemma_guard import Gap, Guard, Part, Release, Verdict
from gemma_guard_litellm import sse
from gemma_guard_litellm.asking import Call
from gemma_guard_litellm.codec import Codec, Undeliverable
from gemma_guard_litellm.refusal import unplaced, unsupported
from gemma_guard_litellm.shape import Message
from gemma_guard_litellm.streamed_choices import Choices
from gemma_guard_litellm.streamed_messages import Messages
from gemma_guard_litellm.streamed_responses import Responses


async def guarded(
    guard: Guard,
    source: AsyncIterable[Any],
    asked: Sequence[Message],
    call: Call,
    *,
    over: Callable[[Verdict], Exception | None],
) -> AsyncGenerator[Any, None]:
    """What may go of `source`.

    `over` is told the verdict on all of it and answers with what to raise; None after a block asks
    for an end as if the model had refused.
    """
    codec, opening = _Codec(), _Opening()
    releases = guard.stream_chunks(
        sse.events(source),
        codec.read,
        messages=asked,
        trusted=call.trusted,
        claimed=call.claimed,
        tenant=call.tenant,
    )
    async with aclosing(releases):
        async for release in releases:
            for chunk in _sent(release, codec, opening):
                yield chunk
            verdict = release.verdict
    if verdict is None:  # a stream ends with one
        raise unsupported("unsupported_stream", "a stream without a verdict is not let through")
    if (refused := over(verdict)) is not None:
        raise refused
    for chunk in (*opening.end(), *(codec.refuse(verdict) if verdict.blocked else ())):
        yield chunk


def _sent(release: Release[Any], codec: _Codec, opening: _Opening) -> Sequence[Any]:
    """The chunks that may be sent now that `release` may."""
    if release.chunk is None:
        return ()
    try:
        chunk = codec.write(release)
    except Undeliverable:
        raise unplaced() from None
    return () if chunk is None else opening.let(chunk, says=any(release.texts))


class _Opening:
    """Chunks that say nothing yet wait for the first that does.

    So a stream that is blocked at once can still be answered with an error of its own.
    """

    def __init__(self) -> None:
        self._held: list[Any] = []
        self.is_open = False

    def let(self, chunk: Any, *, says: bool) -> Sequence[Any]:
        """What may be sent now that `chunk` may."""
        if self.is_open:
            return (chunk,)
        self._held.append(chunk)
        return self.end() if says else ()

    def end(self) -> Sequence[Any]:
        """Everything that waits."""
        self.is_open = True
        held, self._held = self._held, []
        return held


class _Codec:
    """The codec that fits the first chunk."""

    def __init__(self) -> None:
        self._codec: Codec | None = None

    def read(self, chunk: Any) -> Sequence[Part | Gap]:
        if self._codec is None:
            self._codec = _fitting(chunk)
        return self._codec.read(chunk)

    def write(self, release: Release[Any]) -> Any | None:
        return self._codec.write(release) if self._codec else None

    def refuse(self, verdict: Verdict) -> Sequence[Any]:
        return list(self._codec.refuse(verdict)) if self._codec else ()


def _fitting(chunk: Any) -> Codec:
    if isinstance(chunk, bytes) or (isinstance(chunk, Mapping) and "type" in chunk):
        return Messages()
    kind = getattr(chunk, "type", "")
    if str(getattr(kind, "value", kind)).startswith("response."):
        return Responses()
    if hasattr(chunk, "choices"):
        return Choices()
    raise unsupported("unsupported_stream", "a stream of this kind is not guarded")
