"""Endpoints whose answer holds no text of a model: only what goes in is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gemma_guard_litellm import shape
from gemma_guard_litellm.refusal import unsupported
from gemma_guard_litellm.texts import beside

_CHOSEN_FROM_A_LIST = frozenset(
    {
        *("background", "dimensions", "encoding_format", "moderation", "output_format", "quality"),
        *("response_format", "size", "speed", "stream_format", "style", "voice"),
    }
)
_MADE_UP = "messages"  # LiteLLM writes an image's prompt there too, and sends what stands there


def listed(key: str, given: Any) -> list[shape.Message]:
    """A text, or several, as a user's messages; raises `Refused` for token ids."""
    found = given if isinstance(given, list) else [given]
    if not found or not all(isinstance(text, str) for text in found):
        raise unsupported("undecodable", f"{key}: texts are judged; token ids cannot be")
    return [{"role": "user", "content": text} for text in found]


def unlisted(given: Any, messages: Sequence[shape.Message]) -> Any:
    """The texts of `messages`, in the form in which they were given."""
    found = [message["content"] for message in messages]
    return found if isinstance(given, list) else found[0]


def _described(response: Any) -> list[shape.Message]:
    """How the model rewrote the prompt of each image, as one message."""
    found = [text for image in response.data or () if (text := image.revised_prompt)]
    return [{"role": "assistant", "content": "\n".join(found)}] if found else []


def _of(*keys: str, answered: Callable[[Any], list[shape.Message]] = shape.nothing) -> shape.Shape:
    """The shape of an endpoint that is given texts under `keys`, the first of them always."""

    def asked(data: Mapping[str, Any]) -> list[shape.Message]:
        return [m for key in _given(data) for m in listed(key, data.get(key))]

    def put_back(data: shape.Request, messages: Sequence[shape.Message]) -> None:
        left = list(messages)
        for key in _given(data):
            count = len(data[key]) if isinstance(data[key], list) else 1
            data[key] = unlisted(data[key], left[:count])
            del left[:count]
        if data.get(_MADE_UP):
            data[_MADE_UP] = [{"role": "user", "content": data[keys[0]]}]

    def _given(data: Mapping[str, Any]) -> list[str]:
        return [key for key in keys if key == keys[0] or data.get(key) is not None]

    elsewhere = beside(*keys, *_CHOSEN_FROM_A_LIST, _MADE_UP)
    return shape.Shape(elsewhere, asked, put_back, answered)


EMBEDDINGS = _of("input")
IMAGES = _of("prompt", answered=_described)
SPEECH = _of("input", "instructions")
MODERATIONS = _of("input")
RERANK = _of("query", "documents")
