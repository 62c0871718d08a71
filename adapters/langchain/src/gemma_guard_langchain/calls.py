"""Calls of a guarded model that answer at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.utils import LC_ID_PREFIX
from typing_extensions import override

from gemma_guard_langchain.exchange import Exchange, refusal
from gemma_guard_langchain.seclusion import GROWING, Secluded
from gemma_guard_langchain.watched import Watched, seen, unwatched


class GuardedCalls(Watched):
    """The question is judged before LangChain tells callbacks of the call, who hear what is left.

    The call itself is LangChain's own, on a view of this model that knows what became of the
    question; the raw model, which is asked inside it, has no callbacks.
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
        return super(GuardedCalls, call).invoke(seen(prompt, exchange), config, **options)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> AIMessage:
        if self._asked:
            return await super().ainvoke(input, config, **options)
        prompt, exchange = self._of_config(input, config, options)
        exchange.admit(await self._watch.guard.check(**exchange.question()))
        call = self._calling([exchange])
        return await super(GuardedCalls, call).ainvoke(seen(prompt, exchange), config, **options)

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
        return super(GuardedCalls, call).generate(admitted, stop, callbacks, **options)

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
        return await super(GuardedCalls, call).agenerate(admitted, stop, callbacks, **options)

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
            messages = list(exchange.value)
        if refusal := exchange.refusal(listed=self._is_listed):
            return _identified(refusal, run_manager)
        raw, cache = self._raw(exchange)
        if cache is None and self._is_overheard(run_manager, async_api=False, **kwargs):
            call = self._calling([exchange])
            streamed = super(GuardedCalls, call)._generate_with_cache(
                messages, stop, run_manager, **kwargs
            )
            return self._streamed(streamed, exchange, run_manager)
        with Secluded():
            result = raw._generate_with_cache(  # noqa: SLF001  the hook, as in subclasses
                messages, stop=stop, **kwargs
            )
        verdicts = [check(**exchange.answer(generation)) for generation in result.generations]
        released = exchange.release(result, verdicts, listed=self._is_listed)
        if cache and exchange.may_be_kept(verdicts):
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
            messages = list(exchange.value)
        if refusal := exchange.refusal(listed=self._is_listed):
            return _identified(refusal, run_manager)
        raw, cache = self._raw(exchange)
        if cache is None and self._is_overheard(run_manager, async_api=True, **kwargs):
            call = self._calling([exchange])
            streamed = await super(GuardedCalls, call)._agenerate_with_cache(
                messages, stop, run_manager, **kwargs
            )
            return self._streamed(streamed, exchange, run_manager)
        with Secluded():
            result = await raw._agenerate_with_cache(  # noqa: SLF001  the hook, as in subclasses
                messages, stop=stop, **kwargs
            )
        verdicts = [await check(**exchange.answer(generation)) for generation in result.generations]
        released = exchange.release(result, verdicts, listed=self._is_listed)
        if cache and exchange.may_be_kept(verdicts):
            await cache.akeep(released.generations)
        return _identified(released, run_manager)

    def _is_overheard(self, manager: Any, **options: Any) -> bool:
        """Whether somebody wants to hear the answer as it grows."""
        if not manager or not any(isinstance(h, GROWING) for h in manager.handlers):
            return False
        raw = unwatched(self)
        return raw._should_use_protocol_streaming(  # noqa: SLF001  the hook, as in subclasses
            run_manager=manager, **options
        ) or raw._should_stream(run_manager=manager, **options)  # noqa: SLF001  likewise

    def _streamed(
        self, result: ChatResult, exchange: Exchange, manager: BaseRunManager | None
    ) -> ChatResult:
        """The refusal alone where the stream was blocked: what had been heard is no answer."""
        if exchange.cut_short is None:
            return result
        answer = result.generations[0].message
        message = refusal(exchange.cut_short, exchange.on_block, answer, listed=self._is_listed)
        return _identified(ChatResult(generations=[ChatGeneration(message=message)]), manager)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate_with_cache(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return await self._agenerate_with_cache(*args, **kwargs)


def _messages(asked: Sequence[Exchange]) -> list[list[BaseMessage]]:
    return [list(exchange.value) for exchange in asked]


def _identified(result: ChatResult, manager: BaseRunManager | None) -> ChatResult:
    """LangChain's own: a message without an id gets that of the run."""
    for number, generation in enumerate(result.generations):
        if manager and generation.message.id is None:
            generation.message.id = f"{LC_ID_PREFIX}-{manager.run_id}-{number}"
    return result
