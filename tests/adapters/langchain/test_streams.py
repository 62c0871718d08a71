"""Streams of a guarded model: nothing goes before it was judged, in any way to stream."""

# ruff: noqa: SLF001  the hooks of a subclass

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from gemma_guard_langchain import GuardBlocked, wrap
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from pydantic import BaseModel, Field

from gemma_guard import Bands, Guard, Guideline, Policy, UsageError
from gemma_guard.scorers.fake import Fake
from tests.adapters.langchain.conftest import VIOLENCE, WORDS, Local

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."
LONG = "All is fine, and the weather is too. " * 8


class Answer(BaseModel):
    text: str


class Pieces(Local):
    """Streams the chunks it is told to, as it is told to."""

    chunks: list[Any]
    pause_s: float = 0.0
    closed: list[str] = Field(default_factory=list)

    def _stream(self, messages: Any, *_: Any, **__: Any) -> Any:
        self.heard.append(messages)
        try:
            for chunk in self.chunks:
                time.sleep(self.pause_s)
                yield _chunk(chunk)
        finally:
            self.closed.append("sync")


class AsyncPieces(Pieces):
    async def _astream(self, messages: Any, *_: Any, **__: Any) -> Any:
        self.heard.append(messages)
        try:
            for chunk in self.chunks:
                await asyncio.sleep(self.pause_s)
                yield _chunk(chunk)
        finally:
            self.closed.append("async")


def _chunk(chunk: Any) -> ChatGenerationChunk:
    message = AIMessageChunk(content=chunk) if isinstance(chunk, str) else chunk.model_copy()
    return ChatGenerationChunk(message=message)


def _args(text: str, name: str | None = None, index: int = 0) -> AIMessageChunk:
    call: Any = {"name": name, "args": text, "id": name and "1", "index": index}
    return AIMessageChunk(content="", tool_call_chunks=[call])


def _pieces(kind: type[Pieces], *chunks: Any, **fields: Any) -> Any:
    return kind(chunks=list(chunks), **fields)


async def _sync(model: Any, asked: Any) -> list[Any]:
    return list(model.stream(asked))


async def _async(model: Any, asked: Any) -> list[Any]:
    return [chunk async for chunk in model.astream(asked)]


async def _events(model: Any, asked: Any) -> list[Any]:
    events = [event async for event in model.astream_events(asked, version="v2")]
    return [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]


@pytest.fixture(params=[_sync, _async, _events])
def stream(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


def _said(chunks: list[Any]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def test_c3_a_harmless_stream_is_the_models_own(
    local: Any, guard: Guard, stream: Callable[..., Any]
) -> None:
    chunks = await stream(wrap(local(answers=[LONG]), guard), "hi")

    assert _said(chunks) == LONG
    assert len(chunks) >= len(LONG)


async def test_c1_a_blocked_question_never_reaches_the_model(
    local: Any, guard: Guard, stream: Callable[..., Any]
) -> None:
    model = local()
    chunks = await stream(wrap(model, guard), f"Build a {BAD}.")

    assert (_said(chunks), model.heard) == (REFUSAL, [])
    assert chunks[0].response_metadata["guardrail"]["stage"] == "input"


async def test_c2_a_blocked_answer_ends_with_the_refusal(
    local: Any, guard: Guard, stream: Callable[..., Any]
) -> None:
    chunks = await stream(wrap(local(answers=[f"{LONG}Build a {BAD} so. {LONG}"]), guard), "hi")
    ends = [c.response_metadata for c in chunks if c.response_metadata.get("finish_reason")]

    assert BAD not in repr(chunks)
    assert LONG.startswith(_said(chunks).removesuffix(f"\n\n{REFUSAL}").rstrip()[:200])
    assert [end["finish_reason"] for end in ends] == ["content_filter"]
    assert ends[0]["guardrail"]["policies"] == ["violence"]


async def test_a_block_at_once_is_the_refusal_alone(
    local: Any, guard: Guard, stream: Callable[..., Any]
) -> None:
    assert _said(await stream(wrap(local(answers=[BAD]), guard), "hi")) == REFUSAL


async def test_on_request_a_block_raises_in_a_stream(local: Any, guard: Guard) -> None:
    guarded = wrap(local(answers=[BAD]), guard, on_block="raise")

    with pytest.raises(GuardBlocked):
        list(guarded.stream("hi"))
    with pytest.raises(GuardBlocked):
        [chunk async for chunk in guarded.astream("hi")]
    with pytest.raises(GuardBlocked):
        list(guarded.stream(BAD))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=12))
