"""In no way to call a model or an agent is there anything to see of what was not let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gemma_guard_langchain import wrap
from gemma_guard_langchain.agents import GuardMiddleware
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from gemma_guard import Guard

BLOCKED, REDACTED = "pipe bomb", "punch"
LONG = "All is fine, and the weather is too. " * 6
HOOKS = [name for name in dir(BaseCallbackHandler) if name.startswith("on_")]


@tool
def look(what: str) -> str:
    """Look something up."""
    return f"{what}: build a {BLOCKED}"


def _call(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": "1"}])


ASKED = HumanMessage("hi")
AFTER_A_TOOL = [ASKED, _call("look", what="it"), ToolMessage(f"a {BLOCKED}", tool_call_id="1")]

# what is asked, what the model answers, the text to look for, and what stands there instead
CASES: dict[str, tuple[list[Any], list[Any], str, str]] = {
    "input block": ([HumanMessage(f"a {BLOCKED}?")], ["never"], BLOCKED, "This was blocked"),
    "output block": ([ASKED], [f"{LONG}Take a {BLOCKED}. {LONG}"], BLOCKED, "This was blocked"),
    "output redaction": (
        [ASKED],
        [f"{LONG}A {REDACTED}. {LONG}"],
        REDACTED,
        "[redacted: violence]",
    ),
    "tool arguments": ([ASKED], [_call("look", what=BLOCKED)], BLOCKED, "This was blocked"),
    "redacted arguments": (
        [ASKED],
        [_call("look", what=f"a {REDACTED}"), "done"],
        REDACTED,
        "[redacted: violence]",
    ),
    "tool result": (AFTER_A_TOOL, ["never"], BLOCKED, "This was blocked"),
}
AGENT_CASES = {
    **CASES,
    "tool result": ([ASKED], [_call("look", what="it"), "done"], BLOCKED, "[block: violence"),
}


class Everything(BaseCallbackHandler):
    """Writes down every word LangChain tells a callback."""

    raise_error = True

    def __init__(self) -> None:
        self.heard: list[str] = []


def _write(self: Everything, *args: Any, **kwargs: Any) -> None:
    self.heard.append(repr((args, kwargs)))


for hook in HOOKS:
    setattr(Everything, hook, _write)


async def _invoke(model: Any, asked: Any, config: Any) -> Any:
    return model.invoke(asked, config)


async def _ainvoke(model: Any, asked: Any, config: Any) -> Any:
    return await model.ainvoke(asked, config)


async def _batch(model: Any, asked: Any, config: Any) -> Any:
    return model.batch([asked], config)


async def _abatch(model: Any, asked: Any, config: Any) -> Any:
    return await model.abatch([asked], config)


async def _stream(model: Any, asked: Any, config: Any) -> Any:
    chunks = list(model.stream(asked, config))
    return [chunks, sum(chunks[1:], chunks[0])]


async def _astream(model: Any, asked: Any, config: Any) -> Any:
    chunks = [chunk async for chunk in model.astream(asked, config)]
    return [chunks, sum(chunks[1:], chunks[0])]


async def _events(model: Any, asked: Any, config: Any) -> Any:
    return [event async for event in model.astream_events(asked, config, version="v2")]


async def _newest_events(model: Any, asked: Any, config: Any) -> Any:
    stream = model.stream_events(asked, config, version="v3")
    return [list(stream), stream.output]


async def _newest_aevents(model: Any, asked: Any, config: Any) -> Any:
    stream = await model.astream_events(asked, config, version="v3")
    return [[event async for event in stream], await stream.output]


MODEL_CALLS = [
    _invoke,
    _ainvoke,
    _batch,
    _abatch,
    _stream,
    _astream,
    _events,
    _newest_events,
    _newest_aevents,
]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("call", MODEL_CALLS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_c2_a_model_lets_nothing_out(
    local: Any, guard: Guard, call: Callable[..., Any], case: Any, cached: bool
) -> None:
    asked, answers, offending, instead = case
    cache, listener = InMemoryCache(), Everything()
    guarded = wrap(local(answers=answers, cache=cache if cached else None), guard)
    seen = await call(guarded, asked, {"callbacks": [listener]})
    kept = {key: repr(value) for key, value in vars(cache).items()}

    assert offending not in repr(seen)
    assert instead.replace(" ", "") in repr(seen).replace(" ", "") or "redacted" in _joined(seen)
    assert offending not in "".join(listener.heard)
    assert listener.heard
    assert offending not in repr(kept) or asked is AFTER_A_TOOL


@pytest.mark.parametrize("call", MODEL_CALLS[:-2])  # LangChain has no newest events of chains
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_c2_a_chain_lets_nothing_out(
    local: Any, guard: Guard, call: Callable[..., Any], case: Any
) -> None:
    asked, answers, offending, instead = case
    listener = Everything()
    asking: Any = RunnableLambda(lambda messages: messages)
    chain = wrap(asking | local(answers=answers), guard)
    seen = await call(chain, asked, {"callbacks": [listener]})

    assert offending not in repr(seen)
    assert instead.replace(" ", "") in repr(seen).replace(" ", "") or "redacted" in _joined(seen)
    assert offending not in "".join(listener.heard)
    assert listener.heard


def _joined(seen: Any) -> str:
    """What is told of a text letter by letter, or word by word."""
    return repr(seen).replace("', '", "")


async def _agent_events(agent: Any, asked: Any, config: Any) -> Any:
    return [event async for event in agent.astream_events(asked, config, version="v2")]


def _streaming(mode: Any) -> Callable[..., Any]:
    async def stream(agent: Any, asked: Any, config: Any) -> Any:
        return list(agent.stream(asked, config, stream_mode=mode))

    return stream


def _astreaming(mode: Any) -> Callable[..., Any]:
    async def stream(agent: Any, asked: Any, config: Any) -> Any:
        return [part async for part in agent.astream(asked, config, stream_mode=mode)]

    return stream


async def _agent_newest_events(agent: Any, asked: Any, config: Any) -> Any:
    stream = await agent.astream_events(asked, config, version="v3")
    return [event async for event in stream]


MODES = ["messages", "updates", "values", ["messages", "updates", "values", "custom"]]
AGENT_CALLS: dict[str, Callable[..., Any]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "batch": _batch,
    "abatch": _abatch,
    "astream_events v2": _agent_events,
    "astream_events v3": _agent_newest_events,
    **{f"stream {mode}": _streaming(mode) for mode in MODES},
    **{f"astream {mode}": _astreaming(mode) for mode in MODES},
}


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("way", AGENT_CALLS)
@pytest.mark.parametrize("case", AGENT_CASES.values(), ids=AGENT_CASES)
async def test_c2_a1_an_agent_lets_nothing_out(
    local: Any, guard: Guard, way: str, case: Any
) -> None:
    asked, answers, offending, _ = case
    listener, saver = Everything(), InMemorySaver()
    model = local(answers=answers)
    agent: Any = create_agent(
        model, [look], middleware=[GuardMiddleware(guard)], checkpointer=saver
    )
    config: Any = {"callbacks": [listener], "configurable": {"thread_id": "t"}}
    seen = await AGENT_CALLS[way](agent, {"messages": asked}, config)
    written = [repr(checkpoint) for checkpoint in saver.list(config)]
    final = repr(agent.get_state(config).values)

    assert offending not in final
    was_given = offending in repr(asked)  # LangGraph itself tells of that, and keeps it
    if not (was_given and ("values" in way or "events" in way)):
        assert offending not in repr(seen)
    if not was_given:
        assert offending not in "".join(listener.heard)
        assert offending not in "".join(written)
        assert offending.encode() not in repr(saver.blobs).encode()
    assert offending not in repr(model.heard)


@pytest.mark.parametrize("case", [AGENT_CASES["output block"], AGENT_CASES["tool result"]])
async def test_the_search_finds_what_an_unguarded_agent_lets_out(local: Any, case: Any) -> None:
    asked, answers, offending, _ = case
    listener = Everything()
    agent: Any = create_agent(local(answers=answers), [look])
    seen = await _agent_events(agent, {"messages": asked}, {"callbacks": [listener]})

    assert offending in repr(seen)
    assert offending in "".join(listener.heard)
