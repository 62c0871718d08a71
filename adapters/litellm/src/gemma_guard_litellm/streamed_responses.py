"""Streams of `/v1/responses`: events, some of which repeat what others brought bit by bit."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from litellm.types.llms.openai import (
    ResponseIncompleteEvent,
    ResponsesAPIResponse,
    ResponsesAPIStreamEvents,
)

from gemma_guard import Cause, Gap, Part, Place, Release, Verdict
from gemma_guard_litellm.codec import Undeliverable
from gemma_guard_litellm.texts import texts

# by the type of an event: the list and the index it adds to, and the key of what it repeats whole
_PARTS = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("content", "content_index", "refusal"),
    "response.reasoning_text": ("content", "content_index", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "text"),
    "response.function_call_arguments": ("arguments", "", "arguments"),
    "response.custom_tool_call_input": ("input", "", "input"),
}
_KEY_OF = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "text",
    "summary_text": "text",
}
_GIVEN = ("arguments", "input")
_OPAQUE = frozenset(
    {
        *("annotations_index", "call_id", "content_index", "encrypted_content", "item_id"),
        *("output_index", "phase", "sequence_number", "status", "summary_index", "logprobs"),
        *("obfuscation",),
    }
)
_QUIET = frozenset({"response.created", "response.in_progress", "response.queued"})
_WHOLE = frozenset({"response.completed", "response.incomplete"})
_ECHOED = frozenset({"output", "error"})


class Responses:
    """Reads and writes the events of a response, which are LiteLLM's models."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._came: dict[Place, str] = {}
        self._went: dict[Place, str] = {}
        self._open: dict[Place, None] = {}
        self._more = 0
        self._begun: dict[str, Any] | None = None
        self._number = 0

    def read(self, chunk: Any) -> Sequence[Part | Gap]:
        """What an event adds; of what it repeats, only what had not come before."""
        event = _plain(chunk)
        kind = str(event.get("type", ""))
        if kind in _QUIET:
            return ()
        if "image" in kind:
            return [Gap(Cause.MEDIA, (event.get("output_index", 0), "image"))]
        stem, _, step = kind.rpartition(".")
        if stem in _PARTS and step == "delta":
            return [self._delta(event, stem)]
        return list(self._repeated(event, kind, stem))

    def write(self, release: Release[Any]) -> Any | None:
        """The event as it came, or with what may be seen; what it repeats is what went out."""
        chunk = release.chunk
        event = _plain(chunk)
        kind = str(event.get("type", ""))
        self._note(event, kind)
        stem, _, step = kind.rpartition(".")
        if stem in _PARTS and step == "delta":
            place, text = self._place(event, stem), release.texts[0]
            self._went[place] = self._went.get(place, "") + text
            if release.is_whole:
                return chunk
            return _with_delta(chunk, text) if text else None
        if not release.is_whole:
            raise Undeliverable
        return self._as_it_went(chunk, event)

    def refuse(self, verdict: Verdict) -> Iterable[Any]:
        """The response as incomplete, for its content was filtered."""
        if self._begun is None:
            return
        said = {"type": "output_text", "text": verdict.refusal, "annotations": []}
        item = {"type": "message", "id": "refusal", "role": "assistant", "status": "incomplete"}
        response = {
            **self._begun,
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": [{**item, "content": [said]}],
        }
        event = {
            "type": ResponsesAPIStreamEvents.RESPONSE_INCOMPLETE,
            "sequence_number": self._number + 1,
            "response": ResponsesAPIResponse(**response),
        }
        yield ResponseIncompleteEvent.model_validate(event)

    def _note(self, event: Mapping[str, Any], kind: str) -> None:
        self._number = event.get("sequence_number") or self._number + 1
        if kind == "response.created" and isinstance(event.get("response"), Mapping):
            self._begun = dict(event["response"])

    def _place(self, event: Mapping[str, Any], stem: str) -> Place:
        kind, index, _ = _PARTS[stem]
        return (event.get("output_index", 0), kind, event.get(index, 0) if index else 0)

    def _delta(self, event: Mapping[str, Any], stem: str) -> Part:
        place, text = self._place(event, stem), event.get("delta") or ""
        self._came[place] = self._came.get(place, "") + text
        self._open[place] = None
        is_call = place[1] in _GIVEN
        return Part(place, text, call=self._name(place) if is_call else None)

    def _name(self, place: Place) -> str:
        index = place[0]
        return self._names.get(index, "") if isinstance(index, int) else ""

    def _repeated(self, event: Mapping[str, Any], kind: str, stem: str) -> Iterator[Part]:
        """New texts of an event, and the end of those it says are whole."""
        if kind == "response.output_item.added":
            item = event.get("item") or {}
            self._names[event.get("output_index", 0)] = str(item.get("name") or "")
        new = [text for place, text in _texts(event, stem) if text != self._came.get(place, "")]
        if more := "\n".join([*new, *texts(_left(event))]):
            self._more += 1
            yield Part((0, "rest", self._more), more, ends=True)
        for place in self._done(event, kind, stem):
            self._open.pop(place)
            yield Part(place, ends=True)

    def _done(self, event: Mapping[str, Any], kind: str, stem: str) -> list[Place]:
        if kind in _WHOLE:
            return list(self._open)
        if stem in _PARTS:
            return [place for place in self._open if place == self._place(event, stem)]
        if kind == "response.output_item.done":
            return [place for place in self._open if place[0] == event.get("output_index", 0)]
        return []

    def _as_it_went(self, chunk: Any, event: Mapping[str, Any]) -> Any:
        """The chunk, or a copy in which every text that it repeats is as it went out."""
        stem = str(event.get("type", "")).rpartition(".")[0]
        differing = [
            (place, self._went[place])
            for place, text in _texts(event, stem)
            if text == self._came.get(place) and self._went.get(place, text) != text
        ]
        if not differing:
            return chunk
        new = copy.deepcopy(chunk)
        for place, text in differing:
            _put(new, stem, place, text)
        return new


