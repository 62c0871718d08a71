"""LangChain's own suites, on a guarded model: what the raw one passes, this one passes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from gemma_guard_langchain import wrap
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake

_BANDS = Bands(redact=0.5, block=0.8)
GUARD = Guard.of([Policy("harm", _BANDS, _BANDS, Guideline("No harm asked.", "No harm."))], Fake())


class Obliging(BaseChatModel):
    """Calls the last tool it is given, with arguments of the right types; else says hello."""

    model_name: str = "obliging"
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = None
    api_key: str | None = None

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del messages, stop, run_manager
        return ChatResult(generations=[ChatGeneration(message=self._answer(kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        del messages, stop, run_manager
        answer = self._answer(kwargs)
        for letter in answer.text:
            yield ChatGenerationChunk(message=AIMessageChunk(content=letter))
        for call in answer.tool_calls:
            yield _piece(name=call["name"], args="", id=call["id"], index=0)
            for letter in json.dumps(call["args"]):
                yield _piece(name=None, args=letter, id=None, index=0)
        end = AIMessageChunk(
            content="",
            usage_metadata=answer.usage_metadata,
            response_metadata=answer.response_metadata,
        )
        yield ChatGenerationChunk(message=end)

    def _answer(self, kwargs: Mapping[str, Any]) -> AIMessage:
        tools = kwargs.get("tools") or []
        return AIMessage(
            "" if tools else "hello",
            tool_calls=[_call(tools[0]["function"])] if tools else [],
            usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
            response_metadata={"model_name": kwargs.get("model", self.model_name)},
        )

    def bind_tools(
        self, tools: Any, *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        shapes = list(map(convert_to_openai_tool, tools))
        return self.bind(tools=shapes, tool_choice=tool_choice, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "obliging"


def _piece(**call: Any) -> ChatGenerationChunk:
    chunk: Any = call
    return ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))


def _call(function: dict[str, Any]) -> Any:
    properties = function["parameters"].get("properties", {})
    args = {
        name: 3 if s.get("type") == "integer" else "你好 こんにちは"
        for name, s in properties.items()
    }
    return {"name": function["name"], "args": args, "id": "call_1", "type": "tool_call"}


class GuardedObliging(Obliging):
    """Made by its name, as the suites do, and guarded."""

    def __new__(cls, **options: Any) -> Any:
        return wrap(Obliging(**options), GUARD)


class _Standard:
    chat_model_class: type[Obliging] = GuardedObliging
    chat_model_params: ClassVar[dict[str, Any]] = {}
    supports_image_inputs = False
    returns_usage_metadata = True
    has_tool_choice = True


class _Raw(_Standard):
    chat_model_class = Obliging


class TestW3RawUnit(_Raw, ChatModelUnitTests):
    pass


class TestW3RawIntegration(_Raw, ChatModelIntegrationTests):
    pass


class TestW3Unit(_Standard, ChatModelUnitTests):
    pass


class TestW3Integration(_Standard, ChatModelIntegrationTests):
    pass
