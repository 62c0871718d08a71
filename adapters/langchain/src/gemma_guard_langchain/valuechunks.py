"""Chunks of any runnable → the texts that grow in them, and what may be seen of a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from gemma_guard import Cause, Gap, Part, Place, Release, Verdict
from gemma_guard_langchain.chunks import Writing, only_chunk, parts
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.exchange import OnBlock, refusal
from gemma_guard_langchain.messages import replaced
from gemma_guard_langchain.values import read_values


class ValueStream:
    """One stream of chunks that are texts, messages or whatever holds them."""

    def __init__(self, on_block: OnBlock) -> None:
        self._on_block = on_block
        self._messages = Writing()
        self._kind: type = str
        self._begun = ""

    def parts(self, chunk: Any) -> tuple[Part | Gap, ...]:
        """What `chunk` adds to the texts of an answer."""
        self._kind = type(chunk)
        if isinstance(chunk, str):
            return (Part((0, "content"), chunk),) if chunk else ()
        if isinstance(chunk, AIMessage):
            return parts(_generation(chunk))
        return tuple([part for part, _ in _read(chunk)])

    def seen(self, release: Release[Any]) -> Iterator[Any]:
        """What may be seen of a released chunk, or the refusal that ends the stream."""
        chunk, verdict = release.chunk, release.verdict
        if chunk is not None:
            yield from self._seen(chunk, release)
        elif verdict and verdict.blocked:
            yield self._refusal(verdict)

    def _seen(self, chunk: Any, release: Release[Any]) -> Iterator[Any]:
        if isinstance(chunk, AIMessage):
            yield self._message(chunk, release)
        elif isinstance(chunk, str):
            yield chunk if release.is_whole else "".join(release.texts)
        elif release.is_last:
            yield chunk if release.is_whole else self._rewritten(chunk, release.texts)
        else:
            self._begun += "".join(release.texts)

    def _rewritten(self, chunk: Any, texts: tuple[str, ...]) -> Any:
        """`chunk` whole: half a mapping is none."""
        begun, self._begun = self._begun, ""
        for number, ((_, path), text) in enumerate(zip(_read(chunk), texts, strict=True)):
            if path is not None:
                chunk = replaced(chunk, path, text if number else begun + text)
        return chunk

    def _message(self, chunk: AIMessage, release: Release[Any]) -> Any:
        generation = _generation(chunk)
        seen = self._messages.chunk(
            Release(generation, release.texts, release.is_whole, release.is_last, release.verdict)
        )
        return chunk if seen is generation or seen is None else seen.message

    def _refusal(self, verdict: Verdict) -> Any:
        apart = "\n\n" if verdict.released else ""
        if issubclass(self._kind, AIMessage):
            message = refusal(verdict, self._on_block)
            text = f"{apart}{message.text}"
            return only_chunk(ChatGeneration(message=message), text=text).message
        if (
            not issubclass(self._kind, str)
            or self._on_block == "raise"
            or verdict.fault != "content"
        ):
            raise GuardBlocked(verdict)
        return f"{apart}{verdict.refusal}"


def _generation(message: AIMessage) -> ChatGenerationChunk:
    if isinstance(message, AIMessageChunk):
        return ChatGenerationChunk(message=message)
    return only_chunk(ChatGeneration(message=message))


def _read(chunk: Any) -> Iterator[tuple[Part | Gap, Place | None]]:
    """Each text of a chunk that is neither text nor message, and where it stands in it."""
    for reading in read_values(chunk):
        for place, text, call in _texts(reading.shape, ()):
            at: Place = (0, *reading.at, *place)
            if text is None:
                yield Gap(Cause.MEDIA, at, reason="a part no scorer here judges"), None
            else:
                yield Part(at, text, call=call), reading.path(place)


def _texts(shape: Any, place: Place) -> Iterator[tuple[Place, str | None, str | None]]:
    """The texts of a message in the OpenAI form, None for what is none, and whose arguments."""
    for key in ("content", "name", "refusal", "reasoning_content"):
        value = shape.get(key)
        if isinstance(value, str) and value:
            yield (*place, key), value, None
    content = shape.get("content")
    for number, part in enumerate(content if isinstance(content, list) else ()):
        text = part if isinstance(part, str) else part.get("text")
        at = (*place, "content", number)
        yield (at if isinstance(part, str) else (*at, "text")), text, None
    for number, call in enumerate(shape.get("tool_calls") or ()):
        function = call.get("function") or {}
        at = (*place, "tool_calls", number, "function", "arguments")
        arguments = function.get("arguments") or " "
        yield at, arguments, str(function.get("name") or "")
