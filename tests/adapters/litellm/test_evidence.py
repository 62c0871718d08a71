"""What LiteLLM is handed of a decision, and what its log holds afterwards."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from gemma_guard_litellm.evidence import enter, entries
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from gemma_guard import Action, Stage, Verdict


class Handed(CustomGuardrail):
    def __init__(self) -> None:
        super().__init__(guardrail_name="handed")
        self.responses: list[Any] = []

    def add_standard_logging_guardrail_information_to_request_data(self, **entry: Any) -> None:  # type: ignore[override]
        self.responses.append(entry["guardrail_json_response"])
        super().add_standard_logging_guardrail_information_to_request_data(**entry)


@pytest.mark.parametrize("logger", [None, object()])
def test_an_entry_is_whole_in_the_log_and_from_the_beginning_where_it_is_traced(
    logger: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SimpleNamespace(open_telemetry_logger=logger)
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", server)
    guardrail = Handed()
    data: dict[str, Any] = {"metadata": {}}
    verdicts = [Verdict(name, Action.LOG, "default", Stage.INPUT, "f", "") for name in ("a", "b")]

    for verdict in verdicts:
        enter(verdict, guardrail, data, GuardrailEventHooks.pre_call)

    responses = [entry["guardrail_response"] for entry in entries(data)]
    assert [one["decision"] for one in responses] == ["a", "b"]
    assert all(one["action"] == "log" and one["status"] == "scored" for one in responses)
    assert guardrail.responses == (responses if logger else [None, None])


@pytest.mark.parametrize(
    "forged", ["abc", ["abc"], {"standard_logging_guardrail_information": "abc"}]
)
def test_what_a_caller_puts_where_entries_go_is_passed_over(forged: object) -> None:
    key = "standard_logging_guardrail_information"
    strange = {key: ["abc", {"guardrail_provider": "other"}]}

    assert list(entries({"metadata": forged, "litellm_metadata": strange})) == []
