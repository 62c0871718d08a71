"""Endpoint by stream by action by stage, asserted on the bytes at the model and at the client."""

from __future__ import annotations

import pytest

from tests.adapters.litellm.calls import ANSWERING, INPUT_ONLY, Endpoint, is_refused, said
from tests.adapters.litellm.proxying import WORDS, Proxy
from tests.adapters.litellm.upstream import Upstream

ACTIONS = tuple(WORDS)
PLACEHOLDER = "[redacted: harassment]"
WAYS = [
    *(
        pytest.param(one, stream, id=f"{one.name}-{'stream' if stream else 'whole'}")
        for one in ANSWERING
        for stream in (False, True)
    ),
]
INPUTS = [*WAYS, *(pytest.param(one, False, id=one.name) for one in INPUT_ONLY)]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("endpoint", "stream"), INPUTS)
def test_what_reaches_the_model_is_what_the_input_action_lets_on(
    endpoint: Endpoint, stream: bool, action: str, proxy: Proxy, upstream: Upstream
) -> None:
    word = WORDS[action]
    response = endpoint.call(proxy, f"Dear {word}, hello.", stream=stream)

    assert len(upstream.bodies) == (0 if action == "block" else 1)
    assert response.status_code == (400 if action == "block" else 200), response.text
    assert (word in upstream.received) == (action in ("allow", "log"))
    assert (PLACEHOLDER in upstream.received) == (action == "redact")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("endpoint", "stream"), WAYS)
def test_what_reaches_the_client_is_what_the_output_action_lets_on(
    endpoint: Endpoint, stream: bool, action: str, proxy: Proxy, upstream: Upstream
) -> None:
    word = WORDS[action]
    upstream.says = [{"role": "assistant", "content": f"Well, {word}, hello."}]
    response = endpoint.call(proxy, "Hello.", stream=stream)

    assert len(upstream.bodies) == 1
    assert (word in said(response.text)) == (action in ("allow", "log")), response.text
    assert (PLACEHOLDER in said(response.text)) == (action == "redact")
    assert (word in response.text) <= (action in ("allow", "log"))
    assert is_refused(response) == (action == "block")


@pytest.mark.parametrize(("endpoint", "stream"), WAYS)
def test_every_decision_is_recorded_with_its_action(
    endpoint: Endpoint, stream: bool, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.says = [{"role": "assistant", "content": f"Well, {WORDS['redact']}."}]
    before = len(proxy.decisions())
    endpoint.call(proxy, f"Hello {WORDS['log']}.", stream=stream)

    made = proxy.decisions()[before:]
    assert [(d["stage"], d["action"]) for d in made] == [("input", "log"), ("output", "redact")]