def test_c4_a_redaction_does_not_depend_on_the_chunks(cuts: list[int]) -> None:
    text = "Well, a punch is not nice. A PUNCH would not help, nor punches."
    at = sorted({0, *cuts, len(text)})
    chunks = [text[i:j] for i, j in pairwise(at)]
    guard = Guard.of([VIOLENCE], Fake(WORDS), sinks=[])
    streamed = _said(list(wrap(_pieces(Pieces, *chunks), guard).stream("hi")))

    assert "punch" not in streamed.lower()
    assert streamed == wrap(Local(answers=[text]), guard).invoke("hi").text


async def test_c5_a_call_goes_when_its_arguments_were_judged(
    guard: Guard, stream: Callable[..., Any]
) -> None:
    model = _pieces(
        Pieces, "Well. ", _args("", "send"), _args('{"text": '), _args('"hello"}'), LONG
    )
    chunks = await stream(wrap(model, guard).bind_tools([Answer]), "hi")
    whole = sum(chunks[1:], chunks[0])

    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [("send", {"text": "hello"})]
    assert whole.text == f"Well. {LONG}"


@pytest.mark.parametrize("bad", [BAD, "\\u0070ipe bomb", f'a", "b": "{BAD}'])
async def test_c5_a_blocked_call_is_no_call(
    guard: Guard, stream: Callable[..., Any], bad: str
) -> None:
    model = _pieces(Pieces, "Well. ", _args("", "send"), _args(f'{{"text": "{bad}'), _args('"}'))
    chunks = await stream(wrap(model, guard), "hi")
    whole = sum(chunks[1:], chunks[0])

    assert (whole.tool_calls, whole.invalid_tool_calls) == ([], [])
    assert bad not in repr(chunks)
    assert "send" not in repr(chunks)
    assert whole.response_metadata["finish_reason"] == "content_filter"


async def test_c5_where_one_of_several_calls_is_blocked_none_is_made(
    guard: Guard, stream: Callable[..., Any]
) -> None:
    calls = [_args('{"text": "fine"}', "send"), _args(f'{{"text": "{BAD}"}}', "send", 1)]
    for made in (calls, calls[::-1]):
        chunks = await stream(wrap(_pieces(Pieces, "Well. ", *made), guard), "hi")
        whole = sum(chunks[1:], chunks[0])

        assert (whole.tool_calls, whole.text) == ([], f"Well. \n\n{REFUSAL}")


def test_chunks_of_another_kind_of_message_are_guarded(guard: Guard) -> None:
    chunks = [ChatMessageChunk(content=text, role="critic") for text in ("a pu", "nch")]
    guarded = wrap(_pieces(Pieces, *chunks), guard)  # LangChain itself does not add them up

    said = [chunk.message for chunk in guarded._stream([HumanMessage("hi")])]
    assert _said(said) == "a [redacted: violence]"
    assert {type(message) for message in said} == {ChatMessageChunk}


async def test_the_name_of_a_call_is_judged_without_arguments_too(
    guard: Guard, stream: Callable[..., Any]
) -> None:
    chunks = await stream(wrap(_pieces(Pieces, _args("", BAD)), guard), "hi")

    assert BAD not in repr(chunks)
    assert _said(chunks) == REFUSAL
    fine = await stream(wrap(_pieces(Pieces, _args("", "look")), guard), "hi")
    assert sum(fine[1:], fine[0]).tool_calls[0]["name"] == "look"


async def test_arguments_are_redacted_and_stay_arguments(
    guard: Guard, stream: Callable[..., Any]
) -> None:
    calls = [_args("", "send"), _args('{"text": "a pu'), _args('nch"}')]
    calls += [_args('{"text": "fine"}', "send", 1)]
    chunks = await stream(wrap(_pieces(Pieces, *calls), guard), "hi")

    args = [call["args"] for call in sum(chunks[1:], chunks[0]).tool_calls]
    assert args == [{"text": "a [redacted: violence]"}, {"text": "fine"}]


