"""What this adapter cannot judge yet, and what no judge could: refused, never let through."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import openai
import pytest

from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello."}]


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(proxy: Proxy, **body: Any) -> Any:
    return proxy.post("/v1/chat/completions", {"model": "plain", "messages": HELLO, **body})


def test_the_proxys_own_test_call_is_not_answered_with_a_pass(proxy: Proxy) -> None:
    body = {"guardrail_name": "everyone", "text": "vermin"}

    assert proxy.post("/guardrails/apply_guardrail", body).status_code >= 400


def test_a_batch_file_of_chat_calls_is_refused(proxy: Proxy, upstream: Upstream) -> None:
    call = {"method": "POST", "url": "/v1/chat/completions", "custom_id": "1"}
    line = json.dumps({**call, "body": {"model": "plain", "messages": HELLO}}).encode()
    with proxy.client() as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.files.create(file=("a.jsonl", line), purpose="batch")

    assert "batches is not guarded" in caught.value.message
    assert not upstream.bodies


def test_what_generates_nothing_is_left_alone(proxy: Proxy) -> None:
    with proxy.client() as client:
        assert "plain" in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messages": [{"role": "user", "content": "a" * 2001}]}, "too_long"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "media"),
        ({"messages": "Hello."}, "invalid_messages"),
        ({"messages": [{"content": "Hello."}]}, "invalid_messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "invalid_messages"),
        ({"model": "plain,strict-model"}, "unsupported_model"),
        ({"extra_body": {"messages": HELLO}}, "unsupported_extra_body"),
        ({"fallbacks": [{"model": "plain", "messages": HELLO}]}, "unsupported_fallbacks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_that_no_judge_could_judge_has_its_own_code(
    body: dict[str, Any], code: str, proxy: Proxy, upstream: Upstream
) -> None:
    response = chat(proxy, **body)

    error = response.json()["error"]
    assert response.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["provider_specific_fields"]["code"] == code
    assert not upstream.bodies


def test_half_a_surrogate_pair_goes_no_further_than_the_proxy(
    proxy: Proxy, upstream: Upstream
) -> None:
    assert chat(proxy, messages=[{"role": "user", "content": "\ud800"}]).status_code == 400
    assert not upstream.bodies


def test_an_answer_with_media_is_refused(proxy: Proxy, upstream: Upstream) -> None:
    audio = {"id": "a", "data": "UklGRg==", "transcript": "You vermin.", "expires_at": 1}
    upstream.says = [{"role": "assistant", "content": None, "audio": audio}]
    response = chat(proxy)

    assert response.status_code == 400
    assert "UklGRg" not in response.text


@pytest.mark.parametrize(
    ("model", "code"), [("raises-closed", "crashed"), ("hangs-closed", "timed_out")]
)
def test_a_broken_judge_answers_503_and_the_model_is_not_called(
    model: str, code: str, proxy: Proxy, upstream: Upstream
) -> None:
    response = chat(proxy, model=model)

    error = response.json()["error"]
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert error["type"] == "guard_unavailable"
    assert error["provider_specific_fields"]["code"] == code
    assert not upstream.bodies


@pytest.mark.parametrize("model", ["raises-open", "hangs-open"])
def test_fail_open_lets_both_ways_through_and_records_each_gap(
    model: str, proxy: Proxy, upstream: Upstream
) -> None:
    before = len(proxy.decisions())
    response = chat(proxy, model=model)

    made = proxy.decisions()[before:]
    assert response.status_code == 200
    assert len(upstream.bodies) == 1
    assert [(d["stage"], d["status"]) for d in made] == [
        ("input", "not_scanned"),
        ("output", "not_scanned"),
    ]
    assert all(d["gaps"] for d in made)


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize(
    ("model", "while_down"), [("restarts-closed", 503), ("restarts-open", 200)]
)
def test_a_judge_that_comes_back_judges_the_next_call(
    model: str, while_down: int, proxy: Proxy
) -> None:
    down = proxy.folder / "judge-is-down"
    down.touch()
    try:
        missed = chat(proxy, model=model, messages=say(f"vermin, {model}"))
    finally:
        down.unlink()
    back = chat(proxy, model=model, messages=say(f"vermin, {model}"))

    assert missed.status_code == while_down
    assert back.status_code == 400
    assert back.json()["error"]["type"] == "content_policy_violation"


@pytest.mark.usefixtures("upstream")
def test_a_hanging_judge_does_not_hold_up_other_calls(proxy: Proxy) -> None:
    hanging = threading.Thread(target=chat, args=(proxy,), kwargs={"model": "hangs-open"})
    hanging.start()
    time.sleep(0.1)
    answered = chat(proxy)

    assert answered.status_code == 200
    assert hanging.is_alive()
    hanging.join()


def test_a_canary_turns_up_in_no_log(proxy: Proxy, upstream: Upstream) -> None:
    canary = "canary-7f3a"
    upstream.says = [{"role": "assistant", "content": f"vermin {canary}"}]
    for model, text in [("plain", "Hello."), ("plain", f"vermin {canary}")]:
        chat(proxy, model=model, messages=[{"role": "user", "content": text}])
    for model in ("raises-closed", "hangs-closed"):
        chat(proxy, model=model, messages=[{"role": "user", "content": canary}])

    assert canary not in proxy.log
    assert canary not in json.dumps(proxy.decisions())
    assert canary not in (proxy.folder / "witness.jsonl").read_text()
