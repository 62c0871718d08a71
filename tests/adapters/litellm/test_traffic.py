"""Whose known scores a proxy request may be answered from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gemma_guard_litellm import GemmaGuard
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
