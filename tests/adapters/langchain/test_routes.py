"""The developer's fields choose the route; tags and metadata of a run only make it stricter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gemma_guard_langchain import wrap
from gemma_guard_langchain.agents import GuardMiddleware
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda

from gemma_guard import Guard

PACK = """
name: manners
version: "1"
policies:
  harassment:
    kind: judged
    guideline: {input: "No insults asked.", output: "No insults."}
    bands: {input: {block: 0.8}, output: {block: 0.8}}
"""
STRICT = "policies: {harassment: {bands: {input: {block: 0.4}, output: {block: 0.4}}}}"
CONFIG = f"""
routes:
  default: {{packs: [./manners.yaml], scorer: fake}}
  kids: {{extends: default, match: {{claimed: {{tag: [kids]}}}}, {STRICT}}}
  eu: {{extends: default, match: {{claimed: {{metadata.region: [eu]}}}}, {STRICT}}}
  ann: {{extends: default, match: {{claimed: {{user: [ann]}}}}, {STRICT}}}
  small: {{extends: default, match: {{trusted: {{model: ["tiny-*"]}}}}, {STRICT}}}
  sales: {{extends: default, match: {{trusted: {{team: [sales]}}}}, {STRICT}}}
"""
ASKED = "What an idiot!"


@pytest.fixture
def routed(tmp_path: Path) -> Guard:
    (tmp_path / "manners.yaml").write_text(PACK)
    (tmp_path / "guard.yaml").write_text(CONFIG)
    return Guard.from_config(tmp_path / "guard.yaml")


def _route(model: Any, **config: Any) -> str:
    guardrail: dict[str, Any] = model.invoke(ASKED, config).response_metadata.get("guardrail", {})
    return str(guardrail.get("route", "allowed"))


@pytest.mark.parametrize(
    ("config", "route"),
    [
        ({}, "allowed"),
        ({"tags": ["other"]}, "allowed"),
        ({"tags": ["kids"]}, "default+kids"),
        ({"metadata": {"guard_tag": "kids"}}, "default+kids"),
        ({"metadata": {"region": "eu"}}, "default+eu"),
        ({"metadata": {"guard_user": "ann"}}, "default+ann"),
        ({"configurable": {"region": "eu"}}, "default+eu"),
        ({"configurable": {"guard_tag": "kids"}}, "default+kids"),
    ],
)
def test_r1_a_run_can_ask_for_a_stricter_route(
    local: Any, routed: Guard, config: dict[str, Any], route: str
) -> None:
    model = wrap(local(), routed)

    assert _route(model, **config) == route
    assert _route(model.with_config(config)) == route


def test_r1_the_models_name_is_a_trusted_field(local: Any, routed: Guard) -> None:
    assert _route(wrap(local(model_name="tiny-1"), routed)) == "small"
    assert _route(wrap(local(), routed).bind(model="tiny-2")) == "small"


def test_r1_the_developer_chooses_the_route(local: Any, routed: Guard) -> None:
    assert _route(wrap(local(), routed, trusted={"team": "sales"})) == "sales"
    assert _route(wrap(local(), routed, route="kids")) == "kids"
    assert _route(wrap(local(), routed, route="kids"), tags=["other"]) == "kids"


def test_one_models_route_is_not_anothers(local: Any, routed: Guard) -> None:
    raw = local()
    strict, plain = wrap(raw, routed, route="kids"), wrap(raw, routed)

    assert [_route(strict), _route(plain), _route(strict)] == ["kids", "allowed", "kids"]


async def test_r1_a_stream_takes_the_route_of_its_run(local: Any, routed: Guard) -> None:
    model = wrap(local(), routed)
    (chunk,) = model.stream(ASKED, {"tags": ["kids"]})
    (also,) = [c async for c in model.astream(ASKED, {"configurable": {"region": "eu"}})]

    assert chunk.response_metadata["guardrail"]["route"] == "default+kids"
    assert also.response_metadata["guardrail"]["route"] == "default+eu"


def test_a_model_in_a_chain_takes_the_route_of_the_chains_run(local: Any, routed: Guard) -> None:
    asking: Any = RunnableLambda(lambda text: text)
    chain = asking | wrap(local(), routed)

    for config in ({"tags": ["kids"]}, {"configurable": {"guard_tag": "kids"}}):
        assert _route(chain, **config) == "default+kids"


def test_a_runnable_takes_the_route_of_its_run(local: Any, routed: Guard) -> None:
    asking: Any = RunnableLambda(lambda text: text)

    assert _route(wrap(asking | local(), routed), tags=["kids"]) == "default+kids"
    assert _route(wrap(asking | local(), routed, trusted={"team": "sales"})) == "sales"


@pytest.mark.parametrize(
    "config",
    [
        {"tags": ["kids"]},
        {"metadata": {"guard_tag": "kids"}},
        {"configurable": {"guard_tag": "kids"}},
    ],
)
async def test_r1_an_agent_takes_the_route_of_its_run(
    local: Any, routed: Guard, config: dict[str, Any]
) -> None:
    agent: Any = create_agent(local(), [], middleware=[GuardMiddleware(routed)])
    asked: Any = {"messages": [("user", ASKED)]}

    for state in (agent.invoke(asked, config), await agent.ainvoke(asked, config)):
        assert _guardrail(state["messages"][-1])["route"] == "default+kids"
    answering: Any = create_agent(local(answers=[ASKED]), [], middleware=[GuardMiddleware(routed)])
    answer = answering.invoke({"messages": [("user", "hi")]}, config)["messages"][-1]
    assert _guardrail(answer)["route"] == "default+kids"


def _guardrail(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message.response_metadata["guardrail"]
    return found