HOLDERS: dict[str, Any] = {
    "a text block": {"content": [{"type": "text", "text": BAD, "index": 0}]},
    "a string in a list": {"content": [BAD]},
    "reasoning": {"content": [{"type": "reasoning", "reasoning": BAD}]},
    "a summary": {"content": [{"type": "reasoning", "summary": [{"text": BAD}]}]},
    "thinking": {"content": [{"type": "thinking", "thinking": BAD, "index": 0}]},
    "reasoning_content": {"content": "", "additional_kwargs": {"reasoning_content": BAD}},
    "a refusal": {"content": "", "additional_kwargs": {"refusal": BAD}},
    "an unknown extra": {"content": "", "additional_kwargs": {"audio": {"transcript": BAD}}},
    "a function call": {
        "content": "",
        "additional_kwargs": {"function_call": {"name": "f", "arguments": f'{{"a": "{BAD}"}}'}},
    },
    "a name": {"content": "", "name": BAD},
    "a tool block": {
        "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": BAD}}]
    },
    "a delta": {"content": [{"type": "input_json_delta", "partial_json": BAD, "index": 1}]},
    "an annotation": {
        "content": [{"type": "text", "text": "ok", "annotations": [{"cited_text": BAD}]}]
    },
}


@pytest.mark.parametrize("fields", HOLDERS.values(), ids=HOLDERS)
async def test_m1_whatever_a_chunk_says_is_judged(
    guard: Guard, stream: Callable[..., Any], fields: dict[str, Any]
) -> None:
    bad = await stream(wrap(_pieces(Pieces, AIMessageChunk(**fields)), guard), "hi")
    mild: Any = eval(repr(fields).replace(BAD, "a punch"))  # noqa: S307  a literal of ours
    redacted = await stream(wrap(_pieces(Pieces, AIMessageChunk(**mild)), guard), "hi")

    assert BAD not in repr(bad)
    assert REFUSAL in _said(bad)
    assert "punch" not in repr(redacted)
    assert "[redacted: violence]" in repr(redacted) or REFUSAL in _said(redacted)


async def test_m1_a_picture_is_refused_aloud(guard: Guard) -> None:
    picture = AIMessageChunk(content=[{"type": "image", "base64": "AAAA"}])

    with pytest.raises(GuardBlocked, match="media"):
        [chunk async for chunk in wrap(_pieces(Pieces, picture), guard).astream("hi")]


async def test_c6_usage_id_and_metadata_survive(guard: Guard, stream: Callable[..., Any]) -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    end = AIMessageChunk(
        content="",
        usage_metadata=usage,
        response_metadata={"finish_reason": "stop", "model_name": "m"},
        chunk_position="last",
    )
    for text in ("All fine.", "a punch!"):
        first = AIMessageChunk(content=text, id="own")
        chunks = await stream(wrap(_pieces(Pieces, first, end), guard), "hi")
        whole = sum(chunks[1:], chunks[0])

        assert (whole.id, whole.usage_metadata) == ("own", usage)
        assert whole.response_metadata == {"finish_reason": "stop", "model_name": "m"}
        assert [c.chunk_position for c in chunks].count("last") == 1


async def test_what_follows_a_redaction_does_not_repeat_the_text(
    guard: Guard, stream: Callable[..., Any]
) -> None:
    end = AIMessageChunk(content="", response_metadata={"raw": "a punch", "finish_reason": "stop"})
    chunks = await stream(wrap(_pieces(Pieces, "a punch. ", end), guard), "hi")

    assert "punch" not in repr(chunks)
    assert sum(chunks[1:], chunks[0]).response_metadata == {"finish_reason": "stop"}


async def test_a_first_sentence_goes_before_the_last_one_came(guard: Guard) -> None:
    model = _pieces(AsyncPieces, LONG, LONG, BAD, pause_s=0.1)
    chunks: Any = wrap(model, guard).astream("hi")

    assert (await anext(chunks)).text
    assert model.closed == []
    await chunks.aclose()


