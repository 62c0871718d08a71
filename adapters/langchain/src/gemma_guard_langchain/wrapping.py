"""`wrap`: what is given, with a guard in it, and otherwise what it was."""

from __future__ import annotations

from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel

from gemma_guard import Fields, Guard, UsageError
from gemma_guard_langchain.exchange import OnBlock, Watch
from gemma_guard_langchain.model import GuardedModel, watched

Wrapped = TypeVar("Wrapped", bound=BaseChatModel)


def wrap(
    model: Wrapped,
    guard: Guard,
    *,
    route: str | None = None,
    trusted: Fields | None = None,
    on_block: OnBlock = "refusal",
) -> Wrapped:
    """The same model, with `guard` before and behind every call.

    `route` or the `trusted` fields (model, key_alias, team, path) choose the route; tags and
    metadata of a run are claimed fields and can only make it stricter. A blocked call returns the
    route's refusal as a message, or raises `GuardBlocked` with `on_block="raise"`, with structured
    output, and where the content was not the reason: the judge failed, or the request cannot be
    judged. `model` itself stays unguarded. Raises `UsageError` for what cannot be wrapped.
    """
    watch = watch_of(guard, route, trusted, on_block)
    if isinstance(model, GuardedModel):
        _again(model, watch)
        return model
    if not isinstance(model, BaseChatModel):
        raise UsageError(_not_a_chat_model(model))
    return watched(model, watch)


def watch_of(guard: Guard, route: str | None, trusted: Fields | None, on_block: OnBlock) -> Watch:
    """What the developer says about the traffic; raises `UsageError` for what no route knows."""
    if on_block not in ("refusal", "raise"):
        raise UsageError(f"on_block: unknown value {on_block!r}; use 'refusal' or 'raise'")
    guard.routes.resolve(route, trusted=trusted)
    return Watch(guard, route, dict(trusted or {}), on_block)


def _again(model: GuardedModel, watch: Watch) -> None:
    if model._watch != watch:  # noqa: SLF001  a friend
        raise UsageError("the model is guarded already, in another way; wrap the raw model")


def _not_a_chat_model(given: Any) -> str:
    advice = "wrap the chat model first, then bind tools to it or build the chain"
    return f"wrap: a chat model is needed, got {type(given).__name__}; {advice}"
