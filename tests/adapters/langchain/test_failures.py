"""A judge that fails: the route says whether that is refused or let through, never in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gemma_guard_langchain import GuardBlocked, guard_input, guard_output, wrap
from gemma_guard_langchain.agents import GuardMiddleware, guard_node
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool

from gemma_guard import Guard, Score, Verdict
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads

BAD = "pipe bomb"


class Crashing(Fake):
    async def score(self, *_: Any, **__: Any) -> list[tuple[Score, ...]]:
        raise RuntimeError("no judge today")


class Hanging(Fake):
    async def score(self, *_: Any, **__: Any) -> list[tuple[Score, ...]]:
        await asyncio.sleep(60)
        return []


class Passing(Fake):
    """Judges what is asked, but no answer."""

    async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
        if probes[0].stage == "output":
            raise RuntimeError("no judge of answers today")
        return await super().score(probes, **options)


class Kept:
    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def write(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


def _guard(on_error: str, scorer: Any, *sinks: Any) -> Guard:
    route = f"{{packs: [default], scorer: one, on_error: {on_error}, deadline_ms: 50}}"
    scorers = "{one: {type: fake}, two: {type: fake}}"
    settings = loads(f"scorers: {scorers}\nroutes: {{default: {route}}}")
    return Guard(settings, scorers={"one": scorer}, sinks=sinks)


@tool
def look(what: str) -> str:
    """Look something up."""
    return f"about {what}"


def _told(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message.response_metadata["guardrail"]
    return found


@pytest.mark.parametrize("kind", [Crashing, Hanging])
async def test_c10_fail_closed_raises_in_every_call(
    local: Any, call: Callable[..., Any], kind: type[Fake]
) -> None:
    model = local()

    with pytest.raises(GuardBlocked) as blocked:
        await call(wrap(model, _guard("fail_closed", kind())), "hi")
    assert (blocked.value.verdict.fault, model.heard) == ("judge", [])


@pytest.mark.parametrize("kind", [Crashing, Hanging])
async def test_c10_fail_open_lets_through_and_tells(
    local: Any, call: Callable[..., Any], kind: type[Fake]
) -> None:
    kept = Kept()
    answer = AIMessage("fine", id="own", response_metadata={"finish_reason": "stop"})
    got = await call(wrap(local(answers=[answer]), _guard("fail_open", kind(), kept)), "hi")

    assert (got.content, got.id) == ("fine", "own")
    assert got.response_metadata["finish_reason"] == "stop"
    assert _told(got)["status"] == "not_scanned"
    assert _told(got)["action"] == "log"
    assert _told(got)["decision"] in [verdict.id for verdict in kept.verdicts]
    assert [(v.stage, v.status) for v in kept.verdicts] == [
        ("input", "not_scanned"),
        ("output", "not_scanned"),
    ]
    assert answer.response_metadata == {"finish_reason": "stop"}


async def test_c10_what_was_judged_says_nothing_of_it(local: Any, call: Callable[..., Any]) -> None:
    got = await call(wrap(local(), _guard("fail_open", Fake())), "hi")

    assert "guardrail" not in got.response_metadata


async def test_c10_a_judge_that_stands_in_is_told_too(local: Any, call: Callable[..., Any]) -> None:
    guarded = wrap(local(answers=["fine", f"a {BAD}"]), _guard("{fallback: two}", Crashing()))
    fine, blocked = await call(guarded, "hi"), await call(guarded, "hi")

    assert (fine.content, _told(fine)["status"]) == ("fine", "degraded")
    assert _told(blocked)["policies"] == ["dangerous_content"]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_c10_a_stream_tells_at_its_end(local: Any, way: str) -> None:
    async def chunks(guard: Guard) -> list[Any]:
        model = wrap(local(answers=["All is fine, and long enough. " * 8]), guard)
        if way == "stream":
            return list(model.stream("hi"))
        return [chunk async for chunk in model.astream("hi")]

    seen = await chunks(_guard("fail_open", Passing()))
    whole = sum(seen[1:], seen[0])
    assert whole.text == "All is fine, and long enough. " * 8
    assert _told(whole)["status"] == "not_scanned"
    assert _told(whole)["stage"] == "output"
    degraded = await chunks(_guard("{fallback: two}", Passing()))
    assert _told(sum(degraded[1:], degraded[0]))["status"] == "degraded"
    with pytest.raises(GuardBlocked):
        await chunks(_guard("fail_closed", Passing()))


def test_c10_calls_of_tools_are_made_where_a_stream_was_let_through(local: Any) -> None:
    call: Any = {"name": "look", "args": {"what": "trains"}, "id": "1"}
    chunks = list(
        wrap(
            local(answers=[AIMessage("", tool_calls=[call])]), _guard("fail_open", Crashing())
        ).stream("hi")
    )
    whole = sum(chunks[1:], chunks[0])

    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [("look", {"what": "trains"})]
    assert _told(whole)["status"] == "not_scanned"


async def test_c10_a_chain_and_its_steps_do_as_the_route_says(local: Any) -> None:
    def chains(on_error: str) -> list[Runnable[Any, Any]]:
        guard, model = _guard(on_error, Crashing()), local(answers=["fine"])
        return [
            wrap(model | StrOutputParser(), guard),
            guard_input(guard) | model | StrOutputParser(),
            model | StrOutputParser() | guard_output(guard),
        ]

    for chain in chains("fail_open"):
        assert [chain.invoke("hi"), await chain.ainvoke("hi")] == ["fine", "fine"]
        assert "".join(chain.stream("hi")) == "fine"
        assert "".join([part async for part in chain.astream("hi")]) == "fine"
    for chain in chains("fail_closed"):
        with pytest.raises(GuardBlocked):
            chain.invoke("hi")
        with pytest.raises(GuardBlocked):
            "".join([part async for part in chain.astream("hi")])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_c10_an_agent_does_as_the_route_says(local: Any, way: str) -> None:
    async def run(on_error: str) -> list[Any]:
        call: Any = {"name": "look", "args": {"what": "trains"}, "id": "1"}
        model = local(answers=[AIMessage("", tool_calls=[call]), "done"])
        guarding = GuardMiddleware(_guard(on_error, Crashing()))
        agent: Any = create_agent(model, [look], middleware=[guarding])
        asked: Any = {"messages": [("user", "hi")]}
        state = agent.invoke(asked) if way == "invoke" else await agent.ainvoke(asked)
        return list(state["messages"])

    messages = await run("fail_open")
    assert [m.text for m in messages] == ["hi", "", "about trains", "done"]
    assert [_told(messages[n])["status"] for n in (1, 3)] == ["not_scanned", "not_scanned"]
    with pytest.raises(GuardBlocked):
        await run("fail_closed")


async def test_c10_a_node_does_as_the_route_says() -> None:
    state: Any = {"messages": [HumanMessage("hi")]}
    node = guard_node(_guard("fail_open", Crashing()), goto="model")
    closed = guard_node(_guard("fail_closed", Crashing()), goto="model")

    assert node.invoke(state).goto == (await node.ainvoke(state)).goto == "model"
    with pytest.raises(GuardBlocked):
        closed.invoke(state)


def test_c10_a_structured_answer_that_was_let_through_is_parsed(
    local: Any, tool_call: Callable[..., AIMessage]
) -> None:
    model = wrap(local(answers=[tool_call("look", what="x")]), _guard("fail_open", Crashing()))

    structured: Any = model.with_structured_output(look.args_schema)
    assert structured.invoke("hi").what == "x"


async def test_r3_what_was_not_judged_is_not_cached(local: Any) -> None:
    cache = InMemoryCache()
    guarded = wrap(local(answers=["one", "two"], cache=cache), _guard("fail_open", Crashing()))

    assert [guarded.invoke("hi").text, (await guarded.ainvoke("hi")).text] == ["one", "two"]
    assert not cache._cache  # noqa: SLF001  what it holds


async def test_c9_the_loop_goes_on_while_a_judge_thinks(local: Any) -> None:
    class Thinking(Fake):
        async def score(self, *args: Any, **options: Any) -> list[tuple[Score, ...]]:
            await asyncio.sleep(0.02)
            return await super().score(*args, **options)

    turns: list[int] = []

    async def turning() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0.001)

    other = asyncio.create_task(turning())
    chain: Any = RunnableLambda(lambda text: text) | wrap(
        local(), _guard("fail_closed", Thinking())
    )
    await chain.ainvoke("hi")
    other.cancel()
    assert len(turns) > 2
