"""What LangChain puts around a runnable, where it would lose the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable

from gemma_guard import UsageError
from gemma_guard_langchain.errors import GuardBlocked

Retriable: TypeAlias = tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class Guarded:
    """What lets nothing pass unjudged."""


@dataclass(frozen=True, slots=True)
class UnlessBlocked:
    """Whether to try again: `retriable` says so, and it was no block of the content.

    The same content is blocked again; a judge that failed may answer the next time.
    """

    retriable: Retriable

    def __call__(self, error: BaseException) -> bool:
        """Whether to try again after `error`."""
        if isinstance(error, GuardBlocked) and not error.is_retryable:
            return False
        if isinstance(self.retriable, tuple):
            return isinstance(error, self.retriable)
        return self.retriable(error)


def refuse_unguarded(runnables: Iterable[Any], where: str) -> None:
    """Raise `UsageError` where one of `runnables` has no guard of its own."""
    if not all(map(is_guarded, runnables)):
        raise UsageError(f"{where}: every runnable here must be guarded; wrap it too")


def is_guarded(runnable: Any) -> bool:
    """Whether a guard is in it, through what LangChain binds to it."""
    if isinstance(runnable, RunnableWithFallbacks):
        return all(map(is_guarded, runnable.runnables))
    if isinstance(runnable, RunnableBindingBase):
        return is_guarded(runnable.bound)
    if isinstance(runnable, DynamicRunnable):
        return is_guarded(runnable.default)
    return isinstance(runnable, Guarded)


def guarding(made: Any, where: str) -> Any:
    """`made`, a runnable or what makes one, refused as soon as it turns out to be unguarded."""
    if isinstance(made, Runnable) or not callable(made):
        refuse_unguarded([made], where)
        return made

    def make() -> Any:
        runnable = made()
        refuse_unguarded([runnable], where)
        return runnable

    return make
