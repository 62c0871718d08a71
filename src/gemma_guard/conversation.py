"""Chat messages → passages to judge, each with the places its text came from.

Read are the message shapes of OpenAI (chat and responses), Anthropic and LangChain, as plain
dictionaries. Whatever holds text is a passage; whatever no scorer here can judge is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

from gemma_guard.errors import Cause, UsageError
from gemma_guard.jsontext import begins_as_json, is_json, leaves
from gemma_guard.verdict import Gap, Place, Stage

Message: TypeAlias = Mapping[str, Any]
Scope: TypeAlias = Literal["all", "new"]

MAPPINGS = (dict, Mapping)  # most are dictionaries, and the second alone takes longer
LISTS = (list, tuple)
_SYSTEM = frozenset({"system", "developer"})
_TURNS = frozenset({"user", "assistant"})
_ROLES = _SYSTEM | _TURNS | {"tool", "function"}
_OTHER = "other"  # what a caller makes up as a role is a text; records never hold it
_NEEDS_A_LOOK = frozenset({"tool", _OTHER})
_MAX_DEPTH = 100

# The key that holds the text of a part, by the part's type.
_TEXT_OF = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "reasoning": "reasoning",
}
# The keys that hold what a call is given, or gives back, by the part's type.
_VALUES_OF = {
    "function_call": ("name", "arguments"),
    "custom_tool_call": ("name", "input"),
    "tool_use": ("name", "input"),
    "server_tool_use": ("name", "input"),
    "tool_call": ("name", "args"),
    "invalid_tool_call": ("name", "args"),
    "function_call_output": ("output",),
    "custom_tool_call_output": ("output",),
    "tool_result": ("content",),
    "search_result": ("title", "content"),
    "document": ("title", "context", "source"),
}
_GIVEN = frozenset({"name", "arguments", "input", "args"})
# The keys of a message that hold more than its content.
_BESIDE_CONTENT = ("refusal", "reasoning_content", "reasoning", "summary")
# The keys that say nothing to a model, or are read elsewhere. Any other is a gap.
_QUIET_IN_PARTS = frozenset(
    {
        "annotations",
        "cache_control",
        "call_id",
        "encrypted_content",
        "id",
        "index",
        "is_error",
        "phase",
        "role",
        "signature",
        "status",
        "tool_call_id",
        "tool_use_id",
        "type",
    }
)
_QUIET = _QUIET_IN_PARTS.union(
    ("content", "name", "tool_calls", "function_call", "audio"), _BESIDE_CONTENT
)
_REASONING = ("summary", "content", "reasoning")
_MEDIA_PARTS = frozenset(
    {"audio", "document", "file", "image", "image_url", "input_audio", "input_file", "input_image"}
)
_ROLE_OF_ITEM = {"function_call_output": "tool", "custom_tool_call_output": "tool"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of a passage, and where they stand: at `place`, in its JSON leaf at `leaf`."""

    start: int
    end: int
    place: Place = field(repr=False)  # keys of a call's input are text too
    leaf: int | None = None


class Passage(NamedTuple):  # there is one per message: a dataclass takes three times as long
    """One text to judge. Where `pieces` is None it is the whole text at `place`.

    `is_newest` tells what the caller says now from the history it sends along.
    """

    text: str
    place: Place = ()
    role: str = ""
    pieces: tuple[Piece, ...] | None = None
    is_newest: bool = True

    def __repr__(self) -> str:
        """No text; the keys of a tool's input, which places hold, are text too."""
        return f"Passage({len(self.text)} characters)"


class Reading(NamedTuple):  # one per check; see Passage
    """What of a source is judged, what it answers, and what cannot be judged."""

    passages: tuple[Passage, ...]
    gaps: tuple[Gap, ...] = ()
    prompt: str | None = None

    def __repr__(self) -> str:
        """No text."""
        return f"Reading({len(self.passages)} passages, {len(self.gaps)} gaps)"


@dataclass(frozen=True, slots=True)
class _Value:
    """One of several texts of a call. The key of an object has no place to be written to."""

    text: str
    place: Place
    leaf: int | None = None
    is_key: bool = False


Found: TypeAlias = Passage | Gap


