"""A guarded chat model: the same class of model, with a guard on both sides of every call."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableConfig,
    RunnableSerializable,
    RunnableWithFallbacks,
    ensure_config,
)
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langchain_core.runnables.utils import AnyConfigurableField, Input, Output
from langchain_core.utils.utils import LC_ID_PREFIX
from typing_extensions import override

from gemma_guard import UsageError, Verdict
from gemma_guard_langchain.cache import GuardedCache
from gemma_guard_langchain.claims import claims, inherited, of_config
from gemma_guard_langchain.exchange import Exchange, Watch
from gemma_guard_langchain.refusing import (
    Guarded,
    Retriable,
    UnlessBlocked,
    guarding,
    refuse_unguarded,
)
from gemma_guard_langchain.seclusion import Secluded
from gemma_guard_langchain.views import Model, guarded_class, private, view

_NO_STREAMS = "streams are not guarded yet, so they are refused; use invoke, ainvoke or batch"

if TYPE_CHECKING:
    _Base = BaseChatModel
else:
    _Base = object

_NO_ALTERNATIVES = frozenset({"default_key", "prefix_keys"})


class GuardedModel(Guarded, _Base):
    """What a guarded model adds to its class; `wrap` makes them.

    The question is judged before LangChain tells callbacks of the call, so that they hear it as
    the model does. The call itself is LangChain's own, on a view of this model that knows what
    became of the question; the raw model, which is asked inside it, has no callbacks.
    """

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> AIMessage:
        if self._asked:
            return super().invoke(input, config, **options)
        prompt, exchange = self._of_config(input, config, options)
        exchange.admit(self._watch.guard.check_sync(**exchange.question()))
        call = self._calling([exchange])
        return super(GuardedModel, call).invoke(_seen(prompt, exchange), config, **options)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> AIMessage:
        if self._asked:
            return await super().ainvoke(input, config, **options)
        prompt, exchange = self._of_config(input, config, options)
        exchange.admit(await self._watch.guard.check(**exchange.question()))
        call = self._calling([exchange])
        return await super(GuardedModel, call).ainvoke(_seen(prompt, exchange), config, **options)

    @override
    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **options: Any,
    ) -> LLMResult:
        if self._asked:
            return super().generate(messages, stop, callbacks, **options)
        asked = [self._of_callbacks(each, callbacks, options) for each in messages]
        for exchange in asked:
            exchange.admit(self._watch.guard.check_sync(**exchange.question()))
        call, admitted = self._calling(asked), _messages(asked)
        return super(GuardedModel, call).generate(admitted, stop, callbacks, **options)

    @override
    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **options: Any,
    ) -> LLMResult:
        if self._asked:
            return await super().agenerate(messages, stop, callbacks, **options)
        asked = [self._of_callbacks(each, callbacks, options) for each in messages]
        for exchange in asked:
            exchange.admit(await self._watch.guard.check(**exchange.question()))
        call, admitted = self._calling(asked), _messages(asked)
        return await super(GuardedModel, call).agenerate(admitted, stop, callbacks, **options)

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        check = self._watch.guard.check_sync
        exchange = self._next_asked()
        if exchange is None:
            exchange = self._of_run(messages, run_manager, kwargs)
            exchange.admit(check(**exchange.question()))
            messages = list(exchange.messages)
        if refusal := exchange.refusal(listed=self._is_listed):
            return _identified(refusal, run_manager)
        raw, cache = self._raw(exchange)
        with Secluded():
            result = raw._generate_with_cache(  # noqa: SLF001  the hook, as in subclasses
                messages, stop=stop, **kwargs
            )
        verdicts = [check(**exchange.answer(generation)) for generation in result.generations]
        released = exchange.release(result, verdicts, listed=self._is_listed)
        if cache and not _any_blocked(verdicts):
            cache.keep(released.generations)
        return _identified(released, run_manager)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        check = self._watch.guard.check
        exchange = self._next_asked()
        if exchange is None:
            exchange = self._of_run(messages, run_manager, kwargs)
            exchange.admit(await check(**exchange.question()))
            messages = list(exchange.messages)
        if refusal := exchange.refusal(listed=self._is_listed):
            return _identified(refusal, run_manager)
        raw, cache = self._raw(exchange)
        with Secluded():
            result = await raw._agenerate_with_cache(  # noqa: SLF001  the hook, as in subclasses
                messages, stop=stop, **kwargs
            )
        verdicts = [await check(**exchange.answer(generation)) for generation in result.generations]
        released = exchange.release(result, verdicts, listed=self._is_listed)
        if cache and not _any_blocked(verdicts):
            await cache.akeep(released.generations)
        return _identified(released, run_manager)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate_with_cache(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return await self._agenerate_with_cache(*args, **kwargs)

    def stream(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise UsageError(_NO_STREAMS)

    astream = stream_events = astream_events = stream
    _stream = _astream = stream

    def with_structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's own; a blocked answer raises `GuardBlocked`, with `include_raw` too."""
        raising = view(self, type(self), _watch=replace(self._watch, on_block="raise"))
        return super(GuardedModel, raising).with_structured_output(*args, **kwargs)

    def with_retry(
        self, *, retry_if_exception_type: Retriable = (Exception,), **options: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """As the model's own, but content that was blocked is not tried again."""
        retriable = UnlessBlocked(retry_if_exception_type)
        return super().with_retry(retry_if_exception_type=retriable, **options)

    def with_fallbacks(
        self, fallbacks: Sequence[Runnable[Any, Any]], **options: Any
    ) -> RunnableWithFallbacks[Any, Any]:
        """As the model's own; raises `UsageError` for a fallback that is not guarded."""
        refuse_unguarded(fallbacks, "with_fallbacks")
        return super().with_fallbacks(fallbacks, **options)

    def configurable_alternatives(
        self, which: ConfigurableField, **options: Any
    ) -> RunnableSerializable[Any, Any]:
        """As the model's own; raises `UsageError` for an alternative that is not guarded."""
        guarded = {
            name: value
            if name in _NO_ALTERNATIVES
            else guarding(value, "configurable_alternatives")
            for name, value in options.items()
        }
        return super().configurable_alternatives(which, **guarded)

    def configurable_fields(self, **fields: AnyConfigurableField) -> RunnableSerializable[Any, Any]:
        """As the model's own; the model that LangChain builds of the fields is guarded too."""
        super().configurable_fields(**fields)  # refuses what is no field of the model
        return GuardedFields(default=self, fields=fields)

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

    @property
    def _watch(self) -> Watch:
        watch: Watch = private(self)["_watch"]
        return watch

    @property
    def _asked(self) -> deque[Exchange] | None:
        """The questions of the call under way that are judged already, in order."""
        return private(self).get("_asked")

    def _next_asked(self) -> Exchange | None:
        return self._asked.popleft() if self._asked else None

    def _calling(self, asked: Sequence[Exchange]) -> Self:
        """This model in a call whose questions are judged already."""
        return view(self, type(self), _asked=deque(asked))

    @property
    def _is_listed(self) -> bool:
        return self.output_version == "v1"

    def _of_config(
        self, given: LanguageModelInput, config: RunnableConfig | None, options: Mapping[str, Any]
    ) -> tuple[PromptValue, Exchange]:
        tags, metadata = of_config(ensure_config(config))
        prompt = self._convert_input(given)
        return prompt, self._exchange(prompt.to_messages(), tags, metadata, options)

    def _of_callbacks(
        self, messages: Sequence[BaseMessage], callbacks: Callbacks, options: Mapping[str, Any]
    ) -> Exchange:
        tags, metadata = inherited(callbacks)
        tags += options.get("tags") or ()
        metadata |= options.get("metadata") or {}
        return self._exchange(messages, tags, metadata, options)

    def _of_run(
        self,
        messages: Sequence[BaseMessage],
        manager: BaseRunManager | None,
        options: Mapping[str, Any],
    ) -> Exchange:
        tags, metadata = (manager.tags, manager.metadata) if manager else ((), {})
        return self._exchange(messages, tags, metadata, options)

    def _exchange(
        self,
        messages: Sequence[BaseMessage],
        tags: Sequence[str],
        metadata: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Exchange:
        tags, metadata = [*tags, *(self.tags or ())], {**metadata, **(self.metadata or {})}
        claimed = claims(tags, metadata, user=options.get("user"))
        name = options.get("model") or _name(self)
        trusted = {"model": name} if name else {}
        return Exchange(messages, self._watch.asking(claimed, **trusted), self._watch.on_block)

    def _raw(self, exchange: Exchange) -> tuple[BaseChatModel, GuardedCache | None]:
        """The model without its guard, and its cache, if it has one, under keys of the guard's."""
        kind = raw_class(self)
        used = self.cache if isinstance(self.cache, BaseCache) else get_llm_cache()
        if self.cache is False or used is None:
            return view(self, kind), None
        cache = GuardedCache(used, f"gemma-guard/{exchange.mark}/")
        return view(self, kind, fields={**self.__dict__, "cache": cache}), cache


class GuardedFields(RunnableConfigurableFields[Input, Output], Guarded):
    """A guarded model some of whose fields are set by the configuration of a run."""

    def _prepare(
        self, config: RunnableConfig | None = None
    ) -> tuple[Runnable[Any, Any], RunnableConfig]:
        guarded = cast("GuardedModel", self.default)
        raw = RunnableConfigurableFields(default=unwatched(guarded), fields=self.fields)
        model, config = raw._prepare(config)  # noqa: SLF001  the hook, as in subclasses
        watch = guarded._watch  # noqa: SLF001  a friend
        return cast("Any", watched(cast("BaseChatModel", model), watch)), config


def watched(model: Model, watch: Watch) -> Model:
    """`model` as it is now, guarded; changes to either do not reach the other."""
    kind = guarded_class(GuardedModel, type(model))
    return view(model, kind, fields={**model.__dict__}, _watch=watch)


def unwatched(model: Model) -> Model:
    """The model without its guard: what it changes in itself, it changes in `model`."""
    return view(model, raw_class(model))


def raw_class(model: BaseChatModel) -> type[BaseChatModel]:
    """The class of a guarded model without its guard."""
    return type(model).__bases__[1]


def _seen(prompt: PromptValue, exchange: Exchange) -> PromptValue:
    """What may be seen of `prompt`."""
    return ChatPromptValue(messages=exchange.messages) if exchange.is_changed else prompt


def _messages(asked: Sequence[Exchange]) -> list[list[BaseMessage]]:
    return [list(exchange.messages) for exchange in asked]


def _name(model: BaseChatModel) -> str | None:
    fields = model.__dict__
    names = (fields.get(key) for key in ("model_name", "model"))
    return next((name for name in names if name and isinstance(name, str)), None)


def _any_blocked(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.blocked for verdict in verdicts)


def _identified(result: ChatResult, manager: BaseRunManager | None) -> ChatResult:
    """LangChain's own: a message without an id gets that of the run."""
    for number, generation in enumerate(result.generations):
        if manager and generation.message.id is None:
            generation.message.id = f"{LC_ID_PREFIX}-{manager.run_id}-{number}"
    return result
