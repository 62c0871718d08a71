"""How a guard gets into a proxy: files, stanzas, subclasses, and what stops the start."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gemma_guard_litellm import GemmaGuard, NotGuarding, Refused
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks, Mode

from tests.adapters.litellm.calls import said
from tests.adapters.litellm.proxying import (
    ROOT,
    Proxy,
    proxy_config,
    start,
    stop,
    wait_for,
    write,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    guard = "routes: {default: {packs: [rude.yaml], scorer: fake}}"
    write(tmp_path, proxy_config("http://127.0.0.1:9"), guard=guard)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(config: str = "guard.yaml", **options: Any) -> GemmaGuard:
    return GemmaGuard(gemma_guard={"config": config}, default_on=True, **options)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("bucket", ["metadata", "litellm_metadata"])
@pytest.mark.parametrize("owner", ["user_api_key_metadata", "user_api_key_team_metadata"])
@pytest.mark.parametrize(
    ("settings", "is_judged"),
    [
        ({}, True),
        ({"else": 1}, True),
        ({"disable_global_guardrails": True}, False),
        ({"opted_out_global_guardrails": ["gemma-guard"]}, False),
        ({"opted_out_global_guardrails": ["another"]}, True),
    ],
)
def test_a_key_that_its_admin_leaves_out_is_left_out_as_litellm_has_it(
    bucket: str, owner: str, settings: dict[str, Any], is_judged: bool
) -> None:
    guardrail, data = made(), {bucket: {owner: settings}}

    for event in (GuardrailEventHooks.pre_call, GuardrailEventHooks.post_call):
        assert guardrail.should_run_guardrail(data, event) is is_judged
        assert CustomGuardrail.should_run_guardrail(guardrail, data, event) is is_judged


def test_two_stanzas_of_one_file_share_one_guard(folder: Path) -> None:
    assert made().guard is made(str(folder / "guard.yaml")).guard
    assert made().guard is not made("subclass.yaml").guard


def test_a_path_starts_beside_the_proxys_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = made().guard
    monkeypatch.chdir("/")
    server = SimpleNamespace(user_config_file_path=str(folder / "config.yaml"))
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", server)

    assert made().guard is beside


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give the path of a guard.yaml"),
        ({"gemma_guard": {"config": 7}}, "give the path of a guard.yaml"),
        ({"gemma_guard": {"config": "guard.yaml", "mode": "x"}}, "unknown key 'mode'"),
        ({"gemma_guard": {"config": "missing.yaml"}}, "missing.yaml: cannot be read"),
        ({"gemma_guard": {"config": "rude.yaml"}}, "unknown key 'name'"),
        (
            {"gemma_guard": {"config": "guard.yaml", "allow_unguarded": ["everything"]}},
            "allow_unguarded: 'everything' is neither a path nor of: stored-responses, realtime",
        ),
        (
            {"gemma_guard": {"config": "guard.yaml", "polite": ["nowhere"]}},
            "unknown route 'nowhere'",
        ),
        ({"gemma_guard": {"config": "guard.yaml", "polite": "all"}}, "gemma_guard.polite: "),
        ({"run_in_parallel": True}, "run_in_parallel: LiteLLM would drop what was redacted"),
        ({"scan_raw_request": True}, "scan_raw_request: LiteLLM would drop what was redacted"),
    ],
)
def test_a_stanza_that_cannot_work_says_why(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NotGuarding, match=re.escape(message)):
        GemmaGuard(**options)


def test_no_failure_to_start_is_one_that_litellm_starts_without() -> None:
    assert not issubclass(NotGuarding, ValueError | TypeError)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("mode", ["pre-call", "moderation", ["pre_call", "pre_mcp_call"]])
def test_a_mode_that_would_not_run_is_refused(mode: Any) -> None:
    with pytest.raises(NotGuarding, match="is not supported; use of: pre_call, during_call"):
        made(event_hook=mode)


@pytest.mark.usefixtures("folder")
def test_a_mode_that_callers_choose_by_their_tags_is_refused() -> None:
    with pytest.raises(NotGuarding, match="callers would choose"):
        made(event_hook=Mode(tags={"internal": "pre_call"}, default=None))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("scope", ["streaming", "non_streaming", {"post_call": "non_streaming"}])
def test_a_scope_that_leaves_out_streams_or_all_else_is_refused(scope: Any) -> None:
    guardrail = made()
    guardrail.apply_stream_scope("both")
    with pytest.raises(NotGuarding, match="stream_scope"):
        guardrail.apply_stream_scope(scope)


@pytest.mark.usefixtures("folder")
def test_a_subclass_that_litellm_would_pass_over_is_refused() -> None:
    class Unified(GemmaGuard):
        use_native_lifecycle_hooks = False

    with pytest.raises(NotGuarding, match="would not find its use_native_lifecycle_hooks"):
        Unified(gemma_guard={"config": "guard.yaml"})


@pytest.mark.usefixtures("folder")
def test_a_litellm_that_would_not_run_the_hooks_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LiteLLM's, of its own models
        from litellm.proxy.utils import ProxyLogging  # noqa: PLC0415  takes seconds

    blind = SimpleNamespace(
        has_guardrail=True, has_post_call_response_headers=True, iterator_overrides=()
    )
    monkeypatch.setattr(ProxyLogging, "callback_capabilities", staticmethod(lambda: blind))
    with pytest.raises(NotGuarding, match="this LiteLLM would not run its hooks"):
        made()


@pytest.mark.usefixtures("folder")
def test_options_of_other_vendors_are_left_alone() -> None:
    assert made(action="block", on_flagged="block", confidence_threshold=0.5, timeout=3.0)


def test_a_subclass_has_the_hooks_that_are_looked_up_in_the_class_itself() -> None:
    class Inheriting(GemmaGuard):
        pass

    class InheritingAgain(Inheriting):
        pass

    for name in ("apply_guardrail", "async_post_call_streaming_iterator_hook"):
        assert name in vars(InheritingAgain)


@pytest.mark.usefixtures("folder")
def test_where_only_answers_are_judged_it_also_runs_before_the_call() -> None:
    guardrail = made(event_hook="post_call")

    assert guardrail.should_run_guardrail({}, GuardrailEventHooks.pre_call)
    assert guardrail.should_run_guardrail({}, GuardrailEventHooks.post_call)
    assert not guardrail.should_run_guardrail({}, GuardrailEventHooks.during_call)


@pytest.mark.usefixtures("folder")
async def test_a_guard_that_fails_itself_fails_closed_without_its_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(**_: Any) -> None:
        raise AttributeError("canary")

    guardrail = made(event_hook=["pre_call"])
    monkeypatch.setattr(guardrail, "guard", SimpleNamespace(check=fail))
    body = {"model": "plain", "messages": [{"role": "user", "content": "canary"}]}
    with pytest.raises(Refused) as caught:
        await guardrail.async_pre_call_hook(None, None, body, "acompletion")

    assert caught.value.status_code == 503
    assert caught.value.__context__ is None  # LiteLLM would call an AttributeError there a 400
    assert "canary" not in caplog.text


@pytest.mark.usefixtures("folder")
async def test_cancelling_a_call_is_not_taken_for_a_failure_of_the_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guardrail = made(event_hook=["pre_call"])
    hanging = SimpleNamespace(check=lambda **_: asyncio.sleep(60))
    monkeypatch.setattr(guardrail, "guard", hanging)
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hello."}]}
    call = asyncio.create_task(guardrail.async_pre_call_hook(None, None, body, "acompletion"))
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


def test_judges_are_opened_and_tried_at_the_start_not_by_the_first_call(proxy: Proxy) -> None:
    told, waited_s = "gemma-guard: raises is not well: crashed", 0.0
    while told not in proxy.log and waited_s < 20:
        time.sleep(0.1)
        waited_s += 0.1

    assert told in proxy.log


@pytest.mark.slow
def test_a_proxy_with_a_broken_guard_does_not_start(tmp_path: Path) -> None:
    config = write(tmp_path, proxy_config("http://127.0.0.1:9"), guard="routes: {}")
    proxy = start(config)
    try:
        assert proxy.process.wait(120) != 0
    finally:
        stop(proxy)
    assert "a route called 'default' is needed" in proxy.log


@pytest.mark.slow
def test_where_guardrails_are_required_a_lone_mistyped_stanza_stops_the_start(
    tmp_path: Path,
) -> None:
    config = proxy_config("http://127.0.0.1:9")
    config["guardrails"] = config["guardrails"][:1]
    config["guardrails"][0]["litellm_params"]["default_on"] = "perhaps"
    config["litellm_settings"]["callbacks"] = ["gemma_guard_litellm.required.guardrails"]
    proxy = start(write(tmp_path, config))
    try:
        assert proxy.process.wait(120) != 0
    finally:
        stop(proxy)
    assert "everyone: litellm_params.default_on: " in proxy.log


@pytest.mark.slow
def test_the_calls_in_the_examples_readme_answer_as_it_says(tmp_path: Path) -> None:
    example = shutil.copytree(ROOT / "examples/05_litellm", tmp_path / "05_litellm")
    proxy = start(example / "config.yaml")
    try:
        wait_for(proxy)
        readme = (example / "README.md").read_text()
        answers = [
            _shell(block, proxy) for block in re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)
        ]
    finally:
        stop(proxy)

    promises = re.findall(r"holds `(\"[a-z_]+\".*?)`", readme)
    assert len(answers) == len(promises) == 4
    for answer, promise in zip(answers, promises, strict=True):
        assert promise in answer
    assert (
        said(answers[-1])
        == "You can reach our friendly support team by email at [EMAIL_1], every day of the week."
    )
    assert "jane.doe" not in "".join(answers)


def _shell(block: str, proxy: Proxy) -> str:
    command = block.replace("http://127.0.0.1:4000", proxy.url)
    environment = {**os.environ, "LITELLM_MASTER_KEY": proxy.key}
    return subprocess.run(
        ["/bin/bash", "-c", command],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout
