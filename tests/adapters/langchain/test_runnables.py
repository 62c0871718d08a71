"""Any runnable between two checks; what holds a chat model holds a guarded one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gemma_guard_langchain import GuardBlocked, guard_input, guard_output, wrap
from gemma_guard_langchain.model import GuardedModel
from langchain.chat_models import init_chat_model
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
)
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import BaseModel

from gemma_guard import Guard, UsageError

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."
CLEAN = "[redacted: violence]"
LONG = "All is fine, and the weather is too. " * 8
PROMPT = ChatPromptTemplate.from_messages([("system", "Be kind."), ("human", "{question}")])


class Answer(BaseModel):
    text: str


async def _invoke(runnable: Any, asked: Any, config: Any = None) -> Any:
    return runnable.invoke(asked, config)


async def _ainvoke(runnable: Any, asked: Any, config: Any = None) -> Any:
    return await runnable.ainvoke(asked, config)


async def _batch(runnable: Any, asked: Any, config: Any = None) -> Any:
    (answer,) = runnable.batch([asked], config)
    return answer


async def _stream(runnable: Any, asked: Any, config: Any = None) -> Any:
    return _sum(list(runnable.stream(asked, config)))


async def _astream(runnable: Any, asked: Any, config: Any = None) -> Any:
    return _sum([chunk async for chunk in runnable.astream(asked, config)])


async def _events(runnable: Any, asked: Any, config: Any = None) -> Any:
    events = [e async for e in runnable.astream_events(asked, config, version="v2")]
    return _sum(
        [
            e["data"]["chunk"]
            for e in events
            if e["event"] == "on_chain_stream" and not e["parent_ids"]
        ]
    )


def _sum(chunks: list[Any]) -> Any:
    if isinstance(chunks[0], dict):
        return chunks[-1]
    return sum(chunks[1:], chunks[0]) if not isinstance(chunks[0], str) else "".join(chunks)


@pytest.fixture(params=[_invoke, _ainvoke, _batch, _stream, _astream, _events])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


def _chain(model: BaseChatModel) -> Runnable[Any, str]:
    return PROMPT | model | StrOutputParser()


async def test_a_chain_is_guarded_on_both_sides(
    local: Any, guard: Guard, run: Callable[..., Any], eavesdropper: Any
) -> None:
    model = local(answers=[LONG, f"{LONG}a {BAD}", "a punch"])
    chain, config = wrap(_chain(model), guard), {"callbacks": [eavesdropper]}

    assert await run(chain, {"question": "a punch?"}, config) == LONG
    assert model.heard[0][1].content == f"a {CLEAN}?"
    blocked = await run(chain, {"question": "hi"}, config)
    assert blocked.endswith(REFUSAL)
    assert BAD not in blocked
    assert await run(chain, {"question": "hi"}, config) == f"a {CLEAN}"
    assert await run(chain, {"question": BAD}, config) == REFUSAL
    assert len(model.heard) == 3
    assert not any(word in "".join(eavesdropper.heard) for word in (BAD, "punch"))


async def test_no_token_of_a_model_inside_is_heard_before_it_was_judged(
    local: Any, guard: Guard
) -> None:
    chain = wrap(_chain(local(answers=[f"{LONG}a {BAD}"])), guard)
    events = [e async for e in chain.astream_events({"question": "hi"}, version="v2")]

    assert BAD not in repr(events)
    assert {e["name"] for e in events} == {"RunnableSequence"}


async def test_a_chain_of_messages_refuses_with_one(
    local: Any, guard: Guard, run: Callable[..., Any]
) -> None:
    chain = wrap(PROMPT | local(answers=["fine", BAD]), guard)

    assert (await run(chain, {"question": "hi"})).text == "fine"
    blocked = await run(chain, {"question": "hi"})
    assert blocked.text == REFUSAL
    assert blocked.response_metadata["guardrail"]["stage"] == "output"
    assert (await run(chain, {"question": BAD})).response_metadata["guardrail"]["stage"] == "input"


ANSWERS = {
    "a mapping": ({"a": {"b": ["fine", "a punch"]}}, {"a": {"b": ["fine", f"a {CLEAN}"]}}),
    "a model": (Answer(text="a punch"), Answer(text=f"a {CLEAN}")),
    "documents": ([Document("a punch")], [Document(f"a {CLEAN}")]),
    "a tuple": (("a punch", 3, None), (f"a {CLEAN}", 3, None)),
    "a state": (
        {"messages": [HumanMessage("hi"), AIMessage("a punch", id="1")]},
        {"messages": [HumanMessage("hi"), AIMessage(f"a {CLEAN}", id="1")]},
    ),
    "plain messages": (
        {"messages": [{"role": "assistant", "content": "a punch"}]},
        {"messages": [{"role": "assistant", "content": f"a {CLEAN}"}]},
    ),
}


@pytest.mark.parametrize(("answer", "clean"), ANSWERS.values(), ids=ANSWERS)
async def test_whatever_a_runnable_answers_is_looked_into(
    guard: Guard, run: Callable[..., Any], answer: Any, clean: Any
) -> None:
    def say(asked: Any) -> Any:
        return asked

    same: Any = wrap(RunnableLambda(lambda _: answer), guard)
    given: Any = wrap(RunnableLambda(say), guard)

    if not isinstance(answer, BaseModel | list):
        assert await run(same, "hi") == clean
    assert same.invoke("hi") == clean
    assert given.invoke(answer) == clean


@pytest.mark.parametrize("answer", [{"a": BAD}, Answer(text=BAD), [BAD], (1, BAD)])
async def test_what_is_no_text_raises_rather_than_lie(
    guard: Guard, run: Callable[..., Any], answer: Any
) -> None:
    blocked: Any = wrap(RunnableLambda(lambda _: answer), guard)
    untyped: Any = wrap(RunnableLambda(lambda _: 1), guard)

    with pytest.raises(GuardBlocked):
        await run(blocked, "hi")
    with pytest.raises(GuardBlocked):
        await run(untyped, BAD)


def test_what_cannot_be_redacted_is_blocked(guard: Guard) -> None:
    class Thing:
        def __str__(self) -> str:
            return "a punch"

    things: Any = wrap(RunnableLambda(lambda _: Thing()), guard)
    with pytest.raises(GuardBlocked):
        things.invoke("hi")


def test_bytes_are_refused_aloud(guard: Guard) -> None:
    files: Any = wrap(RunnableLambda(lambda _: b"0"), guard)
    with pytest.raises(GuardBlocked, match="media"):
        files.invoke("hi")
    with pytest.raises(GuardBlocked, match="media"):
        files.invoke(b"0")


def test_what_is_nested_too_deep_is_refused(guard: Guard) -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(UsageError, match="nested deeper"):
        wrap(RunnableLambda(lambda _: "fine"), guard).invoke(deep)


async def test_chunks_that_are_mappings_stream(guard: Guard) -> None:
    def grow(_: Iterator[Any]) -> Iterator[Any]:
        yield from ({"a": LONG}, {"b": "a punch"}, {"c": AIMessageChunk(content="fine")})

    growing: Any = wrap(RunnableGenerator(grow), guard)
    both: Any = wrap(RunnableParallel(a=RunnableLambda(lambda _: "a punch")), guard)

    assert list(growing.stream("hi"))[:2] == [{"a": LONG}, {"b": f"a {CLEAN}"}]
    assert list(both.stream("hi")) == [{"a": f"a {CLEAN}"}]
    assert [chunk async for chunk in both.astream("hi")] == [{"a": f"a {CLEAN}"}]


async def test_what_a_chain_is_given_itself_hears_it_raw(local: Any, guard: Guard) -> None:
    inside, outside = RunCollectorCallbackHandler(), RunCollectorCallbackHandler()
    chain = wrap(_chain(local()).with_config(callbacks=[inside], tags=["inner"]), guard)
    await chain.ainvoke({"question": "hi"}, {"callbacks": [outside]})

    assert [len(inside.traced_runs), len(outside.traced_runs)] == [1, 1]
    assert inside.traced_runs[0].child_runs
    assert not outside.traced_runs[0].child_runs


def test_w6_a_guarded_runnable_hands_out_nothing_unguarded(local: Any, guard: Guard) -> None:
    chain: Any = wrap(_chain(local()), guard)

    for name in ("bind_tools", "with_structured_output", "bound", "first", "last", "steps"):
        assert not hasattr(chain, name)
    assert wrap(chain, guard) is chain
    with pytest.raises(UsageError, match="guarded already"):
        wrap(chain, guard, on_block="raise")


async def test_the_sides_as_steps(local: Any, guard: Guard, run: Callable[..., Any]) -> None:
    model = local(answers=[f"{LONG}a punch", f"{LONG}a {BAD}"])
    chain: Any = guard_input(guard) | PROMPT | model | StrOutputParser() | guard_output(guard)

    assert await run(chain, {"question": "a punch"}) == f"{LONG}a {CLEAN}"
    assert model.heard[0][1].content == f"a {CLEAN}"
    blocked = await run(chain, {"question": "hi"})
    assert blocked.endswith(REFUSAL)
    assert BAD not in blocked
    with pytest.raises(GuardBlocked):
        await run(chain, {"question": BAD})
    assert len(model.heard) == 2


def test_an_output_step_can_raise(local: Any, guard: Guard) -> None:
    chain: Any = local(answers=[BAD]) | guard_output(guard, on_block="raise")

    with pytest.raises(GuardBlocked):
        chain.invoke("hi")
    with pytest.raises(GuardBlocked):
        list(chain.stream("hi"))


async def test_w2_tools_are_bound_inside_the_guard(local: Any, guard: Guard) -> None:
    bound: Any = wrap(local(answers=[BAD]).bind_tools([Answer]), guard)

    assert isinstance(bound.bound, GuardedModel)
    assert bound.invoke("hi").text == REFUSAL
    assert wrap(bound, guard).invoke("hi").text == REFUSAL


def test_w2_a_structured_chain_raises(
    local: Any, guard: Guard, tool_call: Callable[..., AIMessage]
) -> None:
    model = local(answers=[tool_call("Answer", text="a punch"), tool_call("Answer", text=BAD)])
    structured = wrap(model.with_structured_output(Answer), guard)

    assert structured.invoke("hi") == Answer(text=f"a {CLEAN}")
    with pytest.raises(GuardBlocked):
        structured.invoke("hi")


def test_w5_models_that_are_chosen_among_are_guarded(local: Any, guard: Guard) -> None:
    raw, other = local(answers=[BAD]), local(answers=["a punch"])
    field = ConfigurableField("which")
    other_one: Any = {"configurable": {"which": "b"}}

    choosing: Any = wrap(raw.configurable_alternatives(field, default_key="a", b=other), guard)
    assert choosing.invoke("hi").text == REFUSAL
    assert choosing.invoke("hi", other_one).text == f"a {CLEAN}"
    lazy: Any = wrap(raw.configurable_alternatives(field, default_key="a", b=lambda: other), guard)
    assert lazy.invoke("hi", other_one).text == f"a {CLEAN}"
    fields: Any = wrap(raw.configurable_fields(model_name=field), guard)
    assert fields.invoke("hi", {"configurable": {"which": "m"}}).text == REFUSAL
    assert wrap(fields, guard).invoke("hi").text == REFUSAL
    falling: Any = wrap(raw.with_fallbacks([other]), guard, on_block="raise")
    assert falling.invoke("hi").text == f"a {CLEAN}"
    assert falling.bind_tools([Answer]).invoke("hi").text == f"a {CLEAN}"
    retrying: Any = wrap(raw.with_retry(), guard, on_block="raise")
    heard = len(raw.heard)
    with pytest.raises(GuardBlocked):
        retrying.invoke("hi")
    assert len(raw.heard) == heard + 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, local: Any) -> list[Any]:
    """What `init_chat_model` is asked for: its own models need a provider's package and key."""
    asked: list[Any] = []

    def make(model: Any = None, **options: Any) -> Any:
        asked.append((model, options))
        call = {"name": "Answer", "args": {"text": BAD}, "id": "1"}
        said = AIMessage(BAD, tool_calls=[call]) if model == "bad" else "a punch"
        return local(answers=[said])

    monkeypatch.setattr("langchain.chat_models.base._init_chat_model_helper", make)
    return asked


async def test_w5_whatever_init_chat_model_makes_is_guarded(made: list[Any], guard: Guard) -> None:
    model: Any = wrap(init_chat_model(), guard)
    bad: Any = {"configurable": {"model": "bad"}}

    assert model.invoke("hi", bad).text == REFUSAL
    assert (await model.ainvoke("hi")).text == f"a {CLEAN}"
    assert "".join(chunk.text for chunk in model.stream("hi", bad)) == REFUSAL
    assert [chunk.text async for chunk in model.astream("hi", bad)] == [REFUSAL]
    assert model.bind_tools([Answer]).invoke("hi", bad).text == REFUSAL
    assert model.with_config(bad).invoke("hi").text == REFUSAL
    with pytest.raises(GuardBlocked):
        model.with_structured_output(Answer).invoke(BAD)
    with pytest.raises(GuardBlocked):
        await model.with_structured_output(Answer).ainvoke("hi", bad)
    assert made[0] == ("bad", {})