@pytest.mark.parametrize("kind", [Pieces, AsyncPieces])
async def test_c7_a_consumer_that_leaves_closes_the_source(guard: Guard, kind: Any) -> None:
    model = _pieces(kind, LONG, *["More. "] * 1000)
    chunks: Any = wrap(model, guard).astream("hi")
    await anext(chunks)
    await chunks.aclose()
    if kind is AsyncPieces:
        assert model.closed == ["async"]

    model = _pieces(kind, LONG, *["More. "] * 1000)
    again: Any = wrap(model, guard).stream("hi")
    next(again)
    again.close()
    assert model.closed == ["sync"]


async def test_c7_a_block_closes_the_source(guard: Guard) -> None:
    model = _pieces(AsyncPieces, f"{BAD}. {LONG}", *["More. "] * 10_000)
    said = _said([chunk async for chunk in wrap(model, guard).astream("hi")])

    assert (said, model.closed) == (REFUSAL, ["async"])


async def test_c7_a_cancelled_task_closes_the_source(guard: Guard) -> None:
    model = _pieces(AsyncPieces, *["More. "] * 100, pause_s=0.05)

    async def consume() -> None:
        async for _ in wrap(model, guard).astream("hi"):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert model.closed == ["async"]


async def test_what_a_model_raises_comes_after_what_it_said(guard: Guard) -> None:
    class Breaking(AsyncPieces):
        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk
            raise ConnectionError

    said: list[Any] = []

    async def consume() -> None:
        async for chunk in wrap(_pieces(Breaking, LONG), guard).astream("hi"):
            said.append(chunk)  # noqa: PERF401  a comprehension would keep nothing of them

    with pytest.raises(ConnectionError):
        await consume()
    assert _said(said) == LONG


async def test_c9_a_sync_stream_inside_a_running_loop_works(local: Any, guard: Guard) -> None:
    assert _said(list(wrap(local(answers=[LONG]), guard).stream("hi"))) == LONG


async def test_a_chain_that_ends_in_a_parser_streams(local: Any, guard: Guard) -> None:
    chain = wrap(local(answers=[LONG]), guard) | StrOutputParser()

    assert "".join(chain.stream("hi")) == LONG
    assert "".join([part async for part in chain.astream("hi")]) == LONG


async def test_a_model_without_streams_answers_in_one_chunk(guard: Guard) -> None:
    class Whole(Local):
        _stream = Local.__mro__[1]._stream  # type: ignore[attr-defined]  # BaseChatModel's

    guarded = wrap(Whole(answers=["a punch", BAD]), guard)

    assert _said(list(guarded.stream("hi"))) == "a [redacted: violence]"
    assert _said([c async for c in guarded.astream("hi")]) == REFUSAL
    assert _said(list(guarded._stream([*guarded._convert_input("hi").to_messages()]))) == REFUSAL


async def test_several_answers_in_one_stream_are_refused(local: Any, guard: Guard) -> None:
    with pytest.raises(UsageError, match="several answers"):
        list(wrap(local(), guard).stream("hi", n=2))


async def test_c2_v3_events_are_guarded(local: Any, guard: Guard) -> None:
    guarded = wrap(local(answers=[LONG, f"{LONG}{BAD}", "a punch"]), guard)
    fine = guarded.stream_events("hi", version="v3")
    assert str(fine.text) == LONG
    blocked = await guarded.astream_events("hi", version="v3")
    events = [event async for event in blocked]
    assert BAD not in repr(events)
    redacted = await guarded.astream_events("a punch", version="v3")
    assert (await redacted.text) == "a [redacted: violence]"
    assert guarded.heard[-1][0].content == "a [redacted: violence]"
    refused = guarded.stream_events(BAD, version="v3")
    assert (str(refused.text), len(guarded.heard)) == (REFUSAL, 3)


async def test_events_show_the_question_as_it_was_let_through(local: Any, guard: Guard) -> None:
    guarded = wrap(local(), guard)
    for asked in ("a punch", BAD):
        events = [repr(e) async for e in guarded.astream_events(asked, version="v2")]
        assert not any(word in each for each in events for word in ("punch", BAD))


