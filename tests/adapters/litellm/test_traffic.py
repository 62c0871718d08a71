"""The fields by which a request's route is chosen, and whose known scores answer it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gemma_guard_litellm import GemmaGuard
from gemma_guard_litellm.asking import Call
from gemma_guard_litellm.traffic import tenant

from gemma_guard import Guard


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ({"team_id": "t", "token": "k"}, "t"),
        ({"team_id": None, "token": "k"}, "k"),
        ({"token": None}, ""),
        ({}, ""),
    ],
)
def test_a_team_shares_scores_and_a_key_without_one_keeps_its_own(
    key: Mapping[str, Any], owner: str
) -> None:
    assert tenant(SimpleNamespace(**key)) == owner


async def test_a_call_is_judged_as_its_tenants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guard.yaml").write_text("routes: {default: {scorer: fake}}\n")
    guardrail = GemmaGuard(
        event_hook="pre_call",
        default_on=True,
        gemma_guard={"config": str(tmp_path / "guard.yaml")},
    )
    asked: list[str] = []

    async def check(guard: Guard, **call: Any) -> Any:
        asked.append(call["tenant"])
        return await judged(guard, **call)

    judged = Guard.check
    monkeypatch.setattr(Guard, "check", check)
    data = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

    for key in ("one", "two"):
        holder = SimpleNamespace(token=key, request_route="/v1/chat/completions")
        await guardrail.async_pre_call_hook(holder, None, dict(data), "acompletion")

    assert asked == ["one", "two"]


DATA: dict[str, Any] = {
    "model": "m",
    "user": "u",
    "metadata": {"tags": ["a", "b"], "audience": "kids", "user_api_key_alias": "theirs"},
    "litellm_metadata": {"tags": "c", "audience": 7},
    "proxy_server_request": {"headers": {"X-Mode": "safe", "x-mode": "slow", "x-none": None}},
}
KEY = SimpleNamespace(key_alias="k", team_alias="t", team_id="t1", request_route="/v1/messages")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model", ("m",)),
        ("key_alias", ("k",)),
        ("team", ("t", "t1")),
        ("path", ("/v1/messages",)),
    ],
)
def test_trusted_fields_are_those_of_the_authenticated_key(
    name: str, words: tuple[str, ...]
) -> None:
    assert Call(DATA, KEY).trusted(name) == words
    assert Call({}, None).trusted(name) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("user", ("u",)),
        ("tag", ("a", "b", "c")),
        ("metadata.audience", ("kids", "7")),
        ("metadata.user_api_key_alias", ()),
        ("metadata.other", ()),
        ("header.x-mode", ("safe", "slow")),
        ("header.x-none", ()),
    ],
)
def test_claimed_fields_come_from_the_body_both_buckets_and_the_headers(
    name: str, words: tuple[str, ...]
) -> None:
    assert Call(DATA, KEY).claimed(name) == words
    assert Call({"metadata": "text"}, None).claimed(name) == ()


def test_what_a_field_said_at_first_holds_for_the_whole_call() -> None:
    data = {"model": "m", "user": "u"}
    call = Call(data, None)
    before = call.trusted("model"), call.claimed("user")
    data.update(model="another", user="another")

    assert (call.trusted("model"), call.claimed("user")) == before == (("m",), ("u",))
