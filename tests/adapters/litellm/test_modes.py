"""The modes beside `pre_call` and `post_call`; answers that come from elsewhere than a model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.adapters.litellm.calls import CHAT, INPUT_ONLY, MESSAGES, RESPONSES, Endpoint, said
from tests.adapters.litellm.proxying import (
    Proxy,
    proxy_config,
    stanza,
    start,
    stop,
    wait_for,
    write,
)
from tests.adapters.litellm.upstream import Upstream

LOOKING_ON = """
scorers: {judge: {type: fake, keywords: {harassment: {ochre: 0.6, mauve: 0.9}}}}
records: {jsonl: looked.jsonl}
routes: {default: {packs: [rude.yaml], scorer: judge}}
"""


@pytest.fixture(scope="module")
def other(upstreams: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with a cache, fallbacks, and guardrails of the other modes."""
    folder = tmp_path_factory.mktemp("other")
    config = proxy_config(upstreams.url)
    flaky = {"model": "openai/flaky", "api_base": "http://127.0.0.1:9", "api_key": "sk"}
    config["model_list"].append({"model_name": "flaky", "litellm_params": flaky})
    config["router_settings"] |= {"fallbacks": [{"flaky": ["plain"]}], "num_retries": 1}
    config["litellm_settings"] |= {"cache": True, "cache_params": {"type": "local"}}
    path = "gemma_guard_litellm.GemmaGuard"
    config["guardrails"] = [
        stanza("everyone", path, "guard.yaml", default_on=True),
        stanza("during", path, "during.yaml", mode="during_call"),
        stanza("looking-on", path, "looking.yaml", mode="logging_only"),
    ]
    (folder / "looking.yaml").write_text(LOOKING_ON)
    (folder / "during.yaml").write_text(LOOKING_ON.replace("looked", "during"))
    proxy = start(write(folder, config))
    try:
        wait_for(proxy)
        yield proxy
    finally:
        stop(proxy)


def fresh(text: str) -> str:
    """A text that no cache knows."""
    return f"{text} {uuid.uuid4().hex}"


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, RESPONSES], ids=lambda e: e.name)
@pytest.mark.parametrize("word", ["mauve", "ochre"])
def test_during_call_blocks_also_what_it_cannot_redact_though_the_model_was_called(
    word: str, endpoint: Endpoint, other: Proxy, upstream: Upstream
) -> None:
    response = endpoint.call(other, fresh(f"A {word} thing."), guardrails=["during"])

    assert response.status_code == 400
    assert "block: harassment" in response.text or "redact: harassment" in response.text
    assert len(upstream.bodies) <= 1


def test_what_litellm_asks_nobody_about_during_the_call_is_judged_before_it(
    other: Proxy, upstream: Upstream
) -> None:
    images, speech = INPUT_ONLY[1:3]
    for endpoint in (images, speech):
        response = endpoint.call(other, fresh("mauve"), guardrails=["during"])
        assert response.status_code == 400

    assert not upstream.bodies


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, RESPONSES], ids=lambda e: e.name)
def test_logging_only_records_both_sides_and_changes_nothing(
    endpoint: Endpoint, stream: bool, other: Proxy, upstream: Upstream
) -> None:
    tag = uuid.uuid4().hex
    upstream.says = [{"role": "assistant", "content": f"A mauve answer, {tag}."}]
    key = "litellm_metadata" if endpoint is not CHAT else "metadata"
    response = endpoint.call(other, fresh("mauve"), stream=stream, **{key: {"tags": [tag]}})

    entries = [e for e in other.logged(tag)["entries"] if e["guardrail_mode"] == "logging_only"]
    assert response.status_code == 200
    assert "mauve" in said(response.text)
    assert [e["guardrail_response"]["action"] for e in entries] == ["block", "block"]
    assert {e["guardrail_status"] for e in entries} == {"guardrail_flagged"}
    assert "mauve" not in json.dumps(entries)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_from_the_cache_is_judged_by_the_policies_of_today(
    stream: bool, other: Proxy, upstream: Upstream
) -> None:
    upstream.says = [{"role": "assistant", "content": "How silly."}]
    text = fresh("Hello.")
    lenient = CHAT.call(other, text, stream=stream)
    strict: Any = CHAT.call(other, text, stream=stream, headers={"x-strict": "yes"})

    assert "silly" in said(lenient.text)
    assert strict.status_code == 400
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_answer_of_a_retry_is_judged(stream: bool, other: Proxy, upstream: Upstream) -> None:
    upstream.says = [{"role": "assistant", "content": "You vermin."}]
    upstream.failures = 1
    response = CHAT.call(other, fresh("Hello."), stream=stream)

    assert response.status_code == 400
    assert len(upstream.bodies) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_answer_of_a_fallback_is_judged(stream: bool, other: Proxy, upstream: Upstream) -> None:
    upstream.says = [{"role": "assistant", "content": "You idiot."}]
    response = CHAT.call(other, fresh("Hello."), stream=stream, model="flaky")

    assert response.status_code == 200
    assert "[redacted: harassment]" in said(response.text)
    assert len(upstream.bodies) == 1
