"""Streams of a guarded model are refused; a call that would stream inside is buffered."""

# ruff: noqa: SLF001  the hooks of a subclass, and what a cache holds

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gemma_guard_langchain import wrap
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler

from gemma_guard import Guard, GuardError

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."


@pytest.mark.parametrize(
    "stream",
    [
        lambda model: list(model.stream("hi")),
        lambda model: list((model | StrOutputParser()).stream("hi")),
        lambda model: list(model.bind(stop=["."]).stream("hi")),
        lambda model: list(model.transform(iter(["hi"]))),
        lambda model: model.stream_events("hi", version="v3"),
        lambda model: list(model._stream([])),
    ],
)
def test_a_stream_is_refused_before_the_model_is_asked(
    local: Any, guard: Guard, stream: Callable[[Any], Any]
) -> None:
    model = local()

    with pytest.raises(GuardError, match="streams are not guarded yet"):
        stream(wrap(model, guard))
    assert model.heard == []


@pytest.mark.parametrize(
    "stream",
    [
        lambda model: model.astream("hi"),
        lambda model: (model | StrOutputParser()).astream("hi"),
        lambda model: (model | StrOutputParser()).astream_events("hi", version="v2"),
        lambda model: model.astream_events("hi", version="v2"),
        lambda model: model._astream([]),
    ],
)
async def test_an_async_stream_is_refused_before_the_model_is_asked(
    local: Any, guard: Guard, stream: Callable[[Any], Any]
) -> None:
    model = local()

    with pytest.raises(GuardError, match="streams are not guarded yet"):
        async for _ in stream(wrap(model, guard)):
            pass
    assert model.heard == []


@pytest.mark.parametrize("options", [{"streaming": True}, {}])
@pytest.mark.parametrize("kind", [_StreamingCallbackHandler, _V2StreamingCallbackHandler])
async def test_a_call_that_would_stream_is_buffered(
    local: Any, guard: Guard, eavesdropper: Any, kind: type, options: dict[str, Any]
) -> None:
    listener = type("Listener", (type(eavesdropper), kind), {"__abstractmethods__": frozenset()})()
    listener.tap_output_iter = listener.tap_output_aiter = lambda _, output: output
    guarded = wrap(local(answers=[f"All is fine, and {BAD}", "fine"], **options), guard)
    config: Any = {"callbacks": [listener]}

    assert guarded.invoke("hi", config).content == REFUSAL
    assert (await guarded.ainvoke("hi", config)).content == "fine"
    assert "All is" not in "".join(listener.heard)


@pytest.mark.parametrize("mode", ["messages", "updates", "values"])
async def test_no_stream_of_an_agent_shows_a_blocked_answer(
    local: Any, guard: Guard, mode: Any
) -> None:
    agent: Any = create_agent(wrap(local(answers=[f"a {BAD}"]), guard), [])
    asked: Any = {"messages": [("user", "hi")]}
    seen = [repr(part) for part in agent.stream(asked, stream_mode=mode)]
    seen += [repr(part) async for part in agent.astream(asked, stream_mode=mode)]

    assert BAD not in "".join(seen)
    assert REFUSAL in "".join(seen)
