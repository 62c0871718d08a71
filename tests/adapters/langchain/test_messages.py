"""Every text of a message is judged where it stands, and redacted there."""

from __future__ import annotations

from typing import Any

import pytest
from gemma_guard_langchain.messages import read, read_messages, redacted
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel

from gemma_guard import Guard, UsageError

WORD, CLEAN = "punch", "[redacted: violence]"


class Answer(BaseModel):
    text: str


def _call(**args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "send", "args": args, "id": "1"}])


def _block(**part: Any) -> AIMessage:
    return AIMessage([part])


HOLDERS = {
    "text": HumanMessage(WORD),
    "a list of texts": HumanMessage([WORD, {"type": "text", "text": WORD}]),
    "another role": ChatMessage(content=WORD, role="critic"),
    "a function": FunctionMessage(content=WORD, name="f"),
    "a tool": ToolMessage(WORD, tool_call_id="1"),
    "a tool's list": ToolMessage([{"type": "text", "text": WORD}], tool_call_id="1"),
    "a nested result": HumanMessage([{"type": "tool_result", "content": [WORD]}]),
    "a plain result": HumanMessage([{"type": "tool_result", "content": WORD}]),
    "arguments": _call(text=f"a {WORD}"),
    "deep arguments": _call(a={"b": [1, {"c": f'"{WORD}"\n'}]}),
    "an argument's name": _call(**{WORD: 1}),
    "a chunk's arguments": AIMessageChunk(
        content="",
        tool_call_chunks=[{"name": "send", "args": f'{{"a": "{WORD}"}}', "id": "1", "index": 0}],
    ),
    "a tool's name": AIMessage("", tool_calls=[{"name": WORD, "args": {}, "id": "1"}]),
    "malformed arguments": AIMessage(
        "", invalid_tool_calls=[{"name": "f", "args": f"{{{WORD}", "id": "1", "error": WORD}]
    ),
    "a tool block": _block(type="tool_use", id="1", name="send", input={"a": WORD}),
    "a v1 tool block": _block(type="tool_call", id="1", name="send", args={"a": WORD}),
    "a refusal block": _block(type="refusal", refusal=WORD),
    "reasoning": _block(type="reasoning", reasoning=WORD),
    "a summary": _block(type="reasoning", summary=[{"type": "summary_text", "text": WORD}]),
    "thinking": _block(type="thinking", thinking=WORD, signature="c2ln"),
    "an annotation": _block(type="text", text="ok", annotations=[{"cited_text": WORD}]),
    "reasoning_content": AIMessage("", additional_kwargs={"reasoning_content": WORD}),
    "a name": HumanMessage("ok", name=WORD),
    "a refusal": AIMessage("", additional_kwargs={"refusal": WORD}),
    "a function call": AIMessage(
        "", additional_kwargs={"function_call": {"name": "f", "arguments": f'{{"a": "{WORD}"}}'}}
    ),
    "a parsed answer": AIMessage("", additional_kwargs={"parsed": Answer(text=WORD)}),
}


@pytest.mark.parametrize("message", HOLDERS.values(), ids=HOLDERS)
def test_m1_a_text_is_judged_and_redacted_wherever_it_stands(
    guard: Guard, message: BaseMessage
) -> None:
    before = message.model_copy(deep=True)
    (reading,) = read_messages([message])
    verdict = guard.check_sync(messages=[reading.shape])
    (clean,) = redacted([message], [reading], verdict)

    assert WORD not in repr(clean)
    assert CLEAN in repr(clean)
    assert message == before
    assert guard.check_sync(messages=[read(clean).shape]).action.name == "ALLOW"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/i.png"}},
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
        {"type": "audio", "base64": "AAAA"},
        {"type": "file", "file": {"file_id": "1"}},
        {"type": "text-plain", "url": "https://example.org/t.txt"},
        {"type": "redacted_thinking", "data": "AAAA"},
        {"type": "something_new", "text": "hello"},
        {"type": "tool_result", "content": [{"type": "image", "base64": "AAAA"}]},
        {"no type": 1},
    ],
)
def test_m1_what_is_not_text_becomes_a_gap(guard: Guard, part: dict[str, Any]) -> None:
    verdict = guard.check_sync(messages=[read(HumanMessage(["hi", part])).shape])

    assert [gap.cause for gap in verdict.gaps] == ["media"]


def test_a_message_without_a_redaction_is_the_very_same(guard: Guard) -> None:
    messages = [SystemMessage("Be kind."), HumanMessage(WORD), _call(text="fine")]
    readings = read_messages(messages)
    verdict = guard.check_sync(messages=[reading.shape for reading in readings])
    clean = redacted(messages, readings, verdict)

    assert (clean[0], clean[2]) == (messages[0], messages[2])
    assert clean[0] is messages[0]
    assert clean[2] is messages[2]


def test_m2_system_text_is_left_to_the_route(guard: Guard) -> None:
    verdict = guard.check_sync(messages=[read(SystemMessage("pipe bomb")).shape])

    assert verdict.passages == ()


def test_a_redaction_keeps_what_belongs_to_the_message(guard: Guard) -> None:
    message = AIMessage(
        WORD,
        id="own",
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model_name": "m", "logprobs": {"content": [WORD]}},
    )
    (reading,) = read_messages([message])
    (clean,) = redacted([message], [reading], guard.check_sync(messages=[reading.shape]))

    assert isinstance(clean, AIMessage)
    assert (clean.id, clean.usage_metadata) == ("own", message.usage_metadata)
    assert clean.response_metadata == {"model_name": "m"}


def test_a_message_without_a_role_is_refused() -> None:
    with pytest.raises(UsageError, match="remove"):
        read(RemoveMessage(id="1"))


def test_the_words_of_a_reading_are_not_in_its_repr() -> None:
    assert WORD not in repr(read(HumanMessage(WORD)))
