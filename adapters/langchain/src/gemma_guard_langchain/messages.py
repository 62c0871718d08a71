"""LangChain messages → what the guard reads, and its redactions back into copies of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, message_chunk_to_message
from pydantic import BaseModel

from gemma_guard import Place, UsageError, Verdict

_ROLES = {
    "ai": "assistant",
    "function": "function",
    "human": "user",
    "system": "system",
    "tool": "tool",
}
WORDED = frozenset(
    {
        "function_call",
        "input_text",
        "invalid_tool_call",
        "output_text",
        "reasoning",
        "refusal",
        "server_tool_call",
        "text",
        "thinking",
        "tool_call",
        "tool_use",
    }
)
WORDLESS = frozenset(
    {"cache_control", "call_id", "encrypted_content", "id", "index", "signature", "status", "type"}
)
_NAMED_BY_THE_GUARD = frozenset({"reasoning_content", "refusal"})
_WORDLESS_METADATA = frozenset(
    {
        "created",
        "created_at",
        "done_reason",
        "finish_reason",
        "guardrail",
        "id",
        "model",
        "model_name",
        "model_provider",
        "output_version",
        "service_tier",
        "stop_reason",
        "system_fingerprint",
        "token_usage",
        "usage",
    }
)
_NO_PLACES: Mapping[Place, Place] = {}


@dataclass(frozen=True, slots=True)
class Reading:
    """A message in the OpenAI form, and where each text of it stands in what it was read from.

    That is at `at`, and then at `places`; at the very place where `places` does not say.
    """

    shape: dict[str, Any] = field(repr=False)
    places: Mapping[Place, Place]
    at: Place = ()

    def path(self, place: Place) -> Place:
        """Where the text at `place` of the shape stands."""
        return (*self.at, *self.places.get(place, place))


def read(message: BaseMessage, at: Place = ()) -> Reading:
    """Every text of `message`; what is not text becomes a part that the guard calls a gap.

    Tool calls, malformed ones too, reasoning, refusals and whatever else a provider puts into
    `additional_kwargs` are texts. Raises `UsageError` for a message of no chat role.
    """
    message = message_chunk_to_message(message)
    if (plain := _plain(message, at)) is not None:
        return plain
    sketch = _Sketch(_role(message))
    sketch.content(message.content, ("content",))
    sketch.name(message.name)
    sketch.extras(message.additional_kwargs)
    if isinstance(message, AIMessage):
        sketch.calls(message)
    return Reading(sketch.shape, sketch.places, at)


def read_messages(messages: Sequence[BaseMessage]) -> list[Reading]:
    """Each of `messages`, with its place among them."""
    return [read(message, (number,)) for number, message in enumerate(messages)]


def redacted(value: Any, readings: Sequence[Reading], verdict: Verdict) -> Any:
    """A copy of `value`, from which the `readings` are, with the redactions of `verdict`.

    What has none is the very same object. Raises `ValueError` where a redacted text is no longer
    what its place holds, as when a tool call's arguments are no longer JSON.
    """
    for edit in verdict.edits:
        path = readings[int(edit.place[0])].path(edit.place[1:])
        value = replaced(value, path, edit.text)
    return value


def wordless(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of a provider's metadata cannot repeat an answer."""
    return {key: value for key, value in metadata.items() if key in _WORDLESS_METADATA}


def _plain(message: BaseMessage, at: Place) -> Reading | None:
    """A message that is one text and nothing else, as most are."""
    content, role = message.content, _ROLES.get(message.type)
    if type(content) is not str or not content or role is None:
        return None
    extras = message.additional_kwargs
    if message.name or (extras and any(extras.values())):
        return None
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        return None
    return Reading({"role": role, "content": content}, _NO_PLACES, at)


class _Sketch:
    """The OpenAI form of one message, while it is drawn."""

    def __init__(self, role: str) -> None:
        self._parts: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self.shape: dict[str, Any] = {
            "role": role,
            "content": self._parts,
            "tool_calls": self._calls,
        }
        self.places: dict[Place, Place] = {}

    def content(self, content: Any, path: Place) -> None:
        if not isinstance(content, list):
            self._say(content, path)
            return
        for number, part in enumerate(content):
            self._part(part, (*path, number))

    def name(self, name: str | None) -> None:
        if name:
            self.shape["name"], self.places[("name",)] = name, ("name",)

    def extras(self, extras: Mapping[str, Any]) -> None:
        """Strings the guard has a name for keep it, so that records name it too."""
        for key, value in extras.items():
            path = ("additional_kwargs", key)
            if key in _NAMED_BY_THE_GUARD and isinstance(value, str):
                self.shape[key], self.places[(key,)] = value, path
            else:
                self._say(value, path)

    def calls(self, message: AIMessage) -> None:
        for number, call in enumerate(message.tool_calls):
            function = {"name": call["name"], "arguments": written(call["args"])}
            for key, own in (("name", "name"), ("arguments", "args")):
                place = ("tool_calls", len(self._calls), "function", key)
                self.places[place] = ("tool_calls", number, own)
            self._calls.append({"type": "function", "function": function})
        for number, malformed in enumerate(message.invalid_tool_calls):
            self._values(malformed, ("invalid_tool_calls", number))

    def _part(self, part: Any, path: Place) -> None:
        if not isinstance(part, Mapping):
            self._say(part, path)
        elif part.get("type") == "tool_result":
            self.content(part.get("content"), (*path, "content"))
        elif part.get("type") in WORDED:
            self._values(part, path)
        else:
            self._parts.append({"type": str(part.get("type"))})

    def _values(self, part: Mapping[str, Any], path: Place) -> None:
        for key, value in part.items():
            if key not in WORDLESS:
                self._say(value, (*path, key))

    def _say(self, value: Any, path: Place) -> None:
        if text := written(value):
            self.places["content", len(self._parts), "text"] = path
            self._parts.append({"type": "text", "text": text})


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    try:
        return _ROLES[message.type]
    except KeyError:
        raise UsageError(f"a message of type {message.type!r} has no role in a chat") from None


def written(value: Any) -> str:
    """What `value` says, as JSON unless it is a text already; nothing for what has no words."""
    if isinstance(value, str):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if not value or isinstance(value, int | float):
        return ""
    return json.dumps(value, ensure_ascii=False, default=str)


def replaced(tree: Any, path: Place, text: str) -> Any:
    """A copy of `tree`, along `path` only, that ends in `text`; `ValueError` if it cannot."""
    if not path:
        return _unwritten(text, tree)
    branch, rest = path[0], path[1:]
    if isinstance(tree, BaseMessage):
        tree = message_chunk_to_message(tree)
        tree = tree.model_copy(update={"response_metadata": wordless(tree.response_metadata)})
    if isinstance(tree, BaseModel):
        name = str(branch)
        return tree.model_copy(update={name: replaced(getattr(tree, name), rest, text)})
    copy: Any = list(tree) if isinstance(tree, tuple) else tree.copy()
    held = tree.get(branch) if isinstance(tree, Mapping) else tree[branch]
    copy[branch] = replaced(held, rest, text)
    return tuple(copy) if isinstance(tree, tuple) else copy


def _unwritten(text: str, before: Any) -> Any:
    """What `text` stands for in the place of `before`."""
    if before is None or isinstance(before, str):
        return text
    if isinstance(before, BaseModel):
        return type(before).model_validate_json(text)
    if isinstance(before, dict | list):
        return json.loads(text)
    raise ValueError(f"a redacted text has no place in {type(before).__name__}")
