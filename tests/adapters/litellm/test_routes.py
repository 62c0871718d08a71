"""Which route a call takes, which hooks run, and what LiteLLM's log store learns."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.upstream import Upstream

SILLY = [{"role": "user", "content": "How silly."}]
"""Logged on the default route, blocked on the strict one."""


def chat(proxy: Proxy, path: str = "/v1/chat/completions", /, **body: Any) -> Any:
    headers = body.pop("headers", {})
    return proxy.post(path, {"model": "plain", "messages": SILLY, **body}, **headers)


@pytest.mark.usefixtures("upstream")
def test_without_a_match_the_default_route_takes_the_call(proxy: Proxy) -> None:
    assert chat(proxy).status_code == 200
    assert proxy.decisions()[-1]["route"] == "default"


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("by_model", {"model": "strict-model"}),
        ("by_model", {"model": "strict-id"}),
        ("by_model", {"model": "strict-alias"}),
        ("by_key", {"headers": {"authorization": "Bearer sk-alias-strict"}}),
        ("by_team", {"headers": {"authorization": "Bearer sk-alias-kid"}}),
        ("by_tag", {"metadata": {"tags": ["strict"]}}),
        ("by_tag", {"headers": {"x-litellm-tags": "strict,other"}}),
        ("by_user", {"user": "strict"}),
        ("by_header", {"headers": {"X-Strict": "yes"}}),
        ("by_metadata", {"metadata": {"audience": "kids"}}),
        ("by_metadata", {"litellm_metadata": {"audience": "kids"}}),
    ],
)
def test_each_field_chooses_its_route(
    field: str, call: dict[str, Any], proxy: Proxy, upstream: Upstream
) -> None:
    response = chat(proxy, **call)

    assert response.status_code == 400
    assert proxy.decisions()[-1]["route"].endswith(field)
    assert not upstream.bodies


@pytest.mark.usefixtures("upstream")
def test_the_path_is_the_servers(proxy: Proxy) -> None:
    response = chat(proxy, "/openai/deployments/plain/chat/completions")

    assert response.status_code == 400
    assert proxy.decisions()[-1]["route"] == "by_path"


@pytest.mark.usefixtures("upstream")
def test_the_answer_takes_the_same_route_as_the_question(proxy: Proxy) -> None:
    hello = [{"role": "user", "content": "Hello."}]
    chat(proxy, model="strict-model", user="strict", messages=hello)

    assert [d["route"] for d in proxy.decisions()[-2:]] == ["by_model+by_user"] * 2


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize("bucket", ["metadata", "litellm_metadata"])
def test_callers_cannot_pretend_to_be_another_key(bucket: str, proxy: Proxy) -> None:
    forged = {"user_api_key_alias": "lenient", "disable_global_guardrails": True}
    response = chat(proxy, **{bucket: {**forged, "opted_out_global_guardrails": ["everyone"]}})

    assert response.status_code == 200
    assert [d["stage"] for d in proxy.decisions()[-2:]] == ["input", "output"]


def test_a_subclass_still_runs(proxy: Proxy, upstream: Upstream) -> None:
    mauve = [{"role": "user", "content": "mauve"}]
    upstream.says = [{"role": "assistant", "content": "Hello."}]

    assert chat(proxy, messages=mauve).status_code == 200
    assert chat(proxy, messages=mauve, guardrails=["inherited"]).status_code == 400
    upstream.says = [{"role": "assistant", "content": "mauve"}]
    assert chat(proxy, guardrails=["inherited"]).status_code == 400


@pytest.mark.usefixtures("upstream")
def test_a_guardrail_that_a_model_names_too_judges_each_text_once(proxy: Proxy) -> None:
    before = len(proxy.decisions())
    chat(proxy, model="twice")

    assert [d["stage"] for d in proxy.decisions()[before:]] == ["input", "output"]


@pytest.mark.parametrize(
    ("words", "model", "statuses"),
    [
        ("friend", "plain", ["success", "success"]),
        ("silly", "plain", ["guardrail_flagged", "guardrail_flagged"]),
        ("idiot", "plain", ["guardrail_intervened", "guardrail_intervened"]),
        ("vermin", "plain", ["guardrail_intervened"]),
        ("friend", "raises-closed", ["guardrail_failed_to_respond"]),
        ("friend", "raises-open", ["guardrail_failed_to_respond"] * 2),
    ],
)
def test_the_log_store_gets_one_entry_per_decision(
    words: str, model: str, statuses: list[str], proxy: Proxy, upstream: Upstream
) -> None:
    tag, before = uuid.uuid4().hex, len(proxy.decisions())
    upstream.says = [{"role": "assistant", "content": f"{words} {tag[:8]}-answer"}]
    messages = [{"role": "user", "content": f"{words} {tag[:8]}-question"}]
    chat(proxy, model=model, messages=messages, metadata={"tags": [tag]})

    entries = proxy.logged(tag)["entries"]
    modes = ["pre_call", "post_call"]
    assert [entry["guardrail_status"] for entry in entries] == statuses
    assert [entry["guardrail_mode"] for entry in entries] == modes[: len(entries)]
    assert [e["guardrail_id"] for e in entries] == [d["id"] for d in proxy.decisions()[before:]]
    assert all(entry["guardrail_provider"] == "gemma_guard" for entry in entries)
    assert tag[:8] not in json.dumps(entries)
    assert proxy.key not in json.dumps(entries)


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize(
    ("refusing", "actions"), [("inherited", ["allow", "block"]), ("foreign", ["allow"])]
)
def test_what_another_guardrail_refuses_next_is_entered_too(
    refusing: str, actions: list[str], proxy: Proxy
) -> None:
    tag = uuid.uuid4().hex
    mauve = [{"role": "user", "content": "mauve"}]
    refused = chat(proxy, messages=mauve, guardrails=[refusing], metadata={"tags": [tag]})

    entries = [e for e in proxy.logged(tag)["entries"] if e["guardrail_provider"] == "gemma_guard"]
    assert refused.status_code == 400
    assert [entry["guardrail_response"]["action"] for entry in entries] == actions


@pytest.mark.usefixtures("upstream")
def test_a_caller_who_asks_for_the_entries_learns_no_score(proxy: Proxy) -> None:
    response = chat(proxy, metadata={"include_guardrail_response": True})

    entries = response.json()["guardrail_information"]
    told = [set(entry["guardrail_response"]) for entry in entries]
    assert told == [{"decision", "action", "status", "gaps"}] * 2
