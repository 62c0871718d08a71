"""Where what is not judged yet is worked on: callbacks and tracers around it hear nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractContextManager, aclosing
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Any, TypeVar, cast

from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers._streaming import (
    _StreamingCallbackHandler,
    _V2StreamingCallbackHandler,
)
from langchain_core.tracers.context import tracing_v2_callback_var
from langsmith.run_helpers import tracing_context
from langsmith.utils import tracing_is_enabled

T = TypeVar("T")

GROWING = (_StreamingCallbackHandler, _V2StreamingCallbackHandler)
"""The callbacks that want to hear an answer as it grows. LangChain has no public name for them."""

_END = object()
_LISTENERS: tuple[ContextVar[Any], ...] = (var_child_runnable_config, tracing_v2_callback_var)


class Secluded:
    """Runnables called in here inherit no callbacks and no tracer from outside."""

    __slots__ = ("_tracing", "_way_back")

    def __enter__(self) -> None:
        self._way_back = [
            (listeners, listeners.set(None))
            for listeners in _LISTENERS
            if listeners.get() is not None
        ]
        self._tracing: AbstractContextManager[None] | None = None
        if tracing_is_enabled():
            self._tracing = tracing_context(enabled=False)
            self._tracing.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tracing:
            self._tracing.__exit__(kind, error, trace)
        for listeners, token in self._way_back:
            listeners.reset(token)


def unheard(source: Iterator[T]) -> Generator[T, None, None]:
    """What `source` yields, secluded; whoever asks for it keeps the callbacks around it."""
    context, seclusion = copy_context(), Secluded()
    context.run(seclusion.__enter__)
    try:
        while (item := context.run(next, source, _END)) is not _END:
            yield cast("T", item)
    finally:
        if close := getattr(source, "close", None):
            context.run(close)
        context.run(seclusion.__exit__, None, None, None)


async def aunheard(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """What `source` yields, secluded; to be asked for by one task only."""
    with Secluded():
        async with aclosing(source):
            async for item in source:
                yield item
