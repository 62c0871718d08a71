"""A guard of two keywords, a chat model that says what it is told to, and an eavesdropper."""

# ruff: noqa: SLF001  the hooks of a subclass, and what a cache holds

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake

BANDS = Bands(redact=0.5, block=0.8)
WORDS: Mapping[str, Mapping[str, float]] = {"violence": {"pipe bomb": 0.9, "punch": 0.6}}
VIOLENCE = Policy("violence", BANDS, BANDS, Guideline("No violence asked.", "No violence."))


class Local(BaseChatModel):
    """Says `answers` in turn, the last one again and again; tells callbacks all it can."""

    answers: list[Any] = Field(default=["hello"])
    heard: list[list[BaseMessage]] = Field(default_factory=list)
    model_name: str = "local-1"
    streaming: bool = False

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del stop
        message = self._next(messages)
        if run_manager:
            run_manager.on_llm_new_token(message.text)
        count = kwargs.get("n", 1)
        return ChatResult(
            generations=[
                ChatGeneration(
                    message=message, generation_info={"logprobs": {"content": message.text}}
                )
            ]
            * count,
            llm_output={"model_name": self.model_name, "raw": message.text},
        )

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        del stop, kwargs
        answer = self._next(messages)
        for letter in answer.text:
            if run_manager:
                run_manager.on_llm_new_token(letter)
            yield ChatGenerationChunk(message=AIMessageChunk(content=letter, id=answer.id))
        for index, call in enumerate(answer.tool_calls):
            yield _piece(name=call["name"], args="", id=call["id"], index=index)
            for letter in json.dumps(call["args"]):
                yield _piece(name=None, args=letter, id=None, index=index)

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        answer = self.answers[min(len(self.heard), len(self.answers) - 1)]
        self.heard.append(messages)
        return AIMessage(answer) if isinstance(answer, str) else answer.model_copy()

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        shapes = list(map(convert_to_openai_tool, tools))
        return self.bind(tools=shapes, tool_choice=tool_choice, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}


def _piece(**call: Any) -> ChatGenerationChunk:
    chunk: Any = call
    return ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))


class Eavesdropper(BaseCallbackHandler):
    """Writes down whatever LangChain tells a callback of a model, and of how a chain ended."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def _write(self, *args: Any, **kwargs: Any) -> None:
        self.heard.append(repr((args, kwargs)))

    on_chat_model_start = on_llm_start = _write
    on_llm_new_token = on_llm_end = on_llm_error = on_stream_event = _write
    on_chain_end = on_chain_error = _write


@pytest.fixture
def local() -> type[Local]:
    return Local


@pytest.fixture
def guard() -> Guard:
    return Guard.of([VIOLENCE], Fake(WORDS))


@pytest.fixture
def eavesdropper() -> Eavesdropper:
    return Eavesdropper()


@pytest.fixture
def tool_call() -> Callable[..., AIMessage]:
    def make(name: str = "send", **args: Any) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": name, "args": args, "id": "call_1"}])

    return make


@pytest.fixture(params=["invoke", "ainvoke", "batch", "abatch", "generate", "_generate"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Every way to call a model for a whole answer."""
    return _CALLS[str(request.param)]


async def _ainvoke(model: Any, asked: Any, **config: Any) -> Any:
    return await model.ainvoke(asked, config)


async def _invoke(model: Any, asked: Any, **config: Any) -> Any:
    return model.invoke(asked, config)


async def _batch(model: Any, asked: Any, **config: Any) -> Any:
    return operator.itemgetter(0)(model.batch([asked], config))


async def _abatch(model: Any, asked: Any, **config: Any) -> Any:
    return operator.itemgetter(0)(await model.abatch([asked], config))


async def _generate(model: Any, asked: Any, **config: Any) -> Any:
    prompt = model._convert_input(asked)
    return model.generate_prompt([prompt], **config).generations[0][0].message


async def _direct(model: Any, asked: Any, **_: Any) -> Any:
    messages = model._convert_input(asked).to_messages()
    return model._generate(messages).generations[0].message


_CALLS: Mapping[str, Callable[..., Any]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "batch": _batch,
    "abatch": _abatch,
    "generate": _generate,
    "_generate": _direct,
}
