"""One entry per decision in LiteLLM's `guardrail_information`; no text, no scores, no headers.

A caller may ask the proxy for these entries (`include_guardrail_response`): they hold nothing that
the one whose text was judged must not see. Scores are in the guard's own records, by decision id.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from litellm.integrations import custom_guardrail
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.litellm_core_utils import core_helpers
from litellm.types.guardrails import GuardrailEventHooks
from litellm.types.utils import GuardrailStatus, GuardrailTracingDetail

from gemma_guard import Action, Verdict
from gemma_guard_litellm.proof import note

_PROVIDER = "gemma_guard"
_KEY = "standard_logging_guardrail_information"
_bucket: Any = getattr(core_helpers, "get_or_create_metadata_bucket", None)
_copied: Any = getattr(custom_guardrail, "_sync_guardrail_info_to_logging_obj", None)
"""Where LiteLLM keeps a call's entries; and copies them to where it logs some endpoints from."""
_DETAILS = frozenset(GuardrailTracingDetail.__annotations__)
_late: dict[Any, list[Callable[[], None]]] = {}
"""What is to be entered soon, by the id of the call."""


def enter(
    verdict: Verdict, guardrail: CustomGuardrail, data: dict[str, Any], event: GuardrailEventHooks
) -> None:
    """Add what `verdict` says to the request's log, after what was to be added soon."""
    note(verdict)
    catch_up(data.get("litellm_call_id"))
    add(verdict, guardrail, data, event)


def add(
    verdict: Verdict, guardrail: CustomGuardrail, data: dict[str, Any], event: GuardrailEventHooks
) -> None:
    """Add it to the request's log alone: no header names it."""
    entry = _entry(verdict, event)
    if not (_bucket and _copied) or _is_traced():
        _hand_over(entry, guardrail, data)
    else:
        _append({"guardrail_name": guardrail.guardrail_name, **entry}, data)


def _entry(verdict: Verdict, event: GuardrailEventHooks) -> dict[str, Any]:
    """LiteLLM's `StandardLoggingGuardrailInformation`, without the guardrail's name."""
    ended, seconds, action = time.time(), verdict.ms / 1000, str(verdict.action)
    is_clean = not (verdict.gaps or verdict.findings)
    return {
        "guardrail_provider": _PROVIDER,
        "guardrail_mode": event,
        "guardrail_response": {
            "decision": verdict.id,
            "action": action,
            "status": verdict.status,
            "gaps": [] if is_clean else sorted({str(gap.cause) for gap in verdict.gaps}),
        },
        "guardrail_status": "success" if is_clean else _status(verdict, event),
        "start_time": ended - seconds,
        "end_time": ended,
        "duration": seconds,
        "masked_entity_count": None,
        "guardrail_id": verdict.id,
        "policy_template": verdict.route,
        "detection_method": _PROVIDER,
        "violation_categories": [] if is_clean else _violated(verdict),
        "guardrail_action": action,
    }


def _append(entry: dict[str, Any], data: dict[str, Any]) -> None:
    """Enter it where LiteLLM would.

    LiteLLM itself copies a response three times over and looks for secrets in it, which takes it
    longer than all the rest, and there are none.
    """
    _, bucket = _bucket(data)
    made = bucket.get(_KEY)
    if isinstance(made, list):
        made.append(entry)
    else:
        bucket[_KEY] = [entry] if made is None else [made, entry]
    log = data.get("litellm_logging_obj")
    if not _is_logged_from(bucket, log):
        _copied(data, log)


def _is_logged_from(bucket: dict[str, Any], log: Any) -> bool:
    """Whether it is the very dictionary that LiteLLM logs this call from."""
    params = getattr(log, "litellm_params", None)
    return (
        isinstance(params, dict)
        and params.get("metadata") is bucket
        and log.model_call_details.get("litellm_params") is params
    )


def _hand_over(entry: dict[str, Any], guardrail: CustomGuardrail, data: dict[str, Any]) -> None:
    """Have LiteLLM enter it, which also sends it on."""
    detail: Any = {name: entry[name] for name in entry if name in _DETAILS}
    guardrail.add_standard_logging_guardrail_information_to_request_data(
        guardrail_json_response=entry["guardrail_response"],
        request_data=data,
        guardrail_status=entry["guardrail_status"],
        start_time=entry["start_time"],
        end_time=entry["end_time"],
        duration=entry["duration"],
        guardrail_provider=_PROVIDER,
        event_type=entry["guardrail_mode"],
        tracing_detail=detail,
    )


def _is_traced() -> bool:
    """Whether an entry is sent on as it is made."""
    proxy = sys.modules.get("litellm.proxy.proxy_server")
    return getattr(proxy, "open_telemetry_logger", None) is not None


def enter_soon(
    verdict: Verdict, guardrail: CustomGuardrail, data: dict[str, Any], event: GuardrailEventHooks
) -> None:
    """As `enter`, once LiteLLM goes on: to the model, or to its log where something refuses.

    Where an entry is there already, LiteLLM copies the whole request, the caller's key and all, in
    case a guardrail rewrote it.
    """
    note(verdict)
    call = data.get("litellm_call_id")
    _late.setdefault(call, []).append(partial(add, verdict, guardrail, data, event))
    asyncio.get_running_loop().call_soon(catch_up, call)


def catch_up(call: Any) -> None:
    """Enter what was to be entered soon for the call with this id."""
    for entering in _late.pop(call, ()):
        entering()


def entries(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What was entered for this call, by any guardrail of ours."""
    for name in ("metadata", "litellm_metadata"):
        bucket = data.get(name)  # of a caller, so it may be anything
        made = bucket.get(_KEY) if isinstance(bucket, dict) else None
        for entry in made if isinstance(made, list) else ():
            if isinstance(entry, dict) and entry.get("guardrail_provider") == _PROVIDER:
                yield entry


def _violated(verdict: Verdict) -> list[str]:
    return list(dict.fromkeys([found.policy for found in verdict.findings]))


def _status(verdict: Verdict, event: GuardrailEventHooks) -> GuardrailStatus:
    """LiteLLM's word for what happened, where something was found or not judged."""
    is_enforced = event is not GuardrailEventHooks.logging_only
    if verdict.fault == "judge":
        return "guardrail_failed_to_respond"
    if is_enforced and verdict.action >= Action.REDACT:
        return "guardrail_intervened"
    if any(gap.cause.is_judges and not gap.judged_by for gap in verdict.gaps):
        return "guardrail_failed_to_respond"
    if verdict.findings:
        return "guardrail_flagged"
    return "not_run" if verdict.status == "not_scanned" else "success"
