"""LangChain's own suites, on a guarded model: what a raw one passes, this one passes.

But for streams, which are refused until they are guarded: those tests are expected to fail.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from gemma_guard_langchain import wrap
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from gemma_guard import Bands, Guard, Guideline, Policy, UsageError
from gemma_guard.scorers.fake import Fake

_BANDS = Bands(redact=0.5, block=0.8)
GUARD = Guard.of([Policy("harm", _BANDS, _BANDS, Guideline("No harm asked.", "No harm."))], Fake())
STREAMED = {
    "test_astream",
    "test_astream_events_v3",
    "test_stream",
    "test_stream_events_v3",
    "test_structured_output",
    "test_structured_output_async",
    "test_structured_output_pydantic_2_v1",
    "test_tool_calling",
    "test_tool_calling_async",
    "test_tool_calling_with_no_arguments",
    "test_usage_metadata_streaming",
}
REFUSED = pytest.mark.xfail(reason="streams are refused", raises=UsageError, strict=True)


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
        tools = kwargs.get("tools") or []
        message = AIMessage(
            "" if tools else "hello",
            tool_calls=[_call(tools[0]["function"])] if tools else [],
            usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
            response_metadata={"model_name": kwargs.get("model", self.model_name)},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(
        self, tools: Any, *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        shapes = list(map(convert_to_openai_tool, tools))
        return self.bind(tools=shapes, tool_choice=tool_choice, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "obliging"


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
    chat_model_class = GuardedObliging
    chat_model_params: ClassVar[dict[str, Any]] = {}
    supports_image_inputs = False
    returns_usage_metadata = True
    has_tool_choice = True

    @pytest.fixture(autouse=True)
    def _streams_are_refused(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ in STREAMED:
            request.applymarker(REFUSED)


class TestUnit(_Standard, ChatModelUnitTests):
    pass


class TestIntegration(_Standard, ChatModelIntegrationTests):
    pass
