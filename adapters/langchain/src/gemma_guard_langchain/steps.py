"""The two sides of a guard as steps of a chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import override

from gemma_guard import Fields, Guard
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.exchange import OnBlock, Question, Watch, watch_of
from gemma_guard_langchain.runnable import agrowing, growing, question_of, released
from gemma_guard_langchain.values import answers


def guard_input(
    guard: Guard, *, route: str | None = None, trusted: Fields | None = None
) -> Runnable[Any, Any]:
    """A step that lets through what may go in, redacted where need be; else raises `GuardBlocked`.

    `route` and `trusted` are those of `wrap`.
    """
    return InputStep(watch_of(guard, route, trusted, "raise"))


def guard_output(
    guard: Guard,
    *,
    route: str | None = None,
    trusted: Fields | None = None,
    on_block: OnBlock = "refusal",
) -> Runnable[Any, Any]:
    """A step that lets through what may go out; it streams. The options are those of `wrap`.

    It does not know the question, and callbacks have heard what the steps before it said: `wrap`
    the whole chain where they must not.
    """
    return OutputStep(watch_of(guard, route, trusted, on_block))


class _Step(Runnable[Any, Any]):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch


class InputStep(_Step):
    """See `guard_input`."""

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        question = question_of(input, self._watch, config)
        question.admit(self._watch.guard.check_sync(**question.question()))
        return self._call_with_config(lambda _: _admitted(question), question.value, config)

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        question = question_of(input, self._watch, config)
        question.admit(await self._watch.guard.check(**question.question()))

        async def admitted(_: Any) -> Any:
            return _admitted(question)

        return await self._acall_with_config(admitted, question.value, config)


class OutputStep(_Step):
    """See `guard_output`."""

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        nothing, readings = question_of(None, self._watch, config), answers(input)
        check = self._watch.guard.check_sync
        verdicts = [check(**nothing.answered(reading)) for reading in readings]
        return self._call_with_config(_same, released(input, nothing, readings, verdicts), config)

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        nothing, readings = question_of(None, self._watch, config), answers(input)
        check = self._watch.guard.check
        verdicts = [await check(**nothing.answered(reading)) for reading in readings]
        return self._call_with_config(_same, released(input, nothing, readings, verdicts), config)

    @override
    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        chunks = growing(self._watch.guard, question_of(None, self._watch, config), input)
        yield from self._transform_stream_with_config(chunks, _each, config)

    @override
    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        chunks = agrowing(self._watch.guard, question_of(None, self._watch, config), input)
        async for chunk in self._atransform_stream_with_config(chunks, _aeach, config):
            yield chunk


def _admitted(question: Question) -> Any:
    if question.blocked:
        raise GuardBlocked(question.blocked)
    return question.value


def _same(value: Any) -> Any:
    return value


def _each(chunks: Iterator[Any]) -> Iterator[Any]:
    yield from chunks


async def _aeach(chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for chunk in chunks:
        yield chunk
