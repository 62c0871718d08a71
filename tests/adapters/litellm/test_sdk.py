"""LiteLLM as a library: callbacks judge what they can, and what they cannot is refused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest
from gemma_guard_litellm import GemmaGuard, Refused, guarded, sdk

from gemma_guard import ConfigError
from tests.adapters.litellm.proxying import write
from tests.adapters.litellm.upstream import Upstream

# LiteLLM's, of its own models and clients
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item.* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*Unclosed c:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PLACEHOLDER = "[redacted: harassment]"
CLEAN = "All of this is quite friendly and takes some time to say out loud. " * 12

GUARD = """
scorers: {judge: {type: fake, keywords: {harassment: {idiot: 0.6, vermin: 0.9}}}}
records: {jsonl: decisions.jsonl}
routes:
  default: {packs: [rude.yaml], scorer: judge}
  watching:
    extends: default
    on_error: fail_open
    stream: {mode: after}
    policies: {harassment: {bands: {input: {block: 0.9}, output: {log: 0.2}}}}
    match: {trusted: {model: openai/watched}}
"""


@pytest.fixture
def guardrail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GemmaGuard]:
    write(tmp_path, {}, guard=GUARD)
    made = GemmaGuard(gemma_guard={"config": str(tmp_path / "guard.yaml")})
    monkeypatch.setattr(litellm, "callbacks", [made])
    yield made
    asyncio.run(made.guard.aclose())


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


Make = Callable[[str, dict[str, Any]], Awaitable[Any]]


def _router(text: str, to: dict[str, Any]) -> Awaitable[Any]:
    model: Any = {"model_name": "m", "litellm_params": {"model": "openai/scripted", **to}}
    messages: Any = say(text)
    return litellm.router.Router(model_list=[model]).acompletion(model="m", messages=messages)


CALLS: dict[str, Make] = {
    "acompletion": lambda t, to: litellm.acompletion(
        model="openai/scripted", messages=say(t), **to
    ),
    "atext_completion": lambda t, to: litellm.atext_completion(
        model="text-completion-openai/scripted", prompt=t, **to
    ),
    "aresponses": lambda t, to: litellm.aresponses(model="openai/scripted", input=t, **to),
    "aembedding": lambda t, to: litellm.aembedding(model="openai/scripted", input=[t], **to),
    "aimage_generation": lambda t, to: litellm.aimage_generation(
        model="openai/scripted", prompt=t, **to
    ),
    "anthropic_messages": lambda t, to: litellm.anthropic_messages(
        model="openai/scripted", messages=say(t), max_tokens=9, **to
    ),
    "Router": _router,
}
ANSWERED = [name for name in CALLS if name not in ("aembedding", "aimage_generation")]


def to(upstream: Upstream) -> dict[str, Any]:
    return {"api_base": upstream.url, "api_key": "sk-upstream", "max_retries": 0}


@pytest.mark.usefixtures("guardrail")
@pytest.mark.parametrize("name", CALLS)
async def test_a_blocked_request_reaches_no_model(name: str, upstream: Upstream) -> None:
    with pytest.raises(Refused):
        await CALLS[name]("You vermin.", to(upstream))

    assert not upstream.bodies


@pytest.mark.usefixtures("guardrail")
@pytest.mark.parametrize("name", CALLS)
async def test_a_redacted_request_goes_on_redacted(name: str, upstream: Upstream) -> None:
    await CALLS[name]("You idiot.", to(upstream))

    assert PLACEHOLDER in upstream.received
    assert "idiot" not in upstream.received


@pytest.mark.usefixtures("guardrail")
@pytest.mark.parametrize("name", ANSWERED)
async def test_an_answer_is_redacted_or_blocked(name: str, upstream: Upstream) -> None:
    upstream.says = [{"role": "assistant", "content": "You idiot."}]
    redacted = await CALLS[name]("Hello.", to(upstream))
    upstream.says = [{"role": "assistant", "content": "You vermin."}]
    with pytest.raises(Refused):
        await CALLS[name]("Hello.", to(upstream))

    assert PLACEHOLDER in str(redacted)
    assert "idiot" not in str(redacted)


@pytest.mark.usefixtures("guardrail")
async def test_what_litellm_does_not_show_its_callbacks_is_refused(upstream: Upstream) -> None:
    with pytest.raises(Refused, match="give model and messages by name"):
        await litellm.acompletion("openai/scripted", say("You vermin."), **to(upstream))

    assert not upstream.bodies


@pytest.mark.usefixtures("guardrail")
async def test_a_stream_that_callbacks_could_not_stop_is_refused(upstream: Upstream) -> None:
    with pytest.raises(Refused, match=r"gemma_guard_litellm\.guarded\(litellm\)"):
        await litellm.acompletion(
            model="openai/scripted", messages=say("Hello."), stream=True, **to(upstream)
        )

    assert not upstream.bodies


@pytest.mark.usefixtures("guardrail")
async def test_a_stream_on_a_route_that_only_looks_on_goes(upstream: Upstream) -> None:
    stream: Any = await litellm.acompletion(
        model="openai/watched", messages=say("Hello."), stream=True, **to(upstream)
    )

    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said) == "A friendly answer."


@pytest.mark.usefixtures("guardrail")
async def test_the_wrapper_redacts_a_stream(upstream: Upstream) -> None:
    upstream.says = [{"role": "assistant", "content": f"{CLEAN}You idiot. Bye."}]
    stream = await guarded(litellm).acompletion(
        "openai/scripted", say("Hello."), stream=True, **to(upstream)
    )

    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said) == f"{CLEAN}You {PLACEHOLDER}. Bye."


@pytest.mark.usefixtures("guardrail")
async def test_the_wrapper_blocks_a_stream_and_its_request(upstream: Upstream) -> None:
    upstream.says = [{"role": "assistant", "content": "You vermin."}]
    ask = guarded(litellm).acompletion
    stream = await ask("openai/scripted", say("Hello."), stream=True, **to(upstream))
    with pytest.raises(Refused):
        await anext(aiter(stream))
    with pytest.raises(Refused):
        await ask("openai/scripted", say("You vermin."), stream=True, **to(upstream))


@pytest.mark.usefixtures("guardrail")
async def test_the_wrapper_leaves_whole_answers_to_the_callbacks(
    upstream: Upstream, tmp_path: Path
) -> None:
    await guarded(litellm).acompletion("openai/scripted", say("Hello."), **to(upstream))

    decisions = (tmp_path / "decisions.jsonl").read_text().splitlines()
    assert len(decisions) == 2


@pytest.mark.usefixtures("guardrail")
def test_the_wrapper_judges_the_synchronous_completion(upstream: Upstream) -> None:
    upstream.says = [{"role": "assistant", "content": "You idiot."}]
    ask = guarded(litellm).completion
    response = ask("openai/scripted", say("An idiot?"), **to(upstream))
    with pytest.raises(Refused):
        ask("openai/scripted", say("You vermin."), **to(upstream))

    assert "idiot" not in upstream.received
    assert response.choices[0].message.content == f"You {PLACEHOLDER}."
    assert len(upstream.bodies) == 1


@pytest.mark.usefixtures("guardrail")
async def test_a_bare_synchronous_call_is_reported_and_no_other(
    upstream: Upstream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "litellm.proxy.proxy_server", raising=False)
    sdk.report_once.cache_clear()
    await CALLS["acompletion"]("Hello.", to(upstream))
    guarded(litellm).completion("openai/scripted", say("Hello."), **to(upstream))
    assert not caplog.records
    for _ in range(2):
        litellm.completion("openai/scripted", say("You vermin."), **to(upstream))

    assert [one.message for one in caplog.records] == [
        "litellm.completion() is judged by nobody: use guarded(litellm) or an async call"
    ]


def test_the_start_says_what_a_library_leaves_unjudged(
    guardrail: GemmaGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "litellm.proxy.proxy_server", raising=False)

    assert "judged by nobody      completion" in guardrail.announcement


def test_the_wrapper_asks_for_a_guardrail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm, "callbacks", [])
    with pytest.raises(ConfigError, match="holds no GemmaGuard"):
        guarded(litellm)
