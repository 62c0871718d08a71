"""Mode `logging_only`: a call that is over, judged for the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from gemma_guard import Guard, Stage, Verdict
from gemma_guard_litellm import evidence, traffic
from gemma_guard_litellm.asking import Call, ask
from gemma_guard_litellm.refusal import Refused
from gemma_guard_litellm.shape import Message
from gemma_guard_litellm.shapes import of_answer, of_call

_SAID = ("messages", "input", "prompt")
_STREAMED = ("async_complete_streaming_response", "complete_streaming_response")


async def judged(
    guard: Guard, kwargs: Mapping[str, Any], result: Any, call_type: str
) -> list[Verdict]:
    """What the guard says of the request and of each answer; nothing of what it cannot read."""
    data = _request(kwargs)
    try:
        asked, answers = _asked(data, call_type), _answers(kwargs, result)
    except Refused:  # there is nobody left to refuse
        return []
    call = Call(data, traffic.key_of(data))
    said = [await ask(guard, asked, Stage.INPUT, call)] if asked else []
    said += [await ask(guard, [*asked[1:], one], Stage.OUTPUT, call) for one in answers]
    return [one for one in said if isinstance(one, Verdict)]


def logged(
    guardrail: CustomGuardrail, kwargs: dict[str, Any], said: Sequence[Verdict]
) -> dict[str, Any]:
    """`kwargs` with an entry for each verdict in what goes to the log store."""
    payload = kwargs.get("standard_logging_object")
    if not isinstance(payload, dict) or not said:
        return kwargs
    scratch: dict[str, Any] = {"metadata": {}}
    for verdict in said:
        evidence.add(verdict, guardrail, scratch, GuardrailEventHooks.logging_only)
    entries = [*(payload.get("guardrail_information") or []), *evidence.entries(scratch)]
    return {**kwargs, "standard_logging_object": {**payload, "guardrail_information": entries}}


def _request(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The call as it was made: of a proxy the body as sent, of the SDK what it was called with."""
    given = kwargs.get("litellm_params") or {}
    sent = (given.get("proxy_server_request") or {}).get("body") or {}
    called = {key: kwargs[key] for key in ("model", "user", *_SAID) if kwargs.get(key)}
    kept = ("metadata", "litellm_metadata", "proxy_server_request")
    return {**called, **sent, **{key: given[key] for key in kept if given.get(key)}}


def _asked(data: Mapping[str, Any], call_type: str) -> list[Message]:
    shape = of_call(call_type)
    return shape.request(data) if shape else []


def _answers(kwargs: Mapping[str, Any], result: Any) -> list[Message]:
    streamed = (kwargs[key] for key in _STREAMED if kwargs.get(key) is not None)
    response = next(streamed, result)
    shape = of_answer(response)
    return shape.answered(response) if shape else []