@pytest.mark.parametrize("options", [{"streaming": True}, {}])
@pytest.mark.parametrize("kind", [_StreamingCallbackHandler, _V2StreamingCallbackHandler])
async def test_c12_a_call_that_is_overheard_streams_what_is_judged_and_returns_the_refusal(
    local: Any, guard: Guard, eavesdropper: Any, kind: type, options: dict[str, Any]
) -> None:
    listener = type("Listener", (type(eavesdropper), kind), {"__abstractmethods__": frozenset()})()
    listener.tap_output_iter = listener.tap_output_aiter = lambda _, output: output
    guarded = wrap(local(answers=[f"{LONG}and {BAD}", "fine"], **options), guard)
    config: Any = {"callbacks": [listener]}

    assert guarded.invoke("hi", config).text == REFUSAL
    heard = len(listener.heard)
    assert heard > 100
    assert (await guarded.ainvoke("hi", config)).text == "fine"
    assert len(listener.heard) > heard + 2
    assert BAD not in "".join(listener.heard)


async def test_c12_a_call_nobody_overhears_is_whole(local: Any, guard: Guard) -> None:
    guarded = wrap(local(answers=[f"{LONG}and {BAD}"], streaming=True), guard)

    assert guarded.invoke("hi").content == REFUSAL
    assert (await guarded.ainvoke("hi")).content == REFUSAL


async def test_c11_a_stream_of_a_sync_model_is_judged_once() -> None:
    class Counting(Fake):
        asked: ClassVar[list[Any]] = []

        async def score(self, probes: Any, /, **options: Any) -> Any:
            self.asked.extend((probe.stage, probe.text) for probe in probes)
            return await super().score(probes, **options)

    bands = Bands(block=0.5)
    scorer = Counting({})
    judged = Guard.of([Policy("harm", bands, bands, Guideline("in", "out"))], scorer)
    chunks = [c async for c in wrap(FakeListChatModel(responses=["fine"]), judged).astream("hi")]

    assert _said(chunks) == "fine"
    assert scorer.asked == [("input", "hi"), ("output", "fine")]


async def test_r2_what_a_model_runs_inside_a_stream_is_not_heard(
    guard: Guard, eavesdropper: Any
) -> None:
    inner: Any = RunnableLambda(lambda _: f"a {BAD}")

    class Nesting(AsyncPieces):
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            inner.invoke("")
            yield from super()._stream(*args, **kwargs)

        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            await inner.ainvoke("")
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk

    chain: Any = RunnableLambda(lambda text: text) | wrap(_pieces(Nesting, "fine"), guard)
    config: Any = {"callbacks": [eavesdropper]}
    assert _said(list(chain.stream("hi", config))) == "fine"
    assert _said([c async for c in chain.astream("hi", config)]) == "fine"
    assert BAD not in "".join(eavesdropper.heard)


@pytest.mark.parametrize("mode", ["messages", "updates", "values"])
async def test_no_stream_of_an_agent_shows_a_blocked_answer(
    local: Any, guard: Guard, mode: Any
) -> None:
    agent: Any = create_agent(wrap(local(answers=[f"{LONG}a {BAD}"]), guard), [])
    asked: Any = {"messages": [("user", "hi")]}
    seen = [repr(part) for part in agent.stream(asked, stream_mode=mode)]
    seen += [repr(part) async for part in agent.astream(asked, stream_mode=mode)]

    assert BAD not in "".join(seen)
    assert REFUSAL in "".join(seen)


def test_a_streamed_structured_answer_raises_or_is_parsed(guard: Guard) -> None:
    calls = [_args("", "Answer"), _args('{"text": "a punch"}')]
    structured = wrap(_pieces(Pieces, *calls), guard).with_structured_output(Answer)
    assert list(structured.stream("hi"))[-1] == Answer(text="a [redacted: violence]")

    blocked = wrap(_pieces(Pieces, _args(f'{{"text": "{BAD}"}}', "Answer")), guard)
    with pytest.raises(GuardBlocked):
        list(blocked.with_structured_output(Answer).stream("hi"))


def test_a_streamed_message_is_not_the_models_object(guard: Guard) -> None:
    own = AIMessageChunk(content="a punch")
    list(wrap(_pieces(Pieces, own), guard).stream("hi"))

    assert (own.content, isinstance(own, AIMessage)) == ("a punch", True)
