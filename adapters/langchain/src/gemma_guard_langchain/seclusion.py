"""Where what is not judged yet is worked on: callbacks and tracers around it hear nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import tracing_v2_callback_var
from langsmith.run_helpers import tracing_context
from langsmith.utils import tracing_is_enabled

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
