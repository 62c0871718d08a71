"""What of a request or an answer is text although no message says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_MAPPINGS = (dict, Mapping)  # most are dictionaries, and the second alone takes longer
_LISTS = (list, tuple)
_NO_TEXT = frozenset({"id", "index", "native_finish_reason", "role", "signature", "type"})

# what of a request's body reaches no model as text, or is judged elsewhere
_QUIET = frozenset(
    {
        *("model", "metadata", "litellm_metadata", "tags", "guardrails", "policies"),
        *("user", "safety_identifier", "service_tier"),
        *("prompt_cache_key", "prompt_cache_retention"),
        *("reasoning_effort", "verbosity", "modalities", "mock_response", "fallbacks"),
        *("api_key", "api_base", "base_url", "api_version", "custom_llm_provider"),
    }
)

# of a call without a body: what says something to a model
_SPEAKING = (
    *("tools", "functions", "response_format", "prediction", "suffix", "stop", "documents"),
    *("tool_choice", "web_search_options", "text", "prompt"),
)


def beside(*judged: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Makes a message of every text in a request but those under the keys in `judged`."""
    passed_over = _QUIET.union(judged)

    def found(data: Mapping[str, Any]) -> dict[str, Any]:
        request = data.get("proxy_server_request") or {}
        said: list[str] = []
        for key in request.get("body") or _SPEAKING:
            if key not in passed_over and (value := data.get(key)):
                said += texts(value, keys=True)
        return {"role": "tool", "content": "\n".join(said)}

    return found


def texts(tree: Any, *, keys: bool = False) -> Iterator[str]:
    """Every text in `tree`, what stands under keys that hold none left out.

    `keys` are texts too where a caller chooses them, as the parameters of a tool.
    """
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, _MAPPINGS):
        for key, branch in tree.items():
            if keys:
                yield str(key)
            if key not in _NO_TEXT:
                yield from texts(branch, keys=keys)
    elif isinstance(tree, _LISTS):
        for branch in tree:
            yield from texts(branch, keys=keys)
