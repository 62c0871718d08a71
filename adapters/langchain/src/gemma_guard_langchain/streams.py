"""Streams of a guarded model: nothing goes before it was judged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

from langchain_core._api import suppress_langchain_beta_warning
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from typing_extensions import override

from gemma_guard import Release, UsageError
from gemma_guard_langchain.chunks import Writing, only_chunk, parts
from gemma_guard_langchain.exchange import Exchange, refusal, unjudged
from gemma_guard_langchain.seclusion import aunheard, unheard
from gemma_guard_langchain.watched import Watched, seen, unwatched


class GuardedStreams(Watched):
    """Like the calls: the question is judged first, the stream is LangChain's own on a view."""

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> Iterator[AIMessageChunk]:
        if self._asked:
            yield from super().stream(input, config, **options)
            return
        prompt, exchange = self._of_config(input, config, options)
        exchange.admit(self._watch.guard.check_sync(**exchange.question()))
        call = self._calling([exchange])
        yield from super(GuardedStreams, call).stream(seen(prompt, exchange), config, **options)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> AsyncIterator[AIMessageChunk]:
        call, asked = self, input
        if not self._asked:
            prompt, exchange = self._of_config(input, config, options)
            exchange.admit(await self._watch.guard.check(**exchange.question()))
            call, asked = self._calling([exchange]), seen(prompt, exchange)
        chunks = super(GuardedStreams, call).astream(asked, config, **options)
        async with aclosing(chunks):  # type: ignore[type-var]  # a generator, typed as an iterator
            async for chunk in chunks:
                yield chunk

    @override
    def stream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> Any:
        if self._asked or options.get("version") != "v3":
            return super().stream_events(input, config, **options)
        prompt, exchange = self._of_config(input, config, options)
        exchange.admit(self._watch.guard.check_sync(**exchange.question()))
        call = self._calling([exchange])
        return super(GuardedStreams, call).stream_events(seen(prompt, exchange), config, **options)

    @override
    def astream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **options: Any
    ) -> Any:
        if self._asked:
            return super().astream_events(input, config, **options)
        if options.get("version") == "v3":
            return self._newest_events(input, config, options)
        return self._events(input, config, options)

    async def _newest_events(
        self, asked: LanguageModelInput, config: RunnableConfig | None, options: dict[str, Any]
    ) -> Any:
        prompt, exchange = self._of_config(asked, config, options)
        exchange.admit(await self._watch.guard.check(**exchange.question()))
        call, asked = self._calling([exchange]), seen(prompt, exchange)
        with suppress_langchain_beta_warning():  # whoever asked for v3 has read of it
            return await super(GuardedStreams, call).astream_events(asked, config, **options)

    async def _events(
        self, asked: LanguageModelInput, config: RunnableConfig | None, options: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        prompt, exchange = self._of_config(asked, config, options)
        exchange.admit(await self._watch.guard.check(**exchange.question()))
        call, asked = self._calling([exchange]), seen(prompt, exchange)
        events = super(GuardedStreams, call).astream_events(asked, config, **options)
        async with aclosing(events):
            async for event in events:
                yield event

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk, None, None]:
        _refuse_several(self, kwargs)
        exchange = self._next_asked()
        if exchange is None:
            exchange = self._of_run(messages, run_manager, kwargs)
            exchange.admit(self._watch.guard.check_sync(**exchange.question()))
            messages = list(exchange.value)
        if refused := exchange.refusal(listed=False):
            yield _as_chunk(refused)
            return
        source = unheard(_raw_chunks(unwatched(self), messages, stop, kwargs))
        writing = Writing()
        releases = self._watch.guard.stream_chunks_sync(source, parts, **exchange.expected())
        with closing(releases):
            for release in releases:
                yield from writing.chunks(release)
                yield from _ending(release, exchange)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        _refuse_several(self, kwargs)
        exchange = self._next_asked()
        if exchange is None:
            exchange = self._of_run(messages, run_manager, kwargs)
            exchange.admit(await self._watch.guard.check(**exchange.question()))
            messages = list(exchange.value)
        if refused := exchange.refusal(listed=False):
            yield _as_chunk(refused)
            return
        source = aunheard(_raw_achunks(unwatched(self), messages, stop, kwargs))
        writing = Writing()
        releases = self._watch.guard.stream_chunks(source, parts, **exchange.expected())
        async with aclosing(releases):
            async for release in releases:
                for chunk in (*writing.chunks(release), *_ending(release, exchange)):
                    yield chunk

    def _should_stream(self, **options: Any) -> bool:
        """Whether the raw model would: this one has streams even where that has none."""
        return unwatched(self)._should_stream(**options)  # noqa: SLF001  the hook


def _raw_chunks(
    raw: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> Iterator[ChatGenerationChunk]:
    if type(raw)._stream is BaseChatModel._stream:  # noqa: SLF001  as LangChain asks itself
        yield _as_chunk(raw._generate(messages, stop=stop, **kwargs))  # noqa: SLF001  the hook
        return
    yield from raw._stream(messages, stop=stop, **kwargs)  # noqa: SLF001  the hook


async def _raw_achunks(
    raw: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> AsyncGenerator[ChatGenerationChunk, None]:
    kind, base = type(raw), BaseChatModel
    if kind._astream is base._astream and kind._stream is base._stream:  # noqa: SLF001  as LangChain
        yield _as_chunk(await raw._agenerate(messages, stop=stop, **kwargs))  # noqa: SLF001
        return
    chunks = raw._astream(messages, stop=stop, **kwargs)  # noqa: SLF001  the hook
    async with aclosing(chunks):  # type: ignore[type-var]  # a generator, typed as an iterator
        async for chunk in chunks:
            yield chunk


def _ending(
    release: Release[ChatGenerationChunk], exchange: Exchange
) -> Iterator[ChatGenerationChunk]:
    """After a block the refusal, apart from what was let out; a note where a judge failed."""
    verdict = release.verdict
    if release.chunk is not None or verdict is None:
        return
    if not verdict.blocked:
        if note := unjudged(verdict, exchange.verdict):
            message = AIMessage("", response_metadata=note)
            yield only_chunk(ChatGeneration(message=message))
        return
    exchange.cut_short = verdict
    message = refusal(verdict, exchange.on_block)
    text = f"\n\n{message.text}" if verdict.released else message.text
    yield only_chunk(ChatGeneration(message=message), text=text)


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    return only_chunk(result.generations[0])


def _refuse_several(model: BaseChatModel, options: dict[str, Any]) -> None:
    if (options.get("n") or getattr(model, "n", None) or 1) != 1:
        raise UsageError("n: the chunks of several answers in one stream are not told apart")
