"""What LiteLLM is handed of a decision, and what its log holds afterwards."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from gemma_guard_litellm.evidence import enter, entries
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from gemma_guard import Action, Cause, Finding, Gap, Stage, Verdict


class Handed(CustomGuardrail):
    def __init__(self) -> None:
        super().__init__(guardrail_name="handed")
        self.responses: list[Any] = []

    def add_standard_logging_guardrail_information_to_request_data(self, **entry: Any) -> None:  # type: ignore[override]
        self.responses.append(entry["guardrail_json_response"])
        super().add_standard_logging_guardrail_information_to_request_data(**entry)


VERDICTS = (
    Verdict("a", Action.ALLOW, "default", Stage.INPUT, "f", ""),
    Verdict("b", Action.LOG, "default", Stage.INPUT, "f", "", gaps=(Gap(Cause.MEDIA),)),
    Verdict(
        "c",
        Action.BLOCK,
        "strict",
        Stage.OUTPUT,
        "f",
        "",
        findings=(Finding("hate_speech", Action.BLOCK, 0.9, 0.8, "k"),),
    ),
)


def entered(traced_to: object, monkeypatch: pytest.MonkeyPatch) -> tuple[Handed, dict[str, Any]]:
    server = SimpleNamespace(open_telemetry_logger=traced_to)
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", server)
    monkeypatch.setattr("time.time", lambda: 1.0)
    logging = SimpleNamespace(litellm_params={"metadata": {}}, model_call_details={})
    guardrail, data = Handed(), {"metadata": {}, "litellm_logging_obj": logging}
    for verdict in VERDICTS:
        enter(verdict, guardrail, data, GuardrailEventHooks.post_call)
    return guardrail, data


def test_an_entry_is_what_litellm_would_enter_itself_which_it_does_where_entries_are_traced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = entered(None, monkeypatch), entered(object(), monkeypatch)

    assert list(entries(ours[1])) == list(entries(theirs[1]))
    assert [list(entry) for entry in entries(ours[1])] == [list(e) for e in entries(theirs[1])]
    logged = [data["litellm_logging_obj"].litellm_params for _, data in (ours, theirs)]
    assert list(entries(logged[0])) == list(entries(logged[1])) == list(entries(ours[1]))
    assert [r["decision"] for r in theirs[0].responses] == ["a", "b", "c"]
    assert not ours[0].responses


@pytest.mark.parametrize("is_shared", [True, False])
def test_an_entry_is_there_once_wherever_litellm_logs_from(
    is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "litellm.proxy.proxy_server", raising=False)
    bucket: dict[str, Any] = {}
    params = {"metadata": bucket if is_shared else {}}
    log = SimpleNamespace(litellm_params=params, model_call_details={"litellm_params": params})
    data = {"metadata": bucket, "litellm_logging_obj": log}
    for verdict in VERDICTS:
        enter(verdict, Handed(), data, GuardrailEventHooks.post_call)

    for logged in (data, params):
        assert [entry["guardrail_id"] for entry in entries(logged)] == ["a", "b", "c"]


def test_an_entry_says_what_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = entered(None, monkeypatch)

    responses = [entry["guardrail_response"] for entry in entries(data)]
    assert [(r["decision"], r["action"], r["gaps"]) for r in responses] == [
        ("a", "allow", []),
        ("b", "log", ["media"]),
        ("c", "block", []),
    ]


@pytest.mark.parametrize("unknown", ["_bucket", "_copied"])
def test_litellm_makes_its_entries_itself_where_it_is_not_known_where_it_keeps_them(
    unknown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"gemma_guard_litellm.evidence.{unknown}", None)

    guardrail, data = entered(None, monkeypatch)

    assert [response["decision"] for response in guardrail.responses] == ["a", "b", "c"]
    assert [entry["guardrail_id"] for entry in entries(data)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "forged", ["abc", ["abc"], {"standard_logging_guardrail_information": "abc"}]
)
def test_what_a_caller_puts_where_entries_go_is_passed_over(forged: object) -> None:
    key = "standard_logging_guardrail_information"
    strange = {key: ["abc", {"guardrail_provider": "other"}]}

    assert list(entries({"metadata": forged, "litellm_metadata": strange})) == []
