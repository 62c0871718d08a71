"""`/v1/chat/completions` through a real proxy, asserted on the bytes that arrived."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.upstream import Upstream

PLACEHOLDER = "[redacted: harassment]"
CITATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 4, "title": "idiot", "url": "http://a.test"},
}


def say(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def ask(proxy: Proxy, text: str = "Hello.", **extra: Any) -> Any:
    body = {"model": "plain", "messages": say(text), **extra}
    return proxy.post("/v1/chat/completions", body)


def test_the_openai_client_raises_bad_request_with_policy_and_decision(
    proxy: Proxy, upstream: Upstream
) -> None:
    with pytest.raises(openai.BadRequestError) as caught, proxy.client() as client:
        client.chat.completions.create(model="plain", messages=say("vermin"))  # type: ignore[arg-type]

    body: Any = caught.value.body
    fields = body["provider_specific_fields"]
    assert not upstream.bodies
    assert caught.value.type == "content_policy_violation"
    assert body["message"].startswith("We do not say that here. (block: harassment")
    assert fields["code"] == "content_policy_violation"
    assert fields["policies"] == ["harassment"]
    assert fields["decision"] == proxy.decisions()[-1]["id"]
    assert "vermin" not in json.dumps(body)
    assert "0.9" not in json.dumps(body)


def test_a_blocked_answer_is_clean_json_without_the_answer(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("You vermin.")]
    response = ask(proxy)

    error = response.json()["error"]
    assert response.headers["content-type"].startswith("application/json")
    assert error["type"] == "content_policy_violation"
    assert error["provider_specific_fields"]["policies"] == ["harassment"]


def test_every_choice_is_judged(proxy: Proxy, upstream: Upstream) -> None:
    upstream.says = [answer("Good."), answer("You idiot."), answer("Fine.")]
    redacted = ask(proxy, n=3)
    upstream.says = [answer("Good."), answer("Fine."), answer("You vermin.")]
    blocked = ask(proxy, n=3)

    contents = [choice["message"]["content"] for choice in redacted.json()["choices"]]
    assert contents == ["Good.", f"You {PLACEHOLDER}.", "Fine."]
    assert blocked.status_code == 400


@pytest.mark.usefixtures("upstream")
def test_the_answer_is_judged_with_the_question(proxy: Proxy) -> None:
    before = len(proxy.decisions())
    ask(proxy)

    made = proxy.decisions()[before:]
    assert [d["stage"] for d in made] == ["input", "output"]
    assert made[1]["passages"][0]["place"][0] == 1  # the answer follows the request's one message


def test_tool_call_arguments_are_judged_and_redacted(proxy: Proxy, upstream: Upstream) -> None:
    function = {"name": "write", "arguments": '{"to": "you idiot"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    upstream.says = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    redacted = ask(proxy).json()["choices"][0]["message"]
    function["arguments"] = '{"to": "you vermin"}'
    blocked = ask(proxy)

    assert redacted["tool_calls"][0]["function"]["arguments"] == f'{{"to": "you {PLACEHOLDER}"}}'
    assert redacted["tool_calls"][0]["id"] == "call_1"
    assert blocked.status_code == 400


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Fine.", "reasoning_content": "What an idiot."},
        {"content": "Fine.", "refusal": "No, idiot."},
        {"content": "Fine.", "a_field_of_tomorrow": {"notes": ["What an idiot."]}},
        {"content": "Fine.", "_response_ms": "What an idiot."},
        {"content": None, "function_call": {"name": "write", "arguments": '{"to": "idiot"}'}},
        {"content": "Fine.", "annotations": [CITATION]},
    ],
    ids=lambda message: list(message)[-1],
)
def test_no_field_of_an_answer_carries_unjudged_text(
    message: dict[str, Any], proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [{"role": "assistant", **message}]
    redacted = ask(proxy)
    upstream.says = json.loads(json.dumps(upstream.says).replace("idiot", "vermin"))
    blocked = ask(proxy)

    assert redacted.status_code == 200
    assert "idiot" not in redacted.text
    assert blocked.status_code == 400


@pytest.mark.parametrize("beside", ["of_choice", "of_response"])
def test_nothing_beside_the_message_carries_unjudged_text(
    beside: str, proxy: Proxy, upstream: Upstream
) -> None:
    setattr(upstream, beside, {"citations": ["http://a.test/idiot"]})
    redacted = ask(proxy, n=2)
    setattr(upstream, beside, {"debug": {"notes": "vermin"}})
    blocked = ask(proxy)
    setattr(upstream, beside, {"_response_ms": "vermin"})
    named_as_litellm_names_its_own = ask(proxy)

    assert redacted.status_code == 200
    assert "A friendly answer." in redacted.text
    assert "idiot" not in redacted.text
    assert blocked.status_code == 400
    assert "vermin" not in named_as_litellm_names_its_own.text


def test_what_a_provider_adds_stays_where_nothing_is_redacted(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.of_response = {"citations": ["http://a.test/fine"]}

    assert ask(proxy).json()["citations"] == ["http://a.test/fine"]


def test_the_tokens_of_a_redacted_answer_do_not_come_back_as_logprobs(
    proxy: Proxy, upstream: Upstream
) -> None:
    token = {"token": "idiot", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    upstream.says, upstream.logprobs = [answer("You idiot")], {"content": [token]}

    assert "idiot" not in ask(proxy, logprobs=True).text


def test_a_violating_word_anywhere_in_the_request_is_found(
    proxy: Proxy, upstream: Upstream
) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "For vermin."}}
    schema = {"type": "object", "properties": {"vermin": {"type": "string"}}}
    carriers: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "vermin"}]}]},
        {"tools": [tool]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]},
        {"prediction": {"type": "content", "content": "vermin"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "vermin"}}},
        {"documents": ["vermin"]},
        {"extra_body": {"messages": say("vermin")}},
        {"fallbacks": [{"model": "plain", "messages": say("vermin")}]},
    ]
    answers = [ask(proxy, **carrier) for carrier in carriers]

    assert [a.status_code for a in answers] == [400] * len(carriers)
    assert not upstream.bodies


def test_a_violating_turn_of_the_history_is_taken_out_and_the_chat_goes_on(
    proxy: Proxy, upstream: Upstream
) -> None:
    response = ask(proxy, messages=[answer("Hello, vermin."), *say("Go on.")])

    assert response.status_code == 200
    assert "vermin" not in str(upstream.bodies)
    assert "Go on." in str(upstream.bodies)


def test_what_cannot_be_redacted_in_place_is_blocked(proxy: Proxy, upstream: Upstream) -> None:
    response = ask(proxy, prediction={"type": "content", "content": "idiot"})

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "content_policy_violation"
    assert not upstream.bodies


def test_redaction_keeps_the_rest_of_the_request(proxy: Proxy, upstream: Upstream) -> None:
    content = [{"type": "text", "text": "You idiot."}, {"type": "text", "text": "And hello."}]
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": content}]
    ask(proxy, messages=messages, temperature=0.5, seed=7)

    sent = json.loads(upstream.bodies[0])
    assert (sent["temperature"], sent["seed"]) == (0.5, 7)
    assert sent["messages"][0] == messages[0]
    assert [part["text"] for part in sent["messages"][1]["content"]] == [
        f"You {PLACEHOLDER}.",
        "And hello.",
    ]
