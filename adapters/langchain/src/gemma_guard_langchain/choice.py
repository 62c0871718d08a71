"""The configurable model of `init_chat_model`: whichever model it makes is guarded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import override

from gemma_guard_langchain.refusing import Guarded


def is_choice(model: Any) -> bool:
    """Whether `model` makes a chat model anew for each run, as `init_chat_model` gives it."""
    return isinstance(model, Runnable) and callable(getattr(type(model), "_model", None))


class GuardedChoice(Guarded, Runnable[Any, Any]):
    """`choice` with a guard in whatever it makes."""

    def __init__(self, choice: Any, guarded: Callable[[Any], Any]) -> None:
        self._choice = choice
        self._guarded = guarded

    def bind_tools(self, *args: Any, **kwargs: Any) -> GuardedChoice:
        """As the model's own."""
        return self._again(self._choice.bind_tools(*args, **kwargs))

    def with_structured_output(self, *args: Any, **kwargs: Any) -> GuardedChoice:
        """As the model's own; a blocked answer raises `GuardBlocked`."""
        return self._again(self._choice.with_structured_output(*args, **kwargs))

    @override
    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> GuardedChoice:
        return self._again(self._choice.with_config(config, **kwargs))

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self._model(config).invoke(input, config, **kwargs)

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self._model(config).ainvoke(input, config, **kwargs)

    @override
    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        yield from self._model(config).stream(input, config, **kwargs)

    @override
    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for chunk in self._model(config).astream(input, config, **kwargs):
            yield chunk

    def _model(self, config: RunnableConfig | None) -> Any:
        made = self._choice._model(config)  # noqa: SLF001  it has no public name
        return self._guarded(made)

    def _again(self, choice: Any) -> GuardedChoice:
        return GuardedChoice(choice, self._guarded)
