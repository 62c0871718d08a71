"""`wrap`: what is given, with a guard in it, and otherwise what it was."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import (
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.runnables.retry import RunnableRetry

from gemma_guard import Fields, Guard, UsageError
from gemma_guard_langchain.choice import GuardedChoice, is_choice
from gemma_guard_langchain.exchange import OnBlock, Watch, watch_of
from gemma_guard_langchain.model import GuardedFields, GuardedModel, apart, watched
from gemma_guard_langchain.refusing import Guarded, UnlessBlocked, guarding
from gemma_guard_langchain.runnable import GuardedRunnable

Wrapped = TypeVar("Wrapped", bound=Runnable[Any, Any])


def wrap(
    runnable: Wrapped,
    guard: Guard,
    *,
    route: str | None = None,
    trusted: Fields | None = None,
    on_block: OnBlock = "refusal",
) -> Wrapped:
    """The same chat model, or any other runnable, with `guard` before and behind every call.

    `route` or the `trusted` fields (model, key_alias, team, path) choose the route; tags, metadata
    and what is configurable of a run are claimed fields and can only make it stricter. A blocked
    call returns the route's refusal, as a message or a text. It raises `GuardBlocked` with
    `on_block="raise"`, where the answer is neither, with structured output, and where the content
    was not the reason: the judge failed, or the request cannot be judged. What is given stays
    unguarded itself; of what is bound to a chat model, or chooses among some, a copy holds the
    guarded one. Raises `UsageError` for what is no runnable, or guarded already in another way.
    """
    watch = watch_of(guard, route, trusted, on_block)
    if not isinstance(runnable, Runnable):
        raise UsageError(f"wrap: a runnable is needed, got {type(runnable).__name__}")
    if isinstance(runnable, BaseChatModel) and not isinstance(runnable, Guarded):
        return cast("Wrapped", watched(apart(runnable), watch))
    return cast("Wrapped", _again(runnable, watch) or guarded(runnable, watch))


def guarded(runnable: Any, watch: Watch) -> Any:
    """`runnable` with a guard in it, or itself if it has one; a model keeps its state for both."""
    if isinstance(runnable, Guarded):
        return runnable
    if isinstance(runnable, BaseChatModel):
        return watched(runnable, watch)
    if _holds_a_model(runnable):
        return _with_models(runnable, partial(guarded, watch=watch))
    return GuardedRunnable(runnable, watch)


def _holds_a_model(runnable: Any) -> bool:
    """Whether it is a chat model but for what LangChain put around it."""
    if isinstance(runnable, RunnableBindingBase):
        return _holds_a_model(runnable.bound)
    if isinstance(runnable, RunnableConfigurableFields | RunnableConfigurableAlternatives):
        return _holds_a_model(runnable.default)
    if isinstance(runnable, RunnableWithFallbacks):
        return all(map(_holds_a_model, runnable.runnables))
    return isinstance(runnable, BaseChatModel) or is_choice(runnable)


def _with_models(runnable: Any, guard_it: Any) -> Any:
    if isinstance(runnable, RunnableBindingBase):
        return guarding(runnable.model_copy(update=_rebound(runnable, guard_it)))
    if isinstance(runnable, RunnableConfigurableFields):
        return GuardedFields(
            default=guard_it(runnable.default), fields=runnable.fields, config=runnable.config
        )
    if isinstance(runnable, RunnableConfigurableAlternatives):
        others = {name: _lazily(other, guard_it) for name, other in runnable.alternatives.items()}
        changed = {"default": guard_it(runnable.default), "alternatives": others}
        return guarding(runnable.model_copy(update=changed))
    if isinstance(runnable, RunnableWithFallbacks):
        fallbacks = list(map(guard_it, runnable.fallbacks))
        changed = {"runnable": guard_it(runnable.runnable), "fallbacks": fallbacks}
        return guarding(runnable.model_copy(update=changed))
    return GuardedChoice(runnable, guard_it)


def _rebound(binding: Any, guard_it: Any) -> dict[str, Any]:
    changed = {"bound": guard_it(binding.bound)}
    if isinstance(binding, RunnableRetry):
        changed["retry_exception_types"] = UnlessBlocked(binding.retry_exception_types)
    return changed


def _lazily(made: Any, guard_it: Any) -> Any:
    """An alternative, or what makes one."""
    if isinstance(made, Runnable):
        return guard_it(made)
    return lambda: guard_it(made())


def _again(runnable: Any, watch: Watch) -> Any:
    """`runnable` if it is guarded already, in the same way."""
    if not isinstance(runnable, GuardedModel | GuardedRunnable):
        return None
    if runnable._watch != watch:  # noqa: SLF001  a friend
        raise UsageError("it is guarded already, in another way; wrap what it was made of")
    return runnable
