"""Chat requests and answers as LiteLLM holds them ↔ messages as the guard reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from litellm.types.utils import Choices, Message, ModelResponse
from pydantic import BaseModel

from gemma_guard import Action, Verdict
from gemma_guard_litellm.refusal import Refused, undelivered, unsupported

_CALL_TYPES = ("completion", "acompletion")
_PATH = "/chat/completions"

# what of a request's body reaches no model as text, or is judged elsewhere
_QUIET = frozenset(
    {
        *("messages", "model", "metadata", "litellm_metadata", "tags", "guardrails", "policies"),
        *(
            "user",
            "safety_identifier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "service_tier",
        ),
        *("reasoning_effort", "verbosity", "modalities", "mock_response", "fallbacks"),
        *("api_key", "api_base", "base_url", "api_version", "custom_llm_provider"),
    }
)
_JUDGED = ("content", "refusal", "reasoning_content")
_MEDIA = ("audio", "images")
_NO_TEXT = frozenset({"id", "index", "native_finish_reason", "role", "signature", "type"})

_OF_CHOICE = frozenset({"finish_reason", "index", "logprobs", "message"})
_OF_RESPONSE = frozenset(
    {"choices", "created", "id", "model", "object", "service_tier", "system_fingerprint", "usage"}
)


def check_supported(data: Mapping[str, Any], *, call_type: str, path: str | None) -> None:
    """Refuse a call that could pass without every text of it being judged."""
    if call_type not in _CALL_TYPES or not (path or _PATH).endswith(_PATH):
        where = path or call_type
        raise unsupported(
            "unsupported_endpoint",
            f"{where} is not guarded yet, so it is refused; use /v1/chat/completions",
        )
    if data.get("stream"):
        raise unstreamed()
    _check_one_model(data.get("model"))
    _check_one_conversation(data)


def unstreamed() -> Refused:
    """The refusal of a stream."""
    return unsupported("unsupported_stream", "streams are not guarded yet; send stream: false")


def _check_one_model(model: Any) -> None:
    if not isinstance(model, str) or "," in model:
        raise unsupported("unsupported_model", "name one model in each call")


def _check_one_conversation(data: Mapping[str, Any]) -> None:
    """Refuse a body that brings a second conversation, or puts keys into the model's request."""
    if data.get("extra_body"):
        raise unsupported("unsupported_extra_body", "extra_body is refused; write its keys out")
    fallbacks = data.get("fallbacks") or []
    if not isinstance(fallbacks, list) or not all(isinstance(name, str) for name in fallbacks):
        raise unsupported("unsupported_fallbacks", "fallbacks may only name models")


def asked(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The request as messages to judge: first what lies beside its messages, such as tools."""
    messages = data.get("messages")
    if not isinstance(messages, list):
        raise unsupported("invalid_messages", "messages: a list of messages is needed")
    beside = "\n".join(
        text
        for key in _body(data)
        if key not in _QUIET
        for text in _texts(data.get(key), keys=True)
    )
    return [{"role": "tool", "content": beside}, *messages]


def put_back(data: dict[str, Any], verdict: Verdict, judged: list[dict[str, Any]]) -> None:
    """Write what `verdict` redacted into the request; raises where it has no place there."""
    if verdict.action is not Action.REDACT:
        return
    beside, *messages = verdict.apply(judged)
    if beside != judged[0]:
        raise undelivered(verdict)
    data["messages"] = messages


def answered(response: ModelResponse) -> list[dict[str, Any]]:
    """Each choice as a message to judge; what lies beside the choices is judged with the first."""
    if not response.choices:
        raise unsupported("unsupported_answer", "an answer without a choice is not guarded")
    beside = _unknown(response, _OF_RESPONSE)
    return [
        _answer(choice, {} if index else beside) for index, choice in enumerate(response.choices)
    ]


def rewrite(
    response: ModelResponse, index: int, verdict: Verdict, judged: list[dict[str, Any]]
) -> None:
    """Write what `verdict` redacted into a choice, which keeps nothing but judged fields."""
    if verdict.action is not Action.REDACT:
        return
    choice, message = response.choices[index], dict(verdict.apply(judged)[-1])
    parts, calls = message.pop("content"), message.pop("tool_calls")
    content = parts[0]["text"] if choice.message.content else choice.message.content
    choice.message = Message(**message, content=content, tool_calls=calls or None)
    _drop(choice, [*_unknown(choice, _OF_CHOICE), "logprobs"])
    if index == 0:
        _drop(response, _unknown(response, _OF_RESPONSE))


def _answer(choice: Choices, beside: Mapping[str, Any]) -> dict[str, Any]:
    """The choice as a message. Fields that the guard does not know are one more text of it."""
    message = choice.message.model_dump(exclude_none=True)
    known = {key: message[key] for key in _JUDGED if isinstance(message.get(key), str)}
    calls = [call for call in message.get("tool_calls") or () if "function" in call]
    rest = {k: v for k, v in message.items() if k not in known and k not in _MEDIA}
    rest["tool_calls"] = [call for call in rest.get("tool_calls", ()) if call not in calls]
    more = [rest, _unknown(choice, _OF_CHOICE), beside]
    return {
        **known,
        "role": "assistant",
        "content": _parts(known, more, media=[key for key in _MEDIA if message.get(key)]),
        "tool_calls": calls,
    }


def _unknown(model: BaseModel, known: frozenset[str]) -> dict[str, Any]:
    """What `model` holds beside its `known` fields: providers add what they like."""
    return model.model_dump(exclude_none=True, exclude=set(known))


def _drop(model: BaseModel, names: Iterable[str]) -> None:
    for name in names:
        if hasattr(model, name):
            delattr(model, name)


def _parts(known: Mapping[str, str], rest: Any, media: list[str]) -> list[dict[str, str]]:
    """The answer's own text, if any, is the first part."""
    more = "\n".join(text for text in _texts(rest) if text not in known.values())
    texts = [text for text in (known.get("content"), more) if text]
    return [
        *({"type": "text", "text": text} for text in texts),
        *({"type": kind} for kind in media),
    ]


def _body(data: Mapping[str, Any]) -> tuple[str, ...]:
    request = data.get("proxy_server_request") or {}
    return tuple(request.get("body") or ()) or ("tools", "functions", "response_format")


def _texts(tree: Any, *, keys: bool = False) -> Iterator[str]:
    """Every text in `tree`, what stands under keys that hold none left out.

    `keys` are texts too where a caller chooses them, as the parameters of a tool.
    """
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for key, branch in tree.items():
            if keys:
                yield str(key)
            if key not in _NO_TEXT:
                yield from _texts(branch, keys=keys)
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _texts(branch, keys=keys)