def read(
    source: str | Sequence[Message],
    stage: Stage,
    *,
    prompt: str | None = None,
    system: bool = False,
    scope: Scope = "all",
) -> Reading:
    """What to judge of a text or of messages. Raises `UsageError` for what is neither.

    Input: every text the caller supplied, whoever it claims to speak as, for callers write the
    history; text of system messages only with `system`, for that is the operator's. Output: the
    last message, as the answer to the newest user turn or to `prompt`.
    """
    if isinstance(source, str):
        return Reading((Passage(source),) if source else (), prompt=prompt)
    roles = _roles(source)
    if stage is Stage.INPUT:
        return _input(source, roles, prompt, system=system, scope=scope)
    if not source:
        raise UsageError("messages: the output stage needs the answer as the last message")
    answer = _message(source[-1], roles[-1], len(source) - 1)
    return _reading(answer, _newest_user_turn(source, roles) if prompt is None else prompt)


def answered(messages: Sequence[Message]) -> str | None:
    """What of the user an answer to `messages` would answer."""
    answer: Message = {"role": "assistant"}
    return read([*messages, answer], Stage.OUTPUT).prompt


def _newest_user_turn(messages: Sequence[Message], roles: Sequence[str]) -> str | None:
    """The text of the user messages that came last before the answer, joined."""
    end = len(messages) - 1
    while end and roles[end - 1] != "user":
        end -= 1
    start = end
    while start and roles[start - 1] == "user":
        start -= 1
    found = (part for i in range(start, end) for part in _message(messages[i], "user", i))
    texts = [part.text for part in found if isinstance(part, Passage)]
    return "\n".join(texts) or None


def _input(
    messages: Sequence[Message],
    roles: Sequence[str],
    prompt: str | None,
    *,
    system: bool,
    scope: Scope,
) -> Reading:
    newest = _start_of_newest(roles) if "assistant" in roles else 0
    found: list[Found] = []
    for index, (message, role) in enumerate(zip(messages, roles, strict=True)):
        is_newest = index >= newest
        parts = _message(message, role, index, is_newest=is_newest)
        if role in _SYSTEM and not system:
            found += map(_operators, parts)
        else:
            found += parts if is_newest or scope == "all" else map(_skipped, parts)
    return _reading(found, prompt)


def _start_of_newest(roles: Sequence[str]) -> int:
    """The index after the last answer that something follows: what is there is said now."""
    for index in range(len(roles) - 2, -1, -1):
        if roles[index] == "assistant":
            return index + 1
    return 0


def _operators(part: Found) -> Gap:
    return Gap(Cause.OUT_OF_SCOPE, part.place, reason="system text, and judge_system is off")


def _skipped(part: Found) -> Gap:
    if isinstance(part, Gap):
        return part
    return Gap(Cause.OUT_OF_SCOPE, part.place, reason="an older message, and the scope is new")


def _reading(found: Sequence[Found], prompt: str | None) -> Reading:
    if len(found) == 1 and type(found[0]) is Passage:
        return Reading((found[0],), (), prompt)
    passages = [part for part in found if type(part) is Passage]
    gaps = () if len(passages) == len(found) else tuple(p for p in found if isinstance(p, Gap))
    joined = _joined_turns(passages) if len(passages) > 1 else ()
    return Reading((*passages, *joined), gaps, prompt)


def _joined_turns(passages: Sequence[Passage]) -> Iterator[Passage]:
    """What one side says in several parts or messages in a row: a question can be split."""
    if all(one.role != other.role for one, other in pairwise(passages)):
        return
    for role, group in groupby(passages, key=lambda passage: passage.role):
        parts = [part for part in group if part.pieces is None]
        if role in _TURNS and len(parts) > 1:
            yield _joined(parts, role)


def _joined(parts: Sequence[Passage], role: str) -> Passage:
    pieces, start = [], 0
    for part in parts:
        pieces.append(Piece(start, start + len(part.text), part.place))
        start += len(part.text) + 1
    newest = any(part.is_newest for part in parts)
    text = "\n".join(part.text for part in parts)
    return Passage(text, parts[0].place[:1], role, tuple(pieces), newest)


