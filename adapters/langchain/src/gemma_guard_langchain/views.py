"""One model seen in several ways: raw, guarded, and guarded while a call is under way.

A view shares everything with the model it is a view of, so that what a model changes in itself
stays changed.
"""

from __future__ import annotations

from functools import lru_cache
from types import new_class
from typing import Any, ClassVar, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseChatModel)
Seen = TypeVar("Seen", bound=BaseModel)

_NATIVE_STREAMS = ("_stream_chat_model_events", "_astream_chat_model_events")


def view(
    model: Seen,
    kind: type[BaseModel],
    *,
    fields: dict[str, Any] | None = None,
    **private: Any,
) -> Seen:
    """`model` as an instance of `kind`, with `fields` and `private` attributes if given."""
    seen, own = object.__new__(kind), model.__pydantic_private__
    put = object.__setattr__
    put(seen, "__dict__", model.__dict__ if fields is None else fields)
    put(seen, "__pydantic_fields_set__", model.__pydantic_fields_set__)
    put(seen, "__pydantic_extra__", model.__pydantic_extra__)
    put(seen, "__pydantic_private__", {**(own or {}), **private} if private else own)
    return cast("Seen", seen)


@lru_cache(maxsize=256)
def guarded_class(guard: type, kind: type[BaseChatModel]) -> type[BaseChatModel]:
    """`kind` with what `guard` adds, under the name of `kind`: names of runs are made of it.

    Native event streams, if it has any, would go around the guard and are switched off.
    """
    namespace = {
        "__module__": __name__,
        "__qualname__": f"guarded {kind.__qualname__}",
        "__doc__": kind.__doc__,
        "__annotations__": dict.fromkeys(_NATIVE_STREAMS, ClassVar[None]),
        **dict.fromkeys(_NATIVE_STREAMS),
    }
    return new_class(kind.__name__, (guard, kind), exec_body=lambda own: own.update(namespace))


def private(model: BaseChatModel) -> dict[str, Any]:
    """What a view was given; pydantic's own way there takes microseconds."""
    return model.__pydantic_private__ or {}
