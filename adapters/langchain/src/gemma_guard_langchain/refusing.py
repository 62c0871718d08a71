"""What LangChain makes of something guarded: it keeps the guard, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import new_class
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables import ConfigurableField, Runnable
from pydantic import BaseModel

from gemma_guard import UsageError
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.views import view

Retriable: TypeAlias = tuple[type[BaseException], ...] | Callable[[BaseException], bool]

_NO_ALTERNATIVES = frozenset({"default_key", "prefix_keys"})

if TYPE_CHECKING:
    _Base = Runnable[Any, Any]
else:
    _Base = object


class Guarded(_Base):
    """What lets nothing pass unjudged; nor does what its methods give back."""

    def bind(self, **kwargs: Any) -> Any:
        """As LangChain's."""
        return guarding(super().bind(**kwargs))

    def with_config(self, config: Any = None, **kwargs: Any) -> Any:
        """As LangChain's."""
        return guarding(super().with_config(config, **kwargs))

    def with_listeners(self, **listeners: Any) -> Any:
        """As LangChain's."""
        return guarding(super().with_listeners(**listeners))

    def with_alisteners(self, **listeners: Any) -> Any:
        """As LangChain's."""
        return guarding(super().with_alisteners(**listeners))

    def with_types(self, **types: Any) -> Any:
        """As LangChain's."""
        return guarding(super().with_types(**types))

    def with_retry(
        self, *, retry_if_exception_type: Retriable = (Exception,), **options: Any
    ) -> Any:
        """As LangChain's, but content that was blocked is not tried again."""
        retriable: Any = UnlessBlocked(retry_if_exception_type)
        return guarding(super().with_retry(retry_if_exception_type=retriable, **options))

    def with_fallbacks(self, fallbacks: Sequence[Runnable[Any, Any]], **options: Any) -> Any:
        """As LangChain's; raises `UsageError` for a fallback that is not guarded."""
        _refuse_unguarded(fallbacks, "with_fallbacks")
        return guarding(super().with_fallbacks(fallbacks, **options))

    def configurable_fields(self, **fields: Any) -> Any:
        """As LangChain's."""
        return guarding(super().configurable_fields(**fields))  # type: ignore[misc]  # if it has them

    def configurable_alternatives(self, which: ConfigurableField, **options: Any) -> Any:
        """As LangChain's; raises `UsageError` for an alternative that is not guarded."""
        guarded = {
            name: value if name in _NO_ALTERNATIVES else _guarded(value)
            for name, value in options.items()
        }
        made = super().configurable_alternatives(which, **guarded)  # type: ignore[misc]  # likewise
        return guarding(made)


class GuardedMade(Guarded):
    """What LangChain made of something guarded; `guarding` adds this to its class."""

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        """As what LangChain made: its class here has no name to find it by."""
        made: Any = self
        return guarding, (view(made, type(self).__bases__[1]),)


def guarding(made: Any) -> Any:
    """`made`, whose inside is guarded, so that nothing unguarded can be put beside it."""
    if isinstance(made, Guarded):
        return made
    kind: Any = type(made)
    return view(made, _guarding_class(kind))


@lru_cache(maxsize=256)
def _guarding_class(kind: type[BaseModel]) -> type[BaseModel]:
    """`kind` that refuses, under its own name: LangChain makes names of runs of it."""
    namespace = {"__module__": __name__, "__doc__": kind.__doc__}
    return new_class(
        kind.__name__, (GuardedMade, kind), exec_body=lambda own: own.update(namespace)
    )


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


def _refuse_unguarded(runnables: Iterable[Any], where: str) -> None:
    if not all(isinstance(runnable, Guarded) for runnable in runnables):
        raise UsageError(f"{where}: every runnable here must be guarded; wrap it too")


def _guarded(made: Any) -> Any:
    """An alternative, or what makes one, refused as soon as it turns out to be unguarded."""
    where = "configurable_alternatives"
    if isinstance(made, Runnable) or not callable(made):
        _refuse_unguarded([made], where)
        return made

    def make() -> Any:
        runnable = made()
        _refuse_unguarded([runnable], where)
        return runnable

    return make