def _roles(messages: Sequence[Message]) -> list[str]:
    """Who speaks in each of `messages`; raises `UsageError` for what are no messages."""
    if not isinstance(messages, LISTS):
        raise UsageError(f"messages: a list of messages is needed, got {type(messages).__name__}")
    roles = []
    for number, message in enumerate(messages):
        role = _role(message) if isinstance(message, MAPPINGS) else ""
        if not role:
            raise UsageError(f"messages[{number}]: a mapping with a role is needed")
        roles.append(role)
    return roles


def _role(message: Message) -> str:
    """Who speaks; items of the responses form say so by their type."""
    role = message.get("role")
    if isinstance(role, str) and role:
        if role in _ROLES:
            return role
        return role.lower() if role.lower() in _TURNS else _OTHER
    kind = message.get("type")
    return _ROLE_OF_ITEM.get(kind, "assistant") if isinstance(kind, str) else ""


def _message(message: Message, role: str, index: int, *, is_newest: bool = True) -> Sequence[Found]:
    content = message.get("content")
    if type(content) is str and len(message) == 2:  # noqa: PLR2004
        if content and role not in _NEEDS_A_LOOK:
            return (Passage(content, (index, "content"), role, None, is_newest),)
        if not content and role in _ROLES and "role" in message:
            return ()
    parts = tuple(_any_message(message, (index,), role))
    return parts if is_newest else tuple(map(_older, parts))


def _older(part: Found) -> Found:
    if isinstance(part, Gap):
        return part
    return Passage(part.text, part.place, part.role, part.pieces, is_newest=False)


def _any_message(message: Message, place: Place, role: str) -> Iterator[Found]:
    kind = _kind(message)
    if "role" not in message or kind in _VALUES_OF:
        yield from _part(message, place, role)
    if "role" not in message:
        return
    if role == _OTHER:
        yield Passage(str(message["role"]), (*place, "role"), role, ())
    if "content" not in _VALUES_OF.get(kind, ()):
        yield from _content(message.get("content"), (*place, "content"), role)
    yield from _text(message.get("name"), (*place, "name"), role)
    for key in _BESIDE_CONTENT:
        yield from _content(message.get(key), (*place, key), role)
    for number, call in enumerate(_calls(message, place)):
        yield from _call(call, (*place, "tool_calls", number), role)
    if message.get("function_call") is not None:
        at = (*place, "function_call")
        yield from _values(_mapping(message["function_call"], at), at, role, "function_call")
    if message.get("audio"):
        yield _unjudged("audio", (*place, "audio"))
    if any(value and key not in _QUIET for key, value in message.items()):
        yield Gap(Cause.OUT_OF_SCOPE, place, reason="a key of this message is not read")


def _calls(message: Message, place: Place) -> Sequence[Any]:
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list | tuple):
        raise _wrong((*place, "tool_calls"), "a list of calls is needed", calls)
    return calls or ()


def _call(call: Any, place: Place, role: str) -> Iterator[Found]:
    """OpenAI nests a call under its type; LangChain does not."""
    for key, kind in (("function", "function_call"), ("custom", "custom_tool_call")):
        if isinstance(call, Mapping) and isinstance(call.get(key), Mapping):
            yield from _values(call[key], (*place, key), role, kind)
            return
    if "name" not in _mapping(call, place):
        raise _wrong((*place, "function"), "a function call is needed", call.get("function"))
    yield from _values(call, place, role, "tool_call")


def _mapping(value: Any, place: Place) -> Message:
    if not isinstance(value, Mapping):
        raise _wrong(place, "a function call is needed", value)
    return value


def _content(content: Any, place: Place, role: str) -> Iterator[Found]:
    if content is None or content == "":
        return
    if isinstance(content, str):
        yield from _alone(content, place, role)
        return
    if not isinstance(content, list | tuple):
        raise _wrong(place, "text or a list of parts is needed", content)
    for number, part in enumerate(content):
        yield from _part(part, (*place, number), role)


def _alone(text: str, place: Place, role: str) -> Iterator[Passage]:
    """A text; of a tool that answers in JSON, its values, so that redaction leaves it JSON."""
    if role == "tool" and is_json(text):
        yield from _listed(_in_json(text, place), place, role)
    else:
        yield Passage(text, place, role)


def _kind(part: Message) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _part(part: Any, place: Place, role: str) -> Iterator[Found]:
    if len(place) > _MAX_DEPTH:
        raise _too_deep(place)
    if isinstance(part, str):
        yield from _content(part, place, role)
        return
    if not isinstance(part, Mapping):
        raise _wrong(place, "text or a mapping with a type is needed", part)
    kind = _kind(part)
    if kind in _VALUES_OF:
        yield from _values(part, place, role, kind)
        yield from _unread(part, place, _VALUES_OF[kind])
    elif kind == "reasoning" and ("summary" in part or "content" in part):
        for key in _REASONING:
            yield from _content(part.get(key), (*place, key), role)
        yield from _unread(part, place, _REASONING)
    elif kind in _TEXT_OF:
        key = _TEXT_OF[kind]
        if part.get(key) is None:
            raise _wrong((*place, key), "text is needed", None)
        yield from _text(part[key], (*place, key), role)
        yield from _unread(part, place, (key,))
    else:
        yield _unjudged(kind, place)


def _unread(part: Message, place: Place, read_keys: Sequence[str]) -> Iterator[Gap]:
    known = _QUIET_IN_PARTS.union(read_keys)
    if any(value and key not in known for key, value in part.items()):
        yield Gap(Cause.OUT_OF_SCOPE, place, reason="a key of this part is not read")


def _values(part: Message, place: Place, role: str, kind: str) -> Iterator[Found]:
    """A call with its name as one passage; what a call gives back as any content."""
    values: list[_Value] = []
    for key in _VALUES_OF[kind]:
        value, at = part.get(key), (*place, key)
        if isinstance(value, str) and key in _GIVEN:
            values += _said(value, at)
        elif key in _GIVEN:
            values += _branches(value, at)
        elif isinstance(value, Mapping):
            yield from _source(value, at, role)
        else:
            yield from _content(value, at, role)
    yield from _listed(values, place, role)


def _said(text: str, place: Place) -> list[_Value]:
    """What a text in a call says: if it is JSON, its values with their escapes undone."""
    if place[-1] == "name" or not begins_as_json(text):
        return [_Value(text, place)]
    return _in_json(text, place)


def _in_json(text: str, place: Place) -> list[_Value]:
    return [_Value(leaf.value, place, leaf.start) for leaf in leaves(text)]


def _source(source: Message, place: Place, role: str) -> Iterator[Found]:
    if source.get("type") == "text":
        yield from _text(source.get("data"), (*place, "data"), role)
    elif source.get("type") == "content":
        yield from _content(source.get("content"), (*place, "content"), role)
    else:
        yield _unjudged(source.get("type"), place)


def _text(text: Any, place: Place, role: str) -> Iterator[Found]:
    if not (text is None or isinstance(text, str)):
        raise _wrong(place, "text is needed", text)
    if text:
        yield Passage(text, place, role)


def _branches(tree: Any, place: Place) -> Iterator[_Value]:
    if len(place) > _MAX_DEPTH:
        raise _too_deep(place)
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield _Value(str(key), place, is_key=True)
            yield from _branches(value, (*place, key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _branches(value, (*place, index))
    elif isinstance(tree, str | int | float) and not isinstance(tree, bool):
        yield _Value(str(tree), place)


def _listed(values: Sequence[_Value], place: Place, role: str) -> Iterator[Passage]:
    """One passage of several values, one a line."""
    pieces, start = [], 0
    for value in values:
        if value.text and not value.is_key:
            pieces.append(Piece(start, start + len(value.text), value.place, value.leaf))
        start += len(value.text) + 1
    if any(value.text for value in values):
        yield Passage("\n".join(value.text for value in values), place, role, tuple(pieces))


def _unjudged(kind: Any, place: Place) -> Gap:
    """A gap. What callers make up as a type is not repeated: reasons go to records."""
    is_known = isinstance(kind, str) and kind in _MEDIA_PARTS
    what = f"a part of type {kind!r}" if is_known else "a part of a type unknown here"
    return Gap(Cause.MEDIA, place, reason=f"no scorer here judges {what}")


def _wrong(place: Place, needed: str, given: Any) -> UsageError:
    return UsageError(f"{_written(place)}: {needed}, got {type(given).__name__}")


def _too_deep(place: Place) -> UsageError:
    return UsageError(f"{_written(place[:2])}: nested deeper than {_MAX_DEPTH} levels")


def _written(place: Place) -> str:
    return "messages" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place)
