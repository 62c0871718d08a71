"""A guarded chat model: the same class of model, with a guard on both sides of every call."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import new_class
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManagerForLLMRun,
)
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableWithFallbacks
from langchain_core.utils.utils import LC_ID_PREFIX
from pydantic import PrivateAttr

from gemma_guard import Fields, Guard, UsageError, Verdict
from gemma_guard_langchain.cache import GuardedCache
from gemma_guard_langchain.exchange import Exchange, OnBlock, Watch, claims

Model = TypeVar("Model", bound=BaseChatModel)

_NO_STREAMS = "streams are not guarded yet, so they are refused; use invoke, ainvoke or batch"

if TYPE_CHECKING:
    _Base = BaseChatModel
else:
    _Base = object


def wrap(
    model: Model,
    guard: Guard,
    *,
    route: str | None = None,
    trusted: Fields | None = None,
    on_block: OnBlock = "refusal",
) -> Model:
    """The same model, with `guard` before and behind every call.

    `route` or the `trusted` fields (model, key_alias, team, path) choose the route; tags and
    metadata of a run are claimed fields and can only make it stricter. A blocked call returns the
    route's refusal as a message, or raises `GuardBlocked` with `on_block="raise"`, with structured
    output, and where the content was not the reason: the judge failed, or the request cannot be
    judged. `model` itself stays unguarded. Raises `UsageError` for what cannot be wrapped.
    """
    if on_block not in ("refusal", "raise"):
        raise UsageError(f"on_block: unknown value {on_block!r}; use 'refusal' or 'raise'")
    guard.routes.resolve(route, trusted=trusted)
    watch = Watch(guard, route, dict(trusted or {}), on_block)
    if isinstance(model, GuardedModel):
        _again(model, watch)
        return model
    if not isinstance(model, BaseChatModel):
        raise UsageError(_not_a_chat_model(model))
    return _watched(copy.copy(model), watch)


class GuardedModel(_Base):
    """What a guarded model adds to its class; `wrap` makes them."""

    _watch: Watch

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Every call goes through here, or comes here. The raw model gets no callbacks."""
        check, exchange = (
            self._watch.guard.check_sync,
            self._exchange(messages, run_manager, kwargs),
        )
        verdict = check(**exchange.question())
        if refusal := exchange.admit(verdict):
            return _identified(refusal, run_manager)
        raw, cache = self._raw(verdict)
        result = raw._generate_with_cache(  # noqa: SLF001  the hook, as in subclasses
            list(exchange.messages), stop=stop, **kwargs
        )
        verdicts = [check(**exchange.answer(generation)) for generation in result.generations]
        released = _identified(exchange.release(result, verdicts), run_manager)
        if cache and not _any_blocked(verdicts):
            cache.keep(released.generations)
        return released

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        check, exchange = self._watch.guard.check, self._exchange(messages, run_manager, kwargs)
        verdict = await check(**exchange.question())
        if refusal := exchange.admit(verdict):
            return _identified(refusal, run_manager)
        raw, cache = self._raw(verdict)
        result = await raw._agenerate_with_cache(  # noqa: SLF001  the hook, as in subclasses
            list(exchange.messages), stop=stop, **kwargs
        )
        verdicts = [await check(**exchange.answer(generation)) for generation in result.generations]
        released = _identified(exchange.release(result, verdicts), run_manager)
        if cache and not _any_blocked(verdicts):
            await cache.akeep(released.generations)
        return released

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate_with_cache(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return await self._agenerate_with_cache(*args, **kwargs)

    def with_structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's own; a blocked answer raises `GuardBlocked`, with `include_raw` too."""
        if self._watch.on_block == "raise":
            return super().with_structured_output(*args, **kwargs)
        raising = replace(self._watch, on_block="raise")
        return _watched(_unwatched(self), raising).with_structured_output(*args, **kwargs)

    def with_fallbacks(
        self, fallbacks: Sequence[Runnable[Any, Any]], **kwargs: Any
    ) -> RunnableWithFallbacks[Any, Any]:
        """As the model's own; raises `UsageError` for a fallback that is not guarded."""
        if not all(map(_is_guarded, fallbacks)):
            raise UsageError("with_fallbacks: every fallback must be a guarded model; wrap it too")
        guarded: RunnableWithFallbacks[Any, Any] = super().with_fallbacks(fallbacks, **kwargs)
        return guarded

    def configurable_alternatives(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an alternative would run unguarded."""
        raise UsageError("configurable_alternatives of a guarded model are not guarded yet")

    def configurable_fields(self, **_: Any) -> NoReturn:
        """Refused: LangChain would build the model anew, without its guard."""
        raise UsageError("configurable_fields of a guarded model are not guarded yet")

    def stream(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise UsageError(_NO_STREAMS)

    astream = stream_events = astream_events = stream
    _stream = _astream = stream

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Not: what is loaded again would have no guard."""
        return False

    @property
    def _serialized(self) -> dict[str, Any]:
        """What callbacks are told of the model: a name, and nothing to load it from."""
        return {"lc": 1, "type": "not_implemented", "id": self.lc_id(), "repr": None}

    def __reduce_ex__(self, _: Any) -> NoReturn:
        raise UsageError("a guarded model cannot be pickled; pickle the model and wrap it again")

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """What the raw model says of itself, whose class name is part of it."""
        raw = _unwatched(self)
        return raw._get_ls_params(stop=stop, **kwargs)  # noqa: SLF001  the hook, as in subclasses

    def _exchange(
        self,
        messages: Sequence[BaseMessage],
        manager: BaseRunManager | None,
        parameters: Mapping[str, Any],
    ) -> Exchange:
        name = parameters.get("model") or _name(self)
        trusted = {"model": name, **self._watch.trusted} if name else self._watch.trusted
        claimed = claims(manager, parameters)
        return Exchange(self._watch, messages, trusted, claimed, self.output_version == "v1")

    def _raw(self, verdict: Verdict) -> tuple[BaseChatModel, GuardedCache | None]:
        """The model without its guard, and its cache, if it has one, under keys of the guard's."""
        raw = _unwatched(self)
        used = self.cache if isinstance(self.cache, BaseCache) else get_llm_cache()
        if self.cache is False or used is None:
            return raw, None
        cache = GuardedCache(used, f"gemma-guard/{verdict.fingerprint}/{verdict.route}/")
        return _view(raw, type(raw), {**raw.__dict__, "cache": cache}), cache


def _watched(model: Model, watch: Watch) -> Model:
    guarded = _view(model, _guarded_class(type(model)), model.__dict__)
    private = {**(model.__pydantic_private__ or {}), "_watch": watch}
    object.__setattr__(guarded, "__pydantic_private__", private)
    return guarded


def _unwatched(model: BaseChatModel) -> BaseChatModel:
    """The model without its guard: what it changes in itself, it changes in `model`."""
    return _view(model, type(model).__mro__[2], model.__dict__)


def _view(model: Model, kind: type[BaseChatModel], fields: dict[str, Any]) -> Model:
    """`model` as an instance of `kind`, with `fields`, sharing all the rest."""
    view = object.__new__(kind)
    object.__setattr__(view, "__dict__", fields)
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(view, slot, getattr(model, slot))
    return cast("Model", view)


@lru_cache(maxsize=256)
def _guarded_class(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    """The class of a guarded `kind`, whose native event streams, if any, are switched off."""
    native = ("_stream_chat_model_events", "_astream_chat_model_events")
    namespace = {
        "__module__": __name__,
        "__doc__": kind.__doc__,
        "__annotations__": {"_watch": Watch, **dict.fromkeys(native, ClassVar[None])},
        "_watch": PrivateAttr(),
        **dict.fromkeys(native),
    }
    return new_class(
        f"Guarded{kind.__name__}", (GuardedModel, kind), exec_body=lambda own: own.update(namespace)
    )


def _again(model: GuardedModel, watch: Watch) -> None:
    if model._watch != watch:  # noqa: SLF001  a friend
        raise UsageError("the model is guarded already, in another way; wrap the raw model")


def _is_guarded(runnable: Runnable[Any, Any]) -> bool:
    while isinstance(runnable, RunnableBinding):
        runnable = runnable.bound
    return isinstance(runnable, GuardedModel)


def _not_a_chat_model(given: Any) -> str:
    advice = "wrap the chat model first, then bind tools to it or build the chain"
    return f"wrap: a chat model is needed, got {type(given).__name__}; {advice}"


def _name(model: BaseChatModel) -> str | None:
    names = (getattr(model, key, None) for key in ("model_name", "model"))
    return next((name for name in names if name and isinstance(name, str)), None)


def _any_blocked(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.blocked for verdict in verdicts)


def _identified(result: ChatResult, manager: BaseRunManager | None) -> ChatResult:
    """LangChain's own: a message without an id gets that of the run."""
    for number, generation in enumerate(result.generations):
        if manager and generation.message.id is None:
            generation.message.id = f"{LC_ID_PREFIX}-{manager.run_id}-{number}"
    return result
