"""Which paths of a proxy are judged, and that no other reaches a model."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from gemma_guard_litellm import watch
from gemma_guard_litellm.door import Door
from gemma_guard_litellm.endpoints import WEBSOCKET, Label, family, is_allowed, real_paths
from gemma_guard_litellm.listing import listing

from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.upstream import Upstream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # LiteLLM's, of its own models
    from litellm.proxy._types import LiteLLMRoutes
    from litellm.proxy.proxy_server import app


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/engines/a/b/chat/completions", "chat"),
        ("/openai/deployments/a/chat/completions", "chat"),
        ("/v1/messages", "messages"),
        ("/openai/v1/responses", "responses"),
        ("/completions", "completions"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/responses/r_1", "stored-responses"),
        ("/v1/responses/compact", "stored-responses"),
        ("/v1/messages/count_tokens", "bookkeeping"),
        ("/anthropic/v1/messages", "pass-through"),
        ("/gemini/v1beta/models/x:generateContent", "google"),
        ("/vertex_ai/x", "pass-through"),
        ("/v1beta/models/x:streamGenerateContent", "google"),
        ("/v1/batches", "batches"),
        ("/azure/v1/batches", "batches"),
        ("/v1/audio/transcriptions", "transcriptions"),
        ("/mcp/", "mcp"),
        ("/github/mcp", "mcp"),
        ("/a2a/x/message/send", "a2a"),
        ("/queue/chat/completions", "queue"),
        ("/cursor/chat/completions", "pass-through"),
        ("/prompts/test", "admin-tools"),
        ("/v1/models", "listing"),
        ("/key/generate", "management"),
        ("/health/liveliness", "management"),
    ],
)
def test_a_path_belongs_to_its_family(path: str, name: str) -> None:
    assert family("POST", path).name == name


@pytest.mark.parametrize("method", ["GET", "PUT", WEBSOCKET])
@pytest.mark.parametrize(
    "path", ["/v1/responses", "/openai/deployments/a/chat/completions", "/v1/realtime"]
)
def test_only_a_post_is_judged_and_nothing_else_passes_on_the_same_path(
    path: str, method: str
) -> None:
    assert family(method, path).label is Label.UNGUARDED


def test_every_route_that_litellm_says_reaches_a_model_has_a_family_here() -> None:
    unknown = {path for method, path in real_paths(app) if family(method, path).name == "other"}

    assert not unknown


def test_a_route_that_a_later_version_adds_is_refused_until_it_is_known() -> None:
    LiteLLMRoutes.openai_routes.value.append("/v9/telepathy")
    try:
        assert family("POST", "/v9/telepathy").label is Label.UNGUARDED
    finally:
        LiteLLMRoutes.openai_routes.value.remove("/v9/telepathy")


def test_a_path_is_allowed_by_its_family_or_by_itself() -> None:
    assert is_allowed("POST", "/v1/rag/query", ["rag"])
    assert is_allowed("POST", "/v1/rag/query", ["/v1/rag/*"])
    assert not is_allowed("POST", "/v1/rag/query", ["ocr", "/rag/*"])


async def _through(door: Door, **scope: Any) -> list[Mapping[str, Any]]:
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await door({"root_path": "", **scope}, receive, send)
    return sent


async def _reached(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "reached"})


@pytest.mark.parametrize(
    ("scope", "kind"),
    [
        ({"type": "lifespan"}, "reached"),
        ({"type": "http", "method": "POST", "path": "/v1/chat/completions"}, "reached"),
        ({"type": "http", "method": "OPTIONS", "path": "/gemini/x"}, "reached"),
        ({"type": "http", "method": "POST", "path": "/gemini/x"}, "http.response.start"),
        ({"type": "websocket", "path": "/v1/realtime"}, "websocket.close"),
        ({"type": "websocket", "path": "/v1/responses"}, "websocket.close"),
        ({"type": "http", "method": "POST", "path": "/v1/rag/query"}, "reached"),
        (
            {"type": "http", "method": "POST", "path": "/sub/gemini/x", "root_path": "/sub"},
            "http.response.start",
        ),
    ],
)
async def test_the_door_turns_away_what_is_not_judged(scope: dict[str, Any], kind: str) -> None:
    sent = await _through(Door(_reached, lambda: ["rag"], lambda: None), **scope)

    assert sent[0]["type"] == kind


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gemini/v1beta/models/x:generateContent"),
        ("POST", "/anthropic/v1/messages"),
        ("POST", "/my-pass-through/chat"),
        ("GET", "/v1/responses/r_1"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/mcp/"),
        ("GET", "/openai/deployments/plain/chat/completions"),
    ],
)
def test_what_reaches_no_guardrail_is_refused_by_name(
    method: str, path: str, proxy: Proxy, upstream: Upstream
) -> None:
    headers = {"authorization": f"Bearer {proxy.key}"}
    response = httpx.request(method, f"{proxy.url}{path}", headers=headers, timeout=20)

    error = response.json()["error"]
    assert response.status_code == 403
    assert "is not guarded, so it is refused; allow_unguarded can name it" in error["message"]
    assert error["provider_specific_fields"]["code"] == "unguarded_endpoint"
    assert not upstream.bodies


def test_what_allow_unguarded_names_is_let_through(proxy: Proxy) -> None:
    response = proxy.post("/v1/fine_tuning/jobs", {"model": "plain", "training_file": "f"})

    assert response.status_code != 403


def test_the_proxy_says_what_it_guards_when_it_starts(proxy: Proxy) -> None:
    for line in (
        "gemma-guard: everyone judges every call by guard.yaml",
        "judged                input at pre_call, output at post_call",
        "guarded               chat messages responses completions",
        "input only            embeddings images speech moderations rerank",
        "allowed unguarded     fine-tuning",
        "allowed unguarded     /v1/threads*",
    ):
        assert line in proxy.log


def test_at_the_start_every_real_route_to_a_model_is_listed_once_by_how_it_is_treated(
    proxy: Proxy,
) -> None:
    _, listed = proxy.log.split("gemma-guard: the routes of this proxy that can reach a model\n")
    for line in (
        "  guarded               messages: /v1/messages\n",
        "  input only            speech: /audio/speech /v1/audio/speech\n",
        "  allowed unguarded     assistants: /v1/threads*\n",
        "  allowed unguarded     fine-tuning: /fine_tuning/jobs* /v1/fine_tuning/jobs*\n",
        "  refused               realtime: /openai/v1/realtime /realtime /v1/realtime\n",
        "  refused               batches: /batches* /files* /v1/batches* /v1/files* ",
    ):
        assert line in listed
    for path in ("/anthropic", "/gemini/", "/vertex_ai/", "/my-pass-through/chat"):
        assert path in listed.split("  refused               pass-through:")[1].split("\n")[0]


async def test_routes_that_come_after_the_guardrails_are_listed_at_the_first_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proxys = FastAPI()
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", SimpleNamespace(app=proxys))
    monkeypatch.setattr(watch, "_allowed", {})
    watch.close("everyone", ())
    proxys.add_api_route("/v1/ocr", lambda: None, methods=["POST"])

    door: Any = proxys.middleware_stack
    for _ in range(2):
        await _through(door, type="http", method="GET", path="/", headers=[], query_string=b"")

    told = "gemma-guard: routes that came later\n  refused               ocr: /v1/ocr\n"
    assert capsys.readouterr().err == told


async def test_a_call_is_not_refused_because_routes_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proxys = FastAPI()
    proxys.add_api_route("/anything", lambda: None, methods=["GET"])
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", SimpleNamespace(app=proxys))
    monkeypatch.setattr(watch, "_allowed", {})
    watch.close("everyone", ())

    def fail(*_: Any) -> str:
        raise RuntimeError

    monkeypatch.setattr(watch, "listing", fail)
    door: Any = proxys.middleware_stack
    call = {"path": "/anything", "headers": [], "query_string": b""}
    start, *_ = await _through(door, type="http", method="GET", **call)

    assert start["status"] == 200
    assert "unknown: RuntimeError" in capsys.readouterr().err


def test_no_real_route_to_a_model_is_missing_from_the_list() -> None:
    listed = listing(app, ["rag"])
    for method, path in real_paths(app):
        one = family(method, path)
        if one.label is not Label.QUIET:
            assert f" {one.name}: " in listed

    assert "allowed unguarded     rag: /rag/ingest /rag/query /v1/rag/ingest" in listed
