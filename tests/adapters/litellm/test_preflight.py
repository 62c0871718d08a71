"""`gemma-guard-litellm preflight`: what a configuration comes to, before anybody is served."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gemma_guard_litellm import GemmaGuard, NotGuarding, preflight, stanzas

from gemma_guard import ConfigError
from tests.adapters.litellm.proxying import ROOT, proxy_config, stanza, write

GUARD = "routes: {default: {packs: [rude.yaml], scorer: fake}}"
CLASS = "gemma_guard_litellm.GemmaGuard"


def ours(**changes: Any) -> dict[str, Any]:
    made = stanza("ours", CLASS, "guard.yaml", default_on=True)
    made["litellm_params"] |= changes
    return made


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    def written(*guardrails: dict[str, Any]) -> Path:
        listed = {**proxy_config("http://127.0.0.1:9"), "guardrails": list(guardrails)}
        return write(tmp_path, listed, guard=GUARD)

    return written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "pre-call"}, "ours: mode: 'pre-call' is not supported"),
        ({"mode": []}, "ours: mode is needed"),
        ({"mode": {"tags": {"a": "pre_call"}}}, "callers would choose"),
        ({"default_on": "perhaps"}, "ours: litellm_params.default_on: "),
    ],
)
def test_a_stanza_that_litellm_would_pass_over_is_named(
    changes: dict[str, Any], message: str, config: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match=message):
        stanzas.check(stanzas.read(config(ours(**changes))))


def test_two_guardrails_of_one_name_are_refused(config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="two are called 'ours'"):
        stanzas.check(stanzas.read(config(ours(), ours(mode="post_call"))))


@pytest.mark.parametrize("text", ["", "guardrails: {}", "model_list: []", "a: ["])
def test_a_file_without_guardrails_says_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        stanzas.read(tmp_path / "config.yaml")


def test_a_proxy_that_would_pass_over_another_stanza_does_not_start(
    config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistyped = {**ours(mode="post-call"), "guardrail_name": "mistyped"}
    server = SimpleNamespace(user_config_file_path=str(config(ours(), mistyped)))
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", server)
    with pytest.raises(NotGuarding, match="mistyped: mode: 'post-call' is not supported"):
        GemmaGuard(guardrail_name="ours", gemma_guard={"config": "guard.yaml"})


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([ours(mode="pre-call")], "ours: mode: 'pre-call' is not supported"),
        ([{"guardrail_name": "other", "litellm_params": {}}], "none has the key gemma_guard"),
    ],
)
def test_where_guardrails_are_required_a_proxy_without_them_does_not_start(
    listed: list[dict[str, Any]],
    message: str,
    config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = SimpleNamespace(user_config_file_path=str(config(*listed)))
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", server)
    monkeypatch.delitem(sys.modules, "gemma_guard_litellm.required", raising=False)
    with pytest.raises(NotGuarding, match=message):
        importlib.import_module("gemma_guard_litellm.required")


def test_what_may_not_be_meant_is_warned_about() -> None:
    on_request: Any = SimpleNamespace(default_on=False, hooks=["pre_call"])
    every: Any = SimpleNamespace(default_on=True, hooks=["pre_call", "post_call"])

    assert list(preflight.warnings([on_request])) == [
        "no guardrail has default_on: only calls that name one are judged",
        "no guardrail judges the output",
    ]
    assert not list(preflight.warnings([every]))


def run(config: Path) -> subprocess.CompletedProcess[str]:
    sources = [ROOT / "src", ROOT / "adapters/litellm/src"]
    return subprocess.run(
        [sys.executable, "-m", "gemma_guard_litellm", "preflight", str(config)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_command_loads_the_guardrails_as_the_proxy_would(config: Callable[..., Path]) -> None:
    done = run(config(ours()))

    assert done.returncode == 0, done.stderr
    assert "gemma-guard: ours judges every call by guard.yaml" in done.stderr
    assert "guarded               chat messages responses completions" in done.stderr


def test_the_command_fails_where_a_guardrail_would_not_run(config: Callable[..., Path]) -> None:
    done = run(config(ours(mode="pre-call")))

    assert done.returncode == 1
    assert "mode: 'pre-call' is not supported" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_is_json_or_yaml(config: Callable[..., Path]) -> None:
    path = config(ours())

    assert stanzas.read(path) == json.loads(path.read_text())["guardrails"]
