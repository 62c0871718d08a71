"""Streams of choices: chunks of chat completions and of text completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gemma_guard import Cause, Gap, Part, Place, Release, Verdict
from gemma_guard_litellm.codec import Ends, Field, Undeliverable
from gemma_guard_litellm.texts import texts

_TEXTS = {"content": "content", "reasoning_content": "reasoning", "refusal": "refusal"}
_MEDIA = ("audio", "images")
_READ = frozenset({*_TEXTS, *_MEDIA, "tool_calls", "function_call", "role"})
_OF_CHOICE = frozenset({"delta", "finish_reason", "index", "logprobs", "text"})
_OF_CHUNK = frozenset(
    {
        *("choices", "created", "id", "model", "object", "system_fingerprint", "usage"),
        "service_tier",
    }
)


class Choices:
    """Reads and writes chunks that are LiteLLM's models."""

    def __init__(self) -> None:
        self._ends = Ends()
        self._calls: dict[str | int, Place] = {}
        self._template: Any = None
        self._count = 1
        self._finished: set[int] = set()

    def read(self, chunk: Any) -> Sequence[Part | Gap]:
        """The texts of every choice; those of one that finishes end."""
        self._template = self._template or chunk
        self._count = max(self._count, 1 + max((c.index for c in chunk.choices), default=0))
        found = list(_fields(chunk))
        if not found and not any(choice.finish_reason for choice in chunk.choices):
            return ()
        parts = [field.part for field in found]
        for part in parts:
            if isinstance(part, Part):
                self._ends.begin(part.place[0], part.place)
        return [*parts, *self._over(parts), *self._finishing(chunk)]

    def write(self, release: Release[Any]) -> Any | None:
        """The chunk as it came, or a copy with what may be seen of it."""
        chunk: Any = release.chunk
        if not release.is_whole:
            chunk = _written(chunk, release)
        if release.is_last:
            self._finished.update(c.index for c in chunk.choices if c.finish_reason)
        return chunk

    def refuse(self, verdict: Verdict) -> Iterable[Any]:
        """A last chunk for each choice that has not finished."""
        for index in range(self._count):
            if index not in self._finished and self._template is not None:
                yield _refusal(self._template, index, verdict.refusal)

    def _over(self, parts: Sequence[Part | Gap]) -> Iterator[Part]:
        """A call is over when the next one of its choice begins."""
        for part in parts:
            if isinstance(part, Part) and part.call is not None:
                before = self._calls.get(part.place[0], part.place)
                self._calls[part.place[0]] = part.place
                if before != part.place:
                    yield Part(before, ends=True)

    def _finishing(self, chunk: Any) -> Iterator[Part]:
        for choice in chunk.choices:
            if choice.finish_reason:
                yield from self._ends.end(choice.index)


def _fields(chunk: Any) -> Iterator[Field]:
    for number, choice in enumerate(chunk.choices):
        if text := getattr(choice, "text", None):
            yield Field(Part((choice.index, "content"), text), _to_text(number))
        if (delta := getattr(choice, "delta", None)) is not None:
            yield from _of_delta(delta, choice.index, number)
    if more := "\n".join(_rest(chunk)):
        yield Field(Part((0, "rest"), more), _nowhere)


def _of_delta(delta: Any, index: int, number: int) -> Iterator[Field]:
    for key, name in _TEXTS.items():
        if text := getattr(delta, key, None):
            yield Field(Part((index, name), text), _to_delta(number, key))
    for at, call in enumerate(getattr(delta, "tool_calls", None) or ()):
        said, place = call.function, (index, "tool_calls", call.index)
        part = Part(place, said.arguments or "", call=said.name or "")
        yield Field(part, _to_call(number, at))
    if said := getattr(delta, "function_call", None):
        part = Part((index, "function_call"), said.arguments or "", call=said.name or "")
        yield Field(part, _to_function(number))
    for key in _MEDIA:
        if getattr(delta, key, None):
            yield Field(Gap(Cause.MEDIA, (index, key)), _nowhere)


def _rest(chunk: Any) -> Iterator[str]:
    """Texts in what providers add."""
    yield from texts(dict(_extra(chunk, _OF_CHUNK)))
    for choice in chunk.choices:
        yield from texts(dict(_extra(choice, _OF_CHOICE)))
        delta = getattr(choice, "delta", None)
        if delta is not None:
            said = {getattr(delta, key, None) for key in _TEXTS}
            yield from (text for text in texts(dict(_extra(delta, _READ))) if text not in said)


def _extra(model: Any, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Its other fields as plain values; LiteLLM's models keep many beside those they declare."""
    for key, value in {**vars(model), **(model.model_extra or {})}.items():
        if value and key not in known and not key.startswith("_"):
            yield key, _plain(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _to_text(number: int) -> Any:
    def write(chunk: Any, text: str) -> None:
        chunk.choices[number].text = text

    return write


def _to_delta(number: int, key: str) -> Any:
    def write(chunk: Any, text: str) -> None:
        setattr(chunk.choices[number].delta, key, text)

    return write


def _to_call(number: int, at: int) -> Any:
    def write(chunk: Any, text: str) -> None:
        chunk.choices[number].delta.tool_calls[at].function.arguments = text

    return write


def _to_function(number: int) -> Any:
    def write(chunk: Any, text: str) -> None:
        chunk.choices[number].delta.function_call.arguments = text

    return write


def _nowhere(chunk: Any, text: str) -> None:
    del chunk, text
    raise Undeliverable


def _written(chunk: Any, release: Release[Any]) -> Any:
    """A copy with `release.texts`; what ends an answer waits for the last of them."""
    copy = chunk.model_copy(deep=True)
    for field, text in zip(_fields(chunk), release.texts, strict=False):
        if isinstance(field.part, Part) and text != field.part.text:
            field.write(copy, text)
    for choice in copy.choices:
        if hasattr(choice, "logprobs"):
            choice.logprobs = None
        if not release.is_last:
            choice.finish_reason = None
    if not release.is_last and getattr(copy, "usage", None) is not None:
        copy.usage = None
    return copy


def _refusal(template: Any, index: int, text: str) -> Any:
    """A chunk that says the refusal and finishes the choice."""
    chunk = template.model_copy(deep=True)
    del chunk.choices[1:]
    choice = chunk.choices[0]
    for model, known in ((chunk, _OF_CHUNK), (choice, _OF_CHOICE)):
        for key, _ in list(_extra(model, known)):
            delattr(model, key)
    choice.index, choice.finish_reason = index, "content_filter"
    if getattr(choice, "delta", None) is None:
        choice.text = f"\n\n{text}"
    else:
        choice.delta = type(choice.delta)(role="assistant", content=f"\n\n{text}")
    return chunk
