"""An agent with the middleware: what it is asked, its model and its tools are guarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from gemma_guard_langchain import GuardBlocked, wrap
from gemma_guard_langchain.agents import GuardMiddleware, guard_node
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command
from pydantic import BaseModel

from gemma_guard import Guard

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."
CLEAN = "[redacted: violence]"
TOLD: list[str] = []


class Answer(BaseModel):
    text: str


@tool
def look(what: str) -> str:
    """Look something up."""
    TOLD.append(what)
    return f"about {what}: {'a ' + BAD if what == 'bombs' else 'nothing'}"


@tool(response_format="content_and_artifact")
def find(what: str) -> tuple[str, str]:
    """Find something."""
    return f"a punch for {what}", "the punch itself"


@tool
def fail(what: str) -> str:
    """Fail."""
    raise ToolException(f"no {what}, but a {BAD}")


@tool
def remember(what: str) -> Any:
    """Remember something."""
    return Command(update={"messages": [ToolMessage(f"{what}: a punch", tool_call_id="1")]})


def _call(name: str, what: str, number: str = "1") -> Any:
    return {"name": name, "args": {"what": what}, "id": number}


def _calls(*calls: Any) -> AIMessage:
    return AIMessage("", tool_calls=list(calls))


@pytest.fixture
def agent(local: Any, guard: Guard) -> Callable[..., Any]:
    TOLD.clear()

    def make(*answers: Any, middleware: Any = (), **options: Any) -> Any:
        model = local(answers=list(answers))
        guarding = [*middleware, GuardMiddleware(guard)]
        tools = [look, find, fail, remember]
        return create_agent(model, tools, middleware=guarding, **options)

    return make


@pytest.fixture(params=["invoke", "ainvoke"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def call(agent: Any, asked: Any, config: Any = None) -> list[Any]:
        given = {"messages": asked if isinstance(asked, list) else [("user", asked)]}
        if request.param == "invoke":
            return list(agent.invoke(given, config)["messages"])
        return list((await agent.ainvoke(given, config))["messages"])

    return call


async def test_an_agent_answers_as_before(agent: Any, run: Any) -> None:
    messages = await run(agent(_calls(_call("look", "trains")), "none today"), "hi")

    assert [m.type for m in messages] == ["human", "ai", "tool", "ai"]
    assert messages[2].text == "about trains: nothing"
    assert messages[3].text == "none today"


async def test_a2_a_blocked_question_ends_the_run(agent: Any, run: Any) -> None:
    messages = await run(agent("never"), f"a {BAD}?")

    assert [m.type for m in messages] == ["human", "ai"]
    assert messages[1].text == REFUSAL
    assert messages[0].text.startswith("[block: violence (decision")


async def test_a_redacted_question_is_replaced_in_the_state(agent: Any, run: Any) -> None:
    messages = await run(agent("fine"), [HumanMessage("a punch", id="q")])

    assert [(m.id, m.text) for m in messages[:1]] == [("q", f"a {CLEAN}")]
    assert len(messages) == 2


async def test_a1_a_blocked_answer_is_the_refusal_under_its_own_id(agent: Any, run: Any) -> None:
    messages = await run(agent(AIMessage(f"a {BAD}", id="own")), "hi")

    assert [(m.id, m.text) for m in messages[1:]] == [("own", REFUSAL)]
    assert BAD not in repr(messages)


async def test_a2_one_blocked_call_of_several_does_not_stop_the_others(
    local: Any, guard: Guard, run: Any
) -> None:
    TOLD.clear()

    class Unguarded(GuardMiddleware):
        """Only the tools: a call in the state may come from elsewhere than the model."""

        def _guarded(self, request: Any) -> Any:
            return request

    calls = _calls(_call("look", BAD, "1"), _call("look", "trains", "2"))
    model = local(answers=[calls, "done"])
    messages = await run(create_agent(model, [look], middleware=[Unguarded(guard)]), "hi")
    told = {m.tool_call_id: m for m in messages if m.type == "tool"}

    assert TOLD == ["trains"]
    assert told["1"].status == "error"
    assert BAD not in repr(told)
    assert told["2"].text == "about trains: nothing"


async def test_arguments_are_redacted_before_the_tool_runs(agent: Any, run: Any) -> None:
    await run(agent(_calls(_call("look", "a punch")), "done"), "hi")

    assert [f"a {CLEAN}"] == TOLD


async def test_a2_a_poisoned_result_is_told_as_an_error(agent: Any, run: Any) -> None:
    messages = await run(agent(_calls(_call("look", "bombs")), "done"), "hi")

    assert (messages[2].status, messages[2].tool_call_id) == ("error", "1")
    assert BAD not in repr(messages)
    assert messages[3].text == "done"


async def test_a_result_is_redacted_with_its_artifact(agent: Any, run: Any) -> None:
    messages = await run(agent(_calls(_call("find", "it")), "done"), "hi")

    assert messages[2].text == f"a {CLEAN} for it"
    assert messages[2].artifact is None


async def test_a_command_is_redacted(agent: Any, run: Any) -> None:
    messages = await run(agent(_calls(_call("remember", "this")), "done"), "hi")

    assert messages[2].text == f"this: a {CLEAN}"


async def test_what_a_broken_tool_says_is_judged(local: Any, guard: Guard, run: Any) -> None:
    failing = fail.model_copy(update={"handle_tool_error": True})
    model = local(answers=[_calls(_call("fail", "luck")), "done"])
    messages = await run(create_agent(model, [failing], middleware=[GuardMiddleware(guard)]), "hi")

    assert BAD not in repr(messages)
    assert messages[2].status == "error"


async def test_an_error_of_a_tool_is_still_an_error(agent: Any, run: Any) -> None:
    with pytest.raises(ToolException):
        await run(agent(_calls(_call("fail", "luck"))), "hi")


async def test_a_tool_nobody_has_is_an_error(agent: Any, run: Any) -> None:
    messages = await run(agent(_calls(_call("nothing", "x")), "done"), "hi")

    assert messages[2].status == "error"


async def test_m3_a_blocked_turn_does_not_end_the_conversation(agent: Any, run: Any) -> None:
    talking = agent("one", "two", checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}

    assert (await run(talking, f"a {BAD}?", config))[-1].text == REFUSAL
    assert (await run(talking, "hi", config))[-1].text == "one"
    state = [repr(message) for message in talking.get_state(config).values["messages"]]
    assert BAD not in "".join(state)


async def test_a3_other_middleware_works_with_it(
    local: Any, guard: Guard, agent: Any, run: Any
) -> None:
    class Broken(local):  # type: ignore[misc]  # a fixture has no type
        def _generate(self, *_: Any, **__: Any) -> Any:
            raise ConnectionError

    falling = [ModelRetryMiddleware(max_retries=1, initial_delay=0.0)]
    falling += [ModelFallbackMiddleware(local(answers=[f"a {BAD}"]))]  # type: ignore[list-item]  # another kind of middleware
    broken = create_agent(Broken(), [], middleware=[*falling, GuardMiddleware(guard)])

    assert (await run(broken, "hi"))[-1].text == REFUSAL
    assert (await run(agent("fine", middleware=falling[:1]), "hi"))[-1].text == "fine"


async def test_a3_a_structured_answer_is_never_silently_none(local: Any, guard: Guard) -> None:
    def structured(text: str) -> Any:
        call = {"name": "Answer", "args": {"text": text}, "id": "1"}
        model = local(answers=[AIMessage("", tool_calls=[call])])
        strategy = ToolStrategy(Answer)
        middleware = [GuardMiddleware(guard)]
        return create_agent(model, [], middleware=middleware, response_format=strategy)

    asked: Any = {"messages": [("user", "hi")]}
    given = structured("a punch").invoke(asked)["structured_response"]
    assert given == Answer(text=f"a {CLEAN}")
    with pytest.raises(GuardBlocked):
        structured(BAD).invoke(asked)
    with pytest.raises(GuardBlocked):
        await structured(BAD).ainvoke(asked)


def test_a_guarded_model_stays_as_it_is(local: Any, guard: Guard) -> None:
    model = wrap(local(answers=[BAD]), guard, on_block="raise")
    agent: Any = create_agent(model, [], middleware=[GuardMiddleware(guard)])

    with pytest.raises(GuardBlocked):
        agent.invoke({"messages": [("user", "hi")]})


class State(TypedDict):
    messages: Annotated[list[Any], add_messages]


def _graph(model: Any, node: Any, **options: Any) -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("gate", node, destinations=("model", "__end__"))
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(START, "gate")
    return builder.compile(**options)


async def test_a4_a_node_goes_on_or_ends(local: Any, guard: Guard, run: Any) -> None:
    model = local(answers=["fine"])
    graph = _graph(model, guard_node(guard, goto="model"), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}

    assert (await run(graph, f"a {BAD}?", config))[-1].text == REFUSAL
    assert model.heard == []
    messages = await run(graph, [HumanMessage("a punch", id="q")], config)
    assert [m.text for m in messages][-2:] == [f"a {CLEAN}", "fine"]
    assert BAD not in repr(model.heard)


async def test_a4_a_node_judges_in_a_subgraph(local: Any, guard: Guard, run: Any) -> None:
    inner = _graph(local(answers=["fine"]), guard_node(guard, goto="model"))
    builder: Any = StateGraph(State)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")

    assert (await run(builder.compile(), f"a {BAD}?"))[-1].text == REFUSAL
    assert (await run(builder.compile(), "hi"))[-1].text == "fine"


def test_a4_a_node_judges_what_a_tool_said(local: Any, guard: Guard) -> None:
    graph = _graph(local(answers=["fine"]), guard_node(guard, goto="model"))
    asked: Any = [
        HumanMessage("hi"),
        _calls(_call("look", "x")),
        ToolMessage(f"a {BAD}", tool_call_id="1", id="t"),
    ]
    messages = graph.invoke({"messages": asked})["messages"]

    assert messages[-1].text == REFUSAL
    assert BAD not in repr(messages)
    assert messages[2].tool_call_id == "1"
