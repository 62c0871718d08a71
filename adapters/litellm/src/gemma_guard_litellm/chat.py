"""`/v1/chat/completions` as LiteLLM holds it ↔ messages as the guard reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from litellm.types.utils import Choices, Message, ModelResponse
from pydantic import BaseModel

from gemma_guard_litellm import shape
from gemma_guard_litellm.refusal import unsupported
from gemma_guard_litellm.texts import beside, texts

_JUDGED = ("content", "refusal", "reasoning_content")
_MEDIA = ("audio", "images")
_PLAIN = frozenset({"role", "content"})

_OF_CHOICE = frozenset({"finish_reason", "index", "logprobs", "message"})
_OF_RESPONSE = frozenset(
    {
        *("choices", "created", "id", "model", "object", "service_tier", "system_fingerprint"),
        *("usage", "_response_ms"),  # the last is LiteLLM's own note, which no dump has
    }
)


def asked(data: Mapping[str, Any]) -> list[shape.Message]:
    """The request's messages."""
    messages = data.get("messages")
    if not isinstance(messages, list):
        raise unsupported("invalid_messages", "messages: a list of messages is needed")
    return list(messages)


def put_back(data: shape.Request, messages: Sequence[shape.Message]) -> None:
    """Replace the request's messages."""
    data["messages"] = list(messages)


def answered(response: ModelResponse) -> list[shape.Message]:
    """Each choice as a message to judge; what lies beside the choices is judged with the first."""
    if not response.choices:
        raise unsupported("unsupported_answer", "an answer without a choice is not guarded")
    rest = _unknown(response, _OF_RESPONSE)
    return [_answer(choice, {} if index else rest) for index, choice in enumerate(response.choices)]


def rewrite(response: ModelResponse, index: int, redacted: shape.Message) -> bool:
    """Write a choice as redacted; it keeps nothing but judged fields."""
    choice, message = response.choices[index], dict(redacted)
    parts, calls = message.pop("content"), message.pop("tool_calls", None)
    content = parts if isinstance(parts, str) else choice.message.content and parts[0]["text"]
    choice.message = Message(**message, content=content, tool_calls=calls or None)
    _drop(choice, [*_unknown(choice, _OF_CHOICE), "logprobs"])
    if index == 0:
        _drop(response, _unknown(response, _OF_RESPONSE))
    return True


def _answer(choice: Choices, rest_of_response: Mapping[str, Any]) -> shape.Message:
    """The choice as a message. Fields that the guard does not know are one more text of it."""
    message = _without_none(choice.message)
    beside = _unknown(choice, _OF_CHOICE)
    if _PLAIN.issuperset(message) and not (beside or rest_of_response):
        return {"role": "assistant", "content": message.get("content", "")}
    known = {key: message[key] for key in _JUDGED if isinstance(message.get(key), str)}
    calls = [call for call in message.get("tool_calls") or () if "function" in call]
    rest = {k: v for k, v in message.items() if k not in known and k not in _MEDIA}
    rest["tool_calls"] = [call for call in rest.get("tool_calls", ()) if call not in calls]
    more = [rest, beside, rest_of_response]
    return {
        **known,
        "role": "assistant",
        "content": _parts(known, more, media=[key for key in _MEDIA if message.get(key)]),
        "tool_calls": calls,
    }


def _without_none(model: BaseModel) -> dict[str, Any]:
    """What `model` holds: where that is text alone, without the time that a dump takes."""
    found: dict[str, Any] = {}
    for name, value in (*model.__dict__.items(), *(model.model_extra or {}).items()):
        if value is None:
            continue
        if type(value) is not str:
            return _dumped(model)
        found[name] = value
    return found


def _dumped(model: BaseModel, without: Iterable[str] = ()) -> dict[str, Any]:
    return model.model_dump(exclude_none=True, exclude=set(without))


def _unknown(model: BaseModel, known: frozenset[str]) -> dict[str, Any]:
    """What `model` holds beside its `known` fields: providers add what they like."""
    if known.issuperset(model.__dict__) and known.issuperset(model.model_extra or ()):
        return {}
    return _dumped(model, known)


def _drop(model: BaseModel, names: Iterable[str]) -> None:
    for name in names:
        if hasattr(model, name):
            delattr(model, name)


def _parts(known: Mapping[str, str], rest: Any, media: list[str]) -> list[dict[str, str]]:
    """The answer's own text, if any, is the first part."""
    more = "\n".join(text for text in texts(rest) if text not in known.values())
    found = [text for text in (known.get("content"), more) if text]
    return [
        *({"type": "text", "text": text} for text in found),
        *({"type": kind} for kind in media),
    ]


CHAT = shape.Shape(beside("messages"), asked, put_back, answered, rewrite)
