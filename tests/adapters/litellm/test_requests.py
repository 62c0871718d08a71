"""What of a request is judged in each endpoint's own form: images, system texts, tool results."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.litellm.calls import CHAT, MESSAGES, RESPONSES, Endpoint
from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.upstream import Upstream

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
URL = f"data:image/png;base64,{PIXEL}"
SOURCE = {"type": "base64", "media_type": "image/png", "data": PIXEL}
IMAGES: dict[Endpoint, dict[str, Any]] = {
    CHAT: {"type": "image_url", "image_url": {"url": URL}},
    MESSAGES: {"type": "image", "source": SOURCE},
    RESPONSES: {"type": "input_image", "image_url": URL},
}
TEXTS: dict[Endpoint, dict[str, Any]] = {
    CHAT: {"type": "text", "text": "You idiot."},
    MESSAGES: {"type": "text", "text": "You idiot."},
    RESPONSES: {"type": "input_text", "text": "You idiot."},
}
SAID_TO_A_TOOL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USED = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
by_endpoint = pytest.mark.parametrize(
    "endpoint", [CHAT, MESSAGES, RESPONSES], ids=lambda endpoint: endpoint.name
)


def ask(endpoint: Endpoint, proxy: Proxy, *content: dict[str, Any], model: str = "plain") -> Any:
    key = "input" if endpoint is RESPONSES else "messages"
    body: dict[str, Any] = {"model": model, key: [{"role": "user", "content": list(content)}]}
    return endpoint.call(proxy, "", **body)


@by_endpoint
def test_an_image_alone_is_refused_where_media_are(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    response = ask(endpoint, proxy, IMAGES[endpoint])

    assert response.status_code == 400
    assert not upstream.bodies


@by_endpoint
def test_an_image_alone_is_a_gap_where_media_may_pass(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    before = len(proxy.decisions())
    response = ask(endpoint, proxy, IMAGES[endpoint], model="pictures")

    asked = proxy.decisions()[before]
    assert response.status_code == 200, response.text
    assert PIXEL in upstream.received
    assert (asked["stage"], asked["status"]) == ("input", "not_scanned")
    assert "media" in str(asked["gaps"])


@by_endpoint
def test_an_image_beside_a_redacted_text_goes_on(
    endpoint: Endpoint, proxy: Proxy, upstream: Upstream
) -> None:
    response = ask(endpoint, proxy, TEXTS[endpoint], IMAGES[endpoint], model="pictures")

    assert response.status_code == 200, response.text
    assert "You [redacted: harassment]." in upstream.received
    assert "idiot" not in upstream.received
    assert PIXEL in upstream.received


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT, {"messages": [{"role": "system", "content": "vermin"}]}),
        (MESSAGES, {"system": "vermin"}),
        (MESSAGES, {"system": [{"type": "text", "text": "vermin"}]}),
        (RESPONSES, {"instructions": "vermin"}),
    ],
    ids=["chat", "messages", "messages-parts", "responses"],
)
def test_system_texts_are_judged_where_the_route_says_so(
    endpoint: Endpoint, body: dict[str, Any], proxy: Proxy, upstream: Upstream
) -> None:
    hello = [{"role": "user", "content": "Hello."}]
    messages = {"messages": [*body["messages"], *hello]} if "messages" in body else {}
    response = endpoint.call(proxy, "Hello.", model="pictures", **{**body, **messages})

    assert response.status_code == 400
    assert not upstream.bodies


@pytest.mark.parametrize(
    ("endpoint", "turns"),
    [
        (
            CHAT,
            [
                {"role": "assistant", "content": None, "tool_calls": [SAID_TO_A_TOOL]},
                {"role": "tool", "tool_call_id": "c", "content": "vermin"},
            ],
        ),
        (
            MESSAGES,
            [
                {"role": "assistant", "content": [USED]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c", "content": "vermin"}],
                },
            ],
        ),
        (
            RESPONSES,
            [
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "vermin"},
            ],
        ),
    ],
    ids=["chat", "messages", "responses"],
)
def test_what_a_tool_answered_is_judged(
    endpoint: Endpoint, turns: list[dict[str, Any]], proxy: Proxy, upstream: Upstream
) -> None:
    key = "input" if endpoint is RESPONSES else "messages"
    body: dict[str, Any] = {key: [{"role": "user", "content": "Look."}, *turns]}
    response = endpoint.call(proxy, "", **body)

    assert response.status_code == 400
    assert not upstream.bodies


def test_with_scope_new_an_old_turn_is_a_gap_and_stops_nothing(
    proxy: Proxy, upstream: Upstream
) -> None:
    before = len(proxy.decisions())
    turns = [("user", "vermin"), ("assistant", "No."), ("user", "Hello.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    went_on = CHAT.call(proxy, "", model="newest", messages=messages)
    stopped = CHAT.call(proxy, "", model="newest", messages=[*messages[2:], *messages[:1]])

    assert went_on.status_code == 200
    assert stopped.status_code == 400
    assert "scope" in str(proxy.decisions()[before]["gaps"])
    assert len(upstream.bodies) == 1
