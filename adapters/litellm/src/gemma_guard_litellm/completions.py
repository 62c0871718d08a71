"""`/v1/completions` ↔ messages as the guard reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gemma_guard_litellm import shape
from gemma_guard_litellm.inputs import listed, unlisted
from gemma_guard_litellm.refusal import unsupported
from gemma_guard_litellm.texts import beside, texts

_OF_CHOICE = frozenset({"finish_reason", "index", "logprobs", "text"})
_OF_RESPONSE = frozenset(
    {"choices", "created", "id", "model", "object", "system_fingerprint", "usage"}
)


def asked(data: Mapping[str, Any]) -> list[shape.Message]:
    """Each prompt as a message to judge."""
    return listed("prompt", data.get("prompt"))


def put_back(data: shape.Request, messages: Sequence[shape.Message]) -> None:
    """Replace the prompt."""
    data["prompt"] = unlisted(data["prompt"], messages)


def answered(response: Any) -> list[shape.Message]:
    """Each choice as a message to judge; what lies beside the choices is judged with the first."""
    if not response.choices:
        raise unsupported("unsupported_answer", "an answer without a choice is not guarded")
    rest = response.model_dump(exclude_none=True, exclude=set(_OF_RESPONSE))
    return [_answer(choice, {} if index else rest) for index, choice in enumerate(response.choices)]


def rewrite(response: Any, index: int, redacted: shape.Message) -> bool:
    """Write a choice as redacted; False if what was redacted is not in its text."""
    choice = response.choices[index]
    (before, *more) = answered(response)[index]["content"]
    part, *rest = redacted["content"]
    if rest != more:
        return False
    if part != before:
        choice.text, choice.logprobs = part["text"], None
    return True


def _answer(choice: Any, rest_of_response: Mapping[str, Any]) -> shape.Message:
    rest = choice.model_dump(exclude_none=True, exclude=set(_OF_CHOICE))
    more = "\n".join(texts([rest, rest_of_response]))
    found = [choice.text or "", *([more] if more else [])]
    return {"role": "assistant", "content": [{"type": "text", "text": text} for text in found]}


COMPLETIONS = shape.Shape(beside("prompt"), asked, put_back, answered, rewrite)
