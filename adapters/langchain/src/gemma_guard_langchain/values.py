"""Whatever goes in and out of a runnable → the messages and texts in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from gemma_guard import Place, UsageError
from gemma_guard_langchain.messages import Reading, read, written

_MAX_DEPTH = 50


def read_values(value: Any, at: Place = ()) -> Iterator[Reading]:
    """Every message in `value`, and every other text as one of a user.

    Looked into are mappings, lists, tuples and pydantic models; numbers say nothing, and what
    holds bytes becomes a part that the guard calls a gap.
    """
    if len(at) > _MAX_DEPTH:
        raise UsageError(f"the input or output is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, BaseMessage):
        yield read(value, at)
    elif isinstance(value, str):
        if value:
            yield _text(value, at)
    elif isinstance(value, bytes | bytearray):
        yield Reading({"role": "user", "content": [{"type": "file"}]}, {}, at)
    elif _is_message(value):
        yield Reading(dict(value), {}, at)
    else:
        yield from _inside(value, at)


def answers(value: Any) -> list[Reading]:
    """The same of what a runnable answers: its texts are said together, by the assistant."""
    parts: list[dict[str, str]] = []
    places: dict[Place, Place] = {}
    messages: list[Reading] = []
    for reading in read_values(value):
        if reading.shape.get("role") == "user" and reading.places == _ALONE:
            places["content", len(parts), "text"] = reading.at
            parts.append({"type": "text", "text": reading.shape["content"]})
        else:
            messages.append(reading)
    said = [Reading({"role": "assistant", "content": parts}, places)] if parts else []
    return [*said, *messages]


_ALONE: Mapping[Place, Place] = {("content",): ()}


def _text(text: str, at: Place) -> Reading:
    return Reading({"role": "user", "content": text}, _ALONE, at)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str) and "content" in value


def _inside(value: Any, at: Place) -> Iterator[Reading]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from read_values(each, (*at, key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from read_values(each, (*at, number))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from read_values(getattr(value, name), (*at, name))
    elif text := written(value):
        yield _text(text, at)


def is_message(kind: Any) -> bool:
    """Whether `kind`, a type as runnables declare it, is that of one message."""
    kinds = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    members = get_args(kinds[0]) if get_origin(kinds[0]) in (Union, UnionType) else kinds[:1]
    plain = [get_args(each)[0] if get_origin(each) is Annotated else each for each in members]
    return all(isinstance(each, type) and issubclass(each, BaseMessage) for each in plain)


def is_text(kind: Any) -> bool:
    """Whether `kind`, a type as runnables declare it, is that of texts."""
    return isinstance(kind, type) and issubclass(kind, str)