def _texts(event: Mapping[str, Any], stem: str) -> Iterator[tuple[Place, str]]:
    """The texts that an event repeats, each with the place where it came bit by bit."""
    index = event.get("output_index", 0)
    if stem in _PARTS:
        kind, key, whole = _PARTS[stem]
        yield (index, kind, event.get(key, 0) if key else 0), event.get(whole) or ""
    if isinstance(part := event.get("part"), Mapping):
        kind = "summary" if part.get("type") == "summary_text" else "content"
        number = event.get("summary_index" if kind == "summary" else "content_index", 0)
        yield (index, kind, number), _said(part)
    if isinstance(item := event.get("item"), Mapping):
        yield from _of_item(item, index)
    for number, item in enumerate((event.get("response") or {}).get("output") or ()):
        yield from _of_item(item, number)


def _of_item(item: Mapping[str, Any], index: int) -> Iterator[tuple[Place, str]]:
    for kind in ("content", "summary"):
        for number, part in enumerate(item.get(kind) or ()):
            yield (index, kind, number), _said(part)
    for kind in _GIVEN:
        if isinstance(item.get(kind), str) and item[kind]:
            yield (index, kind, 0), item[kind]


def _said(part: Mapping[str, Any]) -> str:
    return part.get(_KEY_OF.get(str(part.get("type")), ""), "") or ""


def _left(event: Mapping[str, Any]) -> Iterator[Any]:
    """What of an event is text and stands nowhere that `_texts` looks."""
    stem = str(event.get("type", "")).rpartition(".")[0]
    read = {_PARTS[stem][2]} if stem in _PARTS else set()
    yield _without(event, {*read, "part", "item", "response"})
    for part in (event.get("part"), event.get("item")):
        yield from _unread(part)
    response = event.get("response") or {}
    yield {key: response[key] for key in _ECHOED - {"output"} if response.get(key)}
    for item in response.get("output") or ():
        yield from _unread(item)


def _unread(part: Any) -> Iterator[Any]:
    if not isinstance(part, Mapping):
        return
    read = _KEY_OF.get(str(part.get("type")), "")
    yield _without(part, {read, "content", "summary", "arguments", "input", "name"})
    yield part.get("name") if part.get("type") != "message" else None
    for kind in ("content", "summary"):
        for inner in part.get(kind) or ():
            yield from _unread(inner)


def _without(tree: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {k: v for k, v in tree.items() if k not in keys and k not in _OPAQUE}


def _put(event: Any, stem: str, place: Place, text: str) -> None:
    """Write `text` wherever the event repeats the text at `place`."""
    if stem in _PARTS:
        _set(event, _PARTS[stem][2], text)
    if part := _get(event, "part"):
        _put_in_part(part, text)
    if item := _get(event, "item"):
        _put_in_item(item, place, text)
    if output := _get(_get(event, "response"), "output"):
        _put_in_item(output[place[0]], place, text)


def _put_in_item(item: Any, place: Place, text: str) -> None:
    kind, number = str(place[1]), place[2]
    if kind in _GIVEN:
        _set(item, kind, text)
    else:
        _put_in_part(_get(item, kind)[number], text)


def _put_in_part(part: Any, text: str) -> None:
    """Annotations and log probabilities are of the text as it was."""
    _set(part, _KEY_OF[str(_get(part, "type"))], text)
    for key in ("annotations", "logprobs"):
        if _get(part, key):
            _set(part, key, [])


def _get(owner: Any, key: str) -> Any:
    return owner.get(key) if isinstance(owner, Mapping) else getattr(owner, key, None)


def _set(owner: Any, key: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner[key] = value
    else:
        setattr(owner, key, value)


def _plain(chunk: Any) -> dict[str, Any]:
    if isinstance(chunk, Mapping):
        return dict(chunk)
    plain: dict[str, Any] = chunk.model_dump(mode="json", exclude_none=True)
    return plain


def _with_delta(chunk: Any, text: str) -> Any:
    new = copy.copy(chunk)
    _set(new, "delta", text)
    return new
