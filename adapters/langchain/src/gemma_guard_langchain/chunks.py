"""Chunks of a model's answer → the texts that grow in them, and what may be seen of a chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from gemma_guard import Cause, Gap, Part, Place, Release
from gemma_guard_langchain.messages import WORDED, WORDLESS, replaced, wordless, written

_CONTENT: Place = (0, "content")
_TEXTS = {
    "text": "content",
    "output_text": "content",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "refusal": "refusal",
}
_HELD = frozenset(
    {"function_call", "invalid_tool_call", "server_tool_call", "tool_call", "tool_use"}
)
_DELTAS = frozenset({"input_json_delta", "tool_call_chunk", "server_tool_call_chunk"})


@dataclass(frozen=True, slots=True)
class _Found:
    """A text or a gap, and where it stands in the message of the chunk."""

    part: Part | Gap
    path: Place = ()


def parts(chunk: ChatGenerationChunk) -> tuple[Part | Gap, ...]:
    """What `chunk` adds to the texts of its answer."""
    message = chunk.message
    content = message.content
    if type(content) is str and not _has_more(message):
        return (Part(_CONTENT, content),) if content else ()
    return tuple([found.part for found in _read(message)])


def _has_more(message: Any) -> bool:
    return bool(message.additional_kwargs or message.tool_call_chunks or message.name)


def _read(message: Any) -> Iterator[_Found]:
    yield from _content(message.content, ("content",))
    if message.name:
        yield _Found(Part((0, "name"), message.name), ("name",))
    for key, value in message.additional_kwargs.items():
        yield from _extra(key, value, ("additional_kwargs", key))
    for number, call in enumerate(message.tool_call_chunks):
        yield from _call(call, number)


def _content(content: Any, path: Place) -> Iterator[_Found]:
    if isinstance(content, str):
        if content:
            yield _Found(Part(_CONTENT, content), path)
        return
    for number, block in enumerate(content):
        at = (*path, number)
        if isinstance(block, str):
            yield _Found(Part(_CONTENT, block), at)
        else:
            yield from _block(block, at)


def _block(block: Mapping[str, Any], path: Place) -> Iterator[_Found]:
    kind = str(block.get("type"))
    if kind not in WORDED and kind not in _DELTAS:
        yield _Found(Gap(Cause.MEDIA, (0, "content"), reason="a part no scorer here judges"))
        return
    for key, value in block.items():
        if key not in WORDLESS and (text := written(value)):
            yield _Found(_part_of(block, kind, key, text, path), (*path, key))


def _part_of(block: Mapping[str, Any], kind: str, key: str, text: str, path: Place) -> Part:
    name = _TEXTS.get(kind)
    if name and isinstance(block[key], str):
        return Part((0, name), text)
    number = block.get("index", path[-1])
    return Part((0, "content", str(number), key), text, call="")


def _extra(key: str, value: Any, path: Place) -> Iterator[_Found]:
    if not (text := written(value)):
        return
    if key in ("reasoning_content", "refusal") and isinstance(value, str):
        yield _Found(Part((0, "reasoning" if key == "reasoning_content" else key), text), path)
    elif key == "function_call" and isinstance(value, Mapping):
        yield _Found(_arguments((0, key), value, "arguments"), (*path, "arguments"))
    elif isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _extra(f"{key}.{inner}", each, (*path, inner))
    else:
        yield _Found(Part((0, key), text, call=""), path)


def _call(call: Mapping[str, Any], number: int) -> Iterator[_Found]:
    """The arguments of a call, which are held until they are complete, with its name."""
    index = call.get("index")
    place = (0, "tool_calls", str(number if index is None else index))
    yield _Found(_arguments(place, call, "args"), ("tool_call_chunks", number, "args"))


def _arguments(place: Place, call: Mapping[str, Any], key: str) -> Part:
    """A name alone is held as well: by a blank, which JSON may begin with."""
    name = call.get("name")
    return Part(place, call.get(key) or (" " if name else ""), call=name or "")


class Writing:
    """What the consumer of one stream sees of its chunks."""

    def __init__(self) -> None:
        self._is_redacted = False

    def chunk(self, release: Release[ChatGenerationChunk]) -> ChatGenerationChunk | None:
        """What of a released chunk may be seen; None at the end of the stream."""
        chunk = release.chunk
        if chunk is None:
            return None
        self._is_redacted = self._is_redacted or release.verdict is not None
        if release.is_whole and not self._is_redacted:
            return chunk
        message = chunk.message if release.is_whole else _rewritten(chunk.message, release)
        info = wordless(chunk.generation_info or {}) if release.is_last else None
        metadata = wordless(message.response_metadata) if release.is_last else {}
        message = message.model_copy(update={"response_metadata": metadata})
        return ChatGenerationChunk(message=message, generation_info=info or None)


def _rewritten(message: Any, release: Release[ChatGenerationChunk]) -> BaseMessageChunk:
    fields = {name: getattr(message, name) for name in type(message).model_fields}
    for found, text in zip(_read(message), release.texts, strict=True):
        if found.path:
            name, *path = found.path
            fields[str(name)] = replaced(fields[str(name)], tuple(path), text)
    if not release.is_last:
        fields |= {"usage_metadata": None, "chunk_position": None}
    fields |= {"tool_calls": [], "invalid_tool_calls": []}  # made anew of the chunks of calls
    return AIMessageChunk(**fields)


def only_chunk(generation: ChatGeneration, *, text: str | None = None) -> ChatGenerationChunk:
    """A whole answer as the only chunk of a stream, or as its last one with `text`."""
    answer = generation.message
    content = answer.content if text is None else text
    message = AIMessageChunk(
        content=content,
        id=answer.id,
        additional_kwargs=answer.additional_kwargs,
        response_metadata=answer.response_metadata,
        tool_calls=answer.tool_calls if isinstance(answer, AIMessage) else [],
        invalid_tool_calls=answer.invalid_tool_calls if isinstance(answer, AIMessage) else [],
        usage_metadata=answer.usage_metadata if isinstance(answer, AIMessage) else None,
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message, generation_info=generation.generation_info)
