"""Calls that could pass without every text of them being judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gemma_guard_litellm.endpoints import Label, family, is_allowed
from gemma_guard_litellm.refusal import unsupported
from gemma_guard_litellm.shape import Shape, nothing
from gemma_guard_litellm.shapes import of_call

_CODE = "unsupported_endpoint"


def shape_of(
    data: Mapping[str, Any], *, call_type: str, path: str | None, allowed: Iterable[str]
) -> Shape | None:
    """How to read the call; None where it is allowed unguarded. Raises `Refused`."""
    if path and family("POST", path).label is Label.UNGUARDED:
        if is_allowed("POST", path, allowed):
            return None
        raise unsupported(_CODE, f"{path} is not guarded, so it is refused")
    shape = of_call(call_type)
    if shape is None:
        raise unsupported(_CODE, f"{path or call_type} is not guarded, so it is refused")
    if data.get("stream") and shape.answered is nothing:
        raise unsupported("unsupported_stream", "this answer cannot be judged as it comes")
    _check_one_model(data.get("model"))
    _check_one_conversation(data)
    return shape


def _check_one_model(model: Any) -> None:
    if not (model is None or isinstance(model, str)) or "," in (model or ""):
        raise unsupported("unsupported_model", "name one model in each call")


def _check_one_conversation(data: Mapping[str, Any]) -> None:
    """Refuse a body that brings a second conversation, or puts keys into the model's request."""
    if data.get("extra_body"):
        raise unsupported("unsupported_extra_body", "extra_body is refused; write its keys out")
    fallbacks = data.get("fallbacks")
    if fallbacks and not (
        isinstance(fallbacks, list) and all(isinstance(name, str) for name in fallbacks)
    ):
        raise unsupported("unsupported_fallbacks", "fallbacks may only name models")
