"""`/v1/responses` ↔ messages as the guard reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gemma_guard_litellm import shape
from gemma_guard_litellm.refusal import unsupported
from gemma_guard_litellm.texts import beside, texts

# the keys that the guard reads, by the type of an item or of a part of one
_READ = {
    "output_text": ("text",),
    "refusal": ("refusal",),
    "summary_text": ("text",),
    "reasoning_text": ("text",),
    "function_call": ("name", "arguments"),
    "custom_tool_call": ("name", "input"),
}
_LISTS = ("content", "summary")
_OPAQUE = frozenset({"call_id", "encrypted_content", "status", "phase", "logprobs"})
_MADE_HERE = ("previous_response_id", "conversation")
_ECHOED = frozenset(
    {
        *("id", "object", "created_at", "completed_at", "model", "status", "output", "usage"),
        *("instructions", "tools", "tool_choice", "text", "metadata", "user", "reasoning"),
        *("previous_response_id", "service_tier", "truncation", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls", "billing"),
        *("background", "store", "temperature", "top_p", "top_logprobs", "max_output_tokens"),
        *("max_tool_calls", "frequency_penalty", "presence_penalty", "prompt", "conversation"),
    }
)


def asked(data: Mapping[str, Any]) -> list[shape.Message]:
    """The request as messages to judge: instructions, and the input.

    What an earlier response or a stored conversation adds is not seen: it is a gap of the verdict.
    """
    if data.get("background"):
        raise unsupported("unsupported_background", "an answer that is fetched later is not judged")
    return [*_instructions(data), *_input(data.get("input"))]


_written = beside("input", "instructions", *_MADE_HERE)


def _beside(data: Mapping[str, Any]) -> shape.Message:
    """What was made elsewhere stands beside the rest: the guard says that it does not read it."""
    stored = {key: data[key] for key in _MADE_HERE if data.get(key)}
    return {**_written(data), **stored}


def _instructions(data: Mapping[str, Any]) -> list[shape.Message]:
    given = data.get("instructions")
    return [{"role": "system", "content": given}] if given else []


def _input(given: Any) -> list[shape.Message]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise unsupported("invalid_input", "input: a text or a list of items is needed")
    return [{"role": "user", "content": item} if isinstance(item, str) else item for item in given]


def put_back(data: shape.Request, messages: Sequence[shape.Message]) -> None:
    """Replace the instructions and the input."""
    before = len(_instructions(data))
    if before:
        data["instructions"] = messages[0]["content"]
    items = messages[before:]
    data["input"] = items[0]["content"] if isinstance(data["input"], str) else list(items)


class _Place(NamedTuple):
    """Where a part stands in the output: an item, or a part in one of an item's lists."""

    item: int
    key: str | None = None
    part: int = 0


def answered(response: Any) -> list[shape.Message]:
    """The answer as one message; texts the guard does not know are one more part of it."""
    output = dumped(response)
    known = [_read(_at(output["output"], place)) for place in _places(output["output"])]
    more = "\n".join(texts([*_unread(output["output"]), _rest(output)]))
    return [
        {
            "role": "assistant",
            "content": [*known, *([{"type": "output_text", "text": more}] if more else [])],
        }
    ]


def rewrite(response: Any, index: int, redacted: shape.Message) -> bool:
    """Write the answer as redacted; False if what was redacted is in no part the guard reads."""
    del index
    output = dumped(response)["output"]
    places, parts = list(_places(output)), redacted["content"]
    (before,) = answered(response)
    if parts[len(places) :] != before["content"][len(places) :]:
        return False
    for place, part, was in zip(places, parts, before["content"], strict=False):
        if part != was:
            _write(output, place, part)
    response.output = output
    return True


def dumped(response: Any) -> dict[str, Any]:
    """The answer as plain dictionaries."""
    plain = response if isinstance(response, dict) else response.model_dump(exclude_none=True)
    if not isinstance(plain.get("output"), list):
        raise unsupported("unsupported_answer", "an answer without output items is not guarded")
    return plain


def _places(output: Sequence[Mapping[str, Any]]) -> Iterator[_Place]:
    for number, item in enumerate(output):
        if item.get("type") in _READ:
            yield _Place(number)
        for key in _LISTS:
            for index, part in enumerate(_listed(item, key)):
                if part.get("type") in _READ:
                    yield _Place(number, key, index)


def _listed(item: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    parts = item.get(key)
    if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts):
        return parts
    return ()


def _at(output: Sequence[Mapping[str, Any]], place: _Place) -> Mapping[str, Any]:
    item = output[place.item]
    return item if place.key is None else _listed(item, place.key)[place.part]


def _read(part: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("type", *_READ[part["type"]])
    return {key: part[key] for key in keys if part.get(key) is not None}


def _unread(output: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of every item and part what is not read, keys that hold nothing readable left out."""
    for item in output:
        yield _left(item, [key for key in _LISTS if _listed(item, key)])
        for key in _LISTS:
            yield from (_left(part) for part in _listed(item, key))


def _left(part: Mapping[str, Any], lists: Sequence[str] = ()) -> dict[str, Any]:
    read = {*_READ.get(part.get("type", ""), ()), *lists, *_OPAQUE}
    return {key: value for key, value in part.items() if key not in read}


def _rest(response: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in response.items() if key not in _ECHOED}


def _write(output: list[dict[str, Any]], place: _Place, part: dict[str, Any]) -> None:
    """Replace what was read; annotations and log probabilities are of the text as it was."""
    was = _at(output, place)
    kept = {k: v for k, v in was.items() if k not in {"annotations", "logprobs"}}
    new = {**kept, **part, **({"annotations": []} if "annotations" in was else {})}
    if place.key is None:
        output[place.item] = new
    else:
        output[place.item][place.key][place.part] = new


RESPONSES = shape.Shape(_beside, asked, put_back, answered, rewrite)
