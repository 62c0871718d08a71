"""Streams as the real clients get them: what was judged goes on, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.adapters.litellm.calls import (
    ANSWERING,
    BRIDGED,
    CHAT,
    COMPLETIONS,
    MESSAGES,
    RESPONSES,
    Endpoint,
    said,
)
from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.upstream import Upstream

PLACEHOLDER = "[redacted: harassment]"
CLEAN = "All of this is quite friendly and takes some time to say out loud. " * 12
MESSAGE = [{"role": "user", "content": "Hello."}]


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def tool_call(arguments: str, number: int = 0) -> dict[str, Any]:
    function = {"name": "write", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


by_endpoint = pytest.mark.parametrize("endpoint", ANSWERING, ids=lambda endpoint: endpoint.name)


@by_endpoint
def test_a_redaction_in_the_middle_leaves_the_rest(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says, upstream.piece = [answer(f"{CLEAN}You idiot. {CLEAN}")], 7
    response = endpoint.call(proxy, "Hello.", stream=True)

    assert "idiot" not in response.text
    assert said(response.text).split("\n")[0] == f"{CLEAN}You {PLACEHOLDER}. {CLEAN}"


@by_endpoint
@pytest.mark.parametrize("piece", [1, 5, 4000])
def test_a_word_cut_across_chunks_is_found(
    endpoint: Endpoint, piece: int, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says, upstream.piece = [answer("You idiot, hello.")], piece
    response = endpoint.call(proxy, "Hello.", stream=True)

    assert "idiot" not in said(response.text)
    assert PLACEHOLDER in said(response.text)


@by_endpoint
def test_a_block_in_the_middle_releases_only_what_was_judged(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(f"{CLEAN}You vermin. {CLEAN}")]
    upstream.piece, upstream.pause_s = 40, 0.005
    response = endpoint.call(proxy, "Hello.", stream=True)

    first = said(response.text).split("\n")[0]
    assert response.status_code == 200
    assert first
    assert CLEAN.startswith(first)
    assert "vermin" not in response.text
    assert "We do not say that here. (block: harassment (decision" in response.text


def test_the_openai_client_raises_after_the_clean_beginning(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(f"{CLEAN}You vermin.")]
    upstream.piece, upstream.pause_s = 40, 0.005
    seen: list[str] = []

    def listen(client: openai.OpenAI) -> None:
        stream: Any = client.chat.completions.create(model="plain", messages=MESSAGE, stream=True)  # type: ignore[arg-type]
        for chunk in stream:
            seen.extend(choice.delta.content or "" for choice in chunk.choices)

    with proxy.client() as client, pytest.raises(openai.APIError) as caught:
        listen(client)

    assert "".join(seen)
    assert CLEAN.startswith("".join(seen))
    assert caught.value.type == "content_policy_violation"
    assert "block: harassment" in caught.value.message


def test_the_openai_client_raises_bad_request_where_nothing_was_sent(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("You vermin.")]
    with proxy.client() as client, pytest.raises(openai.BadRequestError) as caught:
        list(client.chat.completions.create(model="plain", messages=MESSAGE, stream=True))  # type: ignore[arg-type]

    assert caught.value.type == "content_policy_violation"


def test_the_openai_client_gets_a_failed_response(proxy: Proxy, upstream: Upstream) -> None:
    upstream.says = [answer(f"{CLEAN}You vermin.")]
    upstream.piece, upstream.pause_s = 40, 0.005
    with proxy.client() as client:
        events = list(client.responses.create(model="plain", input="Hello.", stream=True))

    assert events[-1].type == "response.failed"
    assert "vermin" not in "".join(event.model_dump_json() for event in events)


def test_the_openai_client_puts_a_redacted_response_together(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("You idiot.")]
    with (
        proxy.client() as client,
        client.responses.stream(model="plain", input="Hello.") as stream,
    ):
        response = stream.get_final_response()

    assert response.output_text == f"You {PLACEHOLDER}."


@pytest.mark.parametrize("model", ["claude", "plain"])
def test_the_anthropic_client_raises_after_the_clean_beginning(
    model: str, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(f"{CLEAN}You vermin.")]
    upstream.piece, upstream.pause_s = 40, 0.005
    seen: list[str] = []

    def listen(client: anthropic.Anthropic) -> None:
        with client.messages.stream(model=model, messages=MESSAGE, max_tokens=9) as stream:  # type: ignore[arg-type]
            seen.extend(stream.text_stream)

    client = anthropic.Anthropic(base_url=proxy.url, api_key=proxy.key, max_retries=0)
    with client, pytest.raises(anthropic.APIStatusError) as caught:
        listen(client)

    assert "".join(seen)
    assert CLEAN.startswith("".join(seen))
    assert "block: harassment" in str(caught.value)


def test_the_anthropic_client_puts_a_redacted_message_together(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("You idiot.", tool_calls=[tool_call('{"to": "idiot"}')])]
    client = anthropic.Anthropic(base_url=proxy.url, api_key=proxy.key, max_retries=0)
    with client, client.messages.stream(model="claude", messages=MESSAGE, max_tokens=9) as stream:  # type: ignore[arg-type]
        message = stream.get_final_message()

    texts = [block.text for block in message.content if block.type == "text"]
    calls = [block.input for block in message.content if block.type == "tool_use"]
    assert texts == [f"You {PLACEHOLDER}."]
    assert calls == [{"to": PLACEHOLDER}]
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, BRIDGED, RESPONSES], ids=lambda e: e.name)
def test_the_arguments_of_a_call_leave_only_when_the_whole_call_was_judged(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    calls = [tool_call('{"to": "a friend"}'), tool_call('{"to": "you idiot"}', 1)]
    upstream.says = [answer("", tool_calls=calls)]
    redacted = endpoint.call(proxy, "Hello.", stream=True)
    upstream.says = [answer("", tool_calls=[tool_call('{"to": "you vermin"}')])]
    blocked = endpoint.call(proxy, "Hello.", stream=True)

    assert '{"to": "a friend"}' in said(redacted.text)
    assert f'{{"to": "you {PLACEHOLDER}"}}' in said(redacted.text)
    assert "idiot" not in redacted.text
    assert '{"to' not in said(blocked.text)
    assert "content_policy" in blocked.text or "block: harassment" in blocked.text


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, RESPONSES], ids=lambda e: e.name)
def test_reasoning_is_judged_as_a_text_of_its_own(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("Hello.", reasoning_content="What an idiot.")]
    response = endpoint.call(proxy, "Hello.", stream=True)

    assert "Hello." in said(response.text)
    assert "What an [redacted" in said(response.text)
    assert "idiot" not in response.text


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS], ids=lambda e: e.name)
def test_every_choice_of_a_stream_is_judged(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("Good."), answer("You idiot.")]
    redacted = endpoint.call(proxy, "Hello.", stream=True, n=2)
    upstream.says = [answer("Good."), answer("You vermin.")]
    blocked = endpoint.call(proxy, "Hello.", stream=True, n=2)

    whole = said(redacted.text).replace("\n", "")  # LiteLLM numbers every text completion 0
    assert whole == f"Good.You {PLACEHOLDER}."
    assert "vermin" not in blocked.text


def finish_reasons(received: str) -> list[str]:
    told = [line[6:] for line in received.splitlines() if line.startswith("data: {")]
    choices = [choice for event in map(json.loads, told) for choice in event.get("choices", ())]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


@pytest.mark.parametrize("clean", ["", CLEAN], ids=["at-once", "midway"])
def test_on_a_polite_route_the_refusal_is_said_as_an_answer(
    clean: str, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(f"{clean}You vermin.")]
    upstream.piece, upstream.pause_s = 40, 0.005
    response = CHAT.call(proxy, "Hello.", stream=True, model="polite")

    assert response.status_code == 200
    assert said(response.text).rstrip("\n").endswith("We do not say that here.")
    assert finish_reasons(response.text) == ["content_filter"]
    assert "vermin" not in response.text


@pytest.mark.parametrize("clean", ["", CLEAN], ids=["at-once", "midway"])
def test_on_a_polite_route_the_anthropic_client_gets_a_whole_message(
    clean: str, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(f"{clean}You vermin.")]
    upstream.piece, upstream.pause_s = 40, 0.005
    client = anthropic.Anthropic(base_url=proxy.url, api_key=proxy.key, max_retries=0)
    with client, client.messages.stream(model="polite", messages=MESSAGE, max_tokens=9) as stream:  # type: ignore[arg-type]
        message = stream.get_final_message()

    texts = [block.text for block in message.content if block.type == "text"]
    assert texts[-1] == "We do not say that here."
    assert message.stop_reason in ("refusal", "end_turn")


@pytest.mark.parametrize("clean", ["", CLEAN], ids=["at-once", "midway"])
def test_on_a_polite_route_a_response_is_left_incomplete_or_says_the_refusal(
    clean: str, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(f"{clean}You vermin.")]
    upstream.piece, upstream.pause_s = 40, 0.005
    with proxy.client() as client:
        events = list(client.responses.create(model="polite", input="Hello.", stream=True))

    assert events[-1].type in ("response.incomplete", "response.completed")
    assert "We do not say that here." in events[-1].model_dump_json()


@pytest.mark.parametrize("stage", ["input", "output"])
@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, RESPONSES], ids=lambda e: e.name)
def test_a_polite_route_is_polite_without_streams_too(
    endpoint: Endpoint, stage: str, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer("You vermin." if stage == "output" else "Fine.")]
    text = "You vermin." if stage == "input" else "Hello."
    response = endpoint.call(proxy, text, model="polite")

    assert response.status_code == 200
    assert "We do not say that here." in said(response.text)
    assert "vermin" not in response.text


def test_a_judge_that_fails_ends_a_stream_without_an_unjudged_word(
    proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [answer(CLEAN)]
    closed = CHAT.call(proxy, "Hello.", stream=True, model="raises-closed")
    opened = CHAT.call(proxy, "Hello.", stream=True, model="raises-open")

    assert closed.status_code == 503
    assert "friendly" not in closed.text
    assert said(opened.text).rstrip("\n") == CLEAN


def test_a_client_that_leaves_ends_the_call_to_the_model(proxy: Proxy, upstream: Upstream) -> None:
    upstream.says = [answer(CLEAN * 5)]
    upstream.piece, upstream.pause_s = 40, 0.02
    with proxy.client() as client:
        stream = client.chat.completions.create(model="plain", messages=MESSAGE, stream=True)  # type: ignore[arg-type]
        next(iter(stream))
        stream.close()  # type: ignore[union-attr]  # it is a stream

    assert upstream.hung_up.wait(10)


def test_a_response_names_the_decision_on_its_request_in_a_header(
    proxy: Proxy, upstream: Upstream
) -> None:
    before = len(proxy.decisions())
    del upstream
    response = CHAT.call(proxy, "Hello.", stream=True)

    assert response.headers["x-gemma-guard-decisions"] == proxy.decisions()[before]["id"]
