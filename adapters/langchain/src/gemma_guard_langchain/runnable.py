"""Any runnable with a guard before and behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import Any, cast

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.utils import Input, Output
from typing_extensions import override

from gemma_guard import Guard, Verdict
from gemma_guard_langchain.claims import claims, of_config
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.exchange import OnBlock, Question, Watch, escalated, refusal
from gemma_guard_langchain.messages import Reading, redacted
from gemma_guard_langchain.refusing import Guarded
from gemma_guard_langchain.seclusion import Secluded, aunheard, unheard
from gemma_guard_langchain.valuechunks import ValueStream
from gemma_guard_langchain.values import answers, is_message, read_values

_OF_THE_OUTER_RUN = frozenset({"callbacks", "run_id", "run_name"})


class GuardedRunnable(Guarded, Runnable[Input, Output]):
    """`inner` between a check of its input and one of its output; `wrap` makes them.

    Callbacks around it hear what goes in and out. What `inner` runs inside is heard by nobody but
    the callbacks `inner` itself was given.
    """

    def __init__(self, inner: Runnable[Input, Output], watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    @property
    @override
    def InputType(self) -> Any:
        return self._inner.InputType

    @property
    @override
    def OutputType(self) -> Any:
        return self._inner.OutputType

    @override
    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        return self._inner.get_name(suffix, name=name)

    @override
    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        question = self._ask(input, config)
        answer = partial(self._answer, question)
        said: Output = self._call_with_config(answer, question.value, config, **kwargs)
        return said

    @override
    async def ainvoke(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Output:
        question = await self._aask(input, config)
        answer = partial(self._aanswer, question)
        said: Output = await self._acall_with_config(answer, question.value, config, **kwargs)
        return said

    @override
    def stream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Output]:
        question = self._ask(input, config)
        growing = partial(self._growing, question)
        seen = iter([question.value])
        yield from self._transform_stream_with_config(seen, growing, config, **kwargs)

    @override
    async def astream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Output]:
        question = await self._aask(input, config)
        growing = partial(self._agrowing, question)
        seen = _once(question.value)
        chunks: Any = self._atransform_stream_with_config(seen, growing, config, **kwargs)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    @override
    def astream_events(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        if kwargs.get("version") == "v3":
            return super().astream_events(input, config, **kwargs)
        return self._events(input, config, kwargs)

    async def _events(
        self, asked: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        question = await self._aask(asked, config)
        judged = _Judged(self, question)
        events: Any = super(GuardedRunnable, judged).astream_events(
            question.value, config, **kwargs
        )
        async with aclosing(events):
            async for event in events:
                yield event

    def _ask(self, asked: Any, config: RunnableConfig | None) -> Question:
        question = question_of(asked, self._watch, config)
        question.admit(self._watch.guard.check_sync(**question.question()))
        return question

    async def _aask(self, asked: Any, config: RunnableConfig | None) -> Question:
        question = question_of(asked, self._watch, config)
        question.admit(await self._watch.guard.check(**question.question()))
        return question

    def _answer(
        self, question: Question, asked: Input, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        if question.blocked:
            return refusal_of(question.blocked, question.on_block, self.OutputType)
        with Secluded():
            answer = self._inner.invoke(asked, _inner_config(config), **kwargs)
        readings = _unasked(answer, question)
        check = self._watch.guard.check_sync
        verdicts = [check(**question.answered(reading)) for reading in readings]
        return released(answer, question, readings, verdicts)

    async def _aanswer(
        self, question: Question, asked: Input, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        if question.blocked:
            return refusal_of(question.blocked, question.on_block, self.OutputType)
        with Secluded():
            answer = await self._inner.ainvoke(asked, _inner_config(config), **kwargs)
        readings = _unasked(answer, question)
        check = self._watch.guard.check
        verdicts = [await check(**question.answered(reading)) for reading in readings]
        return released(answer, question, readings, verdicts)

    def _growing(
        self, question: Question, asked: Iterator[Input], config: RunnableConfig, **kwargs: Any
    ) -> Generator[Output, None, None]:
        (value,) = asked
        if question.blocked:
            yield refusal_of(question.blocked, question.on_block, self.OutputType)
            return
        chunks = unheard(self._inner.stream(value, _inner_config(config), **kwargs))
        yield from growing(self._watch.guard, question, chunks)

    async def _agrowing(
        self, question: Question, asked: AsyncIterator[Input], config: RunnableConfig, **kwargs: Any
    ) -> AsyncGenerator[Output, None]:
        async for value in asked:
            if question.blocked:
                yield refusal_of(question.blocked, question.on_block, self.OutputType)
                return
            chunks: Any = self._inner.astream(value, _inner_config(config), **kwargs)
            source = aunheard(chunks)
            async with aclosing(agrowing(self._watch.guard, question, source)) as judged:
                async for chunk in judged:
                    yield chunk


class _Judged(GuardedRunnable[Any, Any]):
    """A guarded runnable whose question is judged already: for events, which call it once."""

    def __init__(self, guarded: GuardedRunnable[Any, Any], question: Question) -> None:
        super().__init__(guarded._inner, guarded._watch)  # noqa: SLF001  its own kind
        self._asked = question

    def _ask(self, asked: Any, config: RunnableConfig | None) -> Question:
        del asked, config
        return self._asked

    async def _aask(self, asked: Any, config: RunnableConfig | None) -> Question:
        return self._ask(asked, config)


def question_of(asked: Any, watch: Watch, config: RunnableConfig | None) -> Question:
    """What the guard is asked about `asked` in a run of this `config`."""
    tags, metadata = of_config(ensure_config(config))
    asking = watch.asking(claims(tags, metadata))
    return Question(asked, list(read_values(asked)), asking, watch.on_block)


def growing(guard: Guard, question: Question, chunks: Iterator[Any]) -> Generator[Any, None, None]:
    """What may be seen of `chunks`, which answer `question`."""
    stream = ValueStream(question.on_block)
    releases = guard.stream_chunks_sync(chunks, stream.parts, **question.expected())
    with closing(releases):
        for release in releases:
            yield from stream.seen(release)


async def agrowing(
    guard: Guard, question: Question, chunks: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    """What may be seen of `chunks`, which answer `question`."""
    stream = ValueStream(question.on_block)
    releases = guard.stream_chunks(chunks, stream.parts, **question.expected())
    async with aclosing(releases):
        async for release in releases:
            for chunk in stream.seen(release):
                yield chunk


async def _once(value: Any) -> AsyncGenerator[Any, None]:
    yield value


def _inner_config(config: RunnableConfig) -> RunnableConfig:
    """Of the run: its settings, but none who listens to it, nor the graph it is a node of."""
    kept: Any = {key: value for key, value in config.items() if key not in _OF_THE_OUTER_RUN}
    configurable = kept.get("configurable") or {}
    kept["configurable"] = {k: v for k, v in configurable.items() if not k.startswith("__")}
    kept["callbacks"] = []
    return cast("RunnableConfig", kept)


def _unasked(answer: Any, question: Question) -> list[Reading]:
    """What of an answer was not part of the question, as in the state of a graph."""
    asked = [reading.shape for reading in question.readings]
    return [reading for reading in answers(answer) if reading.shape not in asked]


def released(
    answer: Any, question: Question, readings: Sequence[Reading], verdicts: Sequence[Verdict]
) -> Any:
    """What may be seen of `answer`."""
    for reading, verdict in zip(readings, verdicts, strict=True):
        if not verdict.blocked:
            try:
                answer = redacted(answer, [*question.readings, reading], verdict)
                continue
            except ValueError:
                verdict = escalated(verdict)  # noqa: PLW2901  the same decision, as enforced
        return refusal_of(verdict, question.on_block, type(answer), answer)
    return answer


def refusal_of(verdict: Verdict, on_block: OnBlock, kind: Any, answer: Any = None) -> Any:
    """A refusal of `kind`; raises `GuardBlocked` where none would be honest."""
    if is_message(kind):
        return refusal(verdict, on_block, answer if isinstance(answer, AIMessage) else None)
    if (
        not (isinstance(kind, type) and issubclass(kind, str))
        or on_block == "raise"
        or verdict.fault != "content"
    ):
        raise GuardBlocked(verdict)
    return verdict.refusal
