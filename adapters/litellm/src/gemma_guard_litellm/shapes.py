"""Which shape a call has: by what LiteLLM calls it, and by what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from litellm.types.llms.openai import OpenAIModerationResponse, ResponsesAPIResponse
from litellm.types.rerank import RerankResponse
from litellm.types.utils import (
    EmbeddingResponse,
    ImageResponse,
    ModelResponse,
    TextCompletionResponse,
)

from gemma_guard_litellm.chat import CHAT
from gemma_guard_litellm.completions import COMPLETIONS
from gemma_guard_litellm.endpoints import family
from gemma_guard_litellm.inputs import EMBEDDINGS, IMAGES, MODERATIONS, RERANK, SPEECH
from gemma_guard_litellm.messages import MESSAGES
from gemma_guard_litellm.responses import RESPONSES
from gemma_guard_litellm.shape import Shape

# LiteLLM's proxy and its SDK have different words for some of them
_BY_CALL_TYPE = {
    **dict.fromkeys(("completion", "acompletion"), CHAT),
    **dict.fromkeys(("anthropic_messages",), MESSAGES),
    **dict.fromkeys(("responses", "aresponses"), RESPONSES),
    **dict.fromkeys(("text_completion", "atext_completion"), COMPLETIONS),
    **dict.fromkeys(("embeddings", "embedding", "aembedding"), EMBEDDINGS),
    **dict.fromkeys(("image_generation", "aimage_generation"), IMAGES),
    **dict.fromkeys(("audio_speech", "speech", "aspeech"), SPEECH),
    **dict.fromkeys(("moderation", "amoderation"), MODERATIONS),
    **dict.fromkeys(("rerank", "arerank"), RERANK),
}
of_call: Callable[[str], Shape | None] = _BY_CALL_TYPE.get
"""The shape of a call of this type; None where there is none."""

JUDGED_DURING = frozenset(
    {
        *("completion", "acompletion", "anthropic_messages", "responses", "aresponses"),
        *("text_completion", "atext_completion", "embeddings", "aembedding", "moderation"),
    }
)
"""The calls during which LiteLLM asks guardrails of mode `during_call`."""

SPOKEN = (CHAT, MESSAGES, RESPONSES)
"""What LiteLLM can answer as if a model had said it."""

REPLAYED = (MESSAGES, RESPONSES)
"""What LiteLLM may send to a second model later, from a copy made after the guardrails."""

_BY_FAMILY = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETIONS,
}
_BY_KEY = {"messages": CHAT, "prompt": COMPLETIONS, "input": RESPONSES}
_BY_ANSWER: tuple[tuple[type, Shape], ...] = (
    (TextCompletionResponse, COMPLETIONS),
    (ModelResponse, CHAT),
    (ResponsesAPIResponse, RESPONSES),
    (EmbeddingResponse, EMBEDDINGS),
    (ImageResponse, IMAGES),
    (OpenAIModerationResponse, MODERATIONS),
    (RerankResponse, RERANK),
)


def of_answer(response: Any) -> Shape | None:
    """The shape of this answer; None where there is none."""
    if isinstance(response, dict):  # of Anthropic
        return MESSAGES if response.get("type") == "message" else None
    if type(response) is ModelResponse:  # most are, and asking for the others takes a while
        return CHAT
    return next((shape for kind, shape in _BY_ANSWER if isinstance(response, kind)), None)


def of_stream(path: str | None, data: Mapping[str, Any]) -> Shape:
    """The shape of a call that is answered by a stream."""
    name = family("POST", path or "").name
    if name in _BY_FAMILY:
        return _BY_FAMILY[name]
    return next((shape for key, shape in _BY_KEY.items() if key in data), CHAT)
