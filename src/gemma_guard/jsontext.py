"""The values inside JSON that is kept as text, with their places, so that one can be replaced.

Tool-call arguments arrive as JSON text and must leave as the same text but for what was redacted.
Unfinished JSON, as streams hold it, is read as far as it goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r'"(?P<string>(?:[^"\\]|\\.)*+)(?P<end>"|\\?$)'
    r'|(?P<bare>[^\s{}\[\]:,"]+)',
    re.DOTALL,
)
_LITERALS = frozenset({"true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string, a number or a bare word: its value, and where in the text it is written."""

    value: str
    start: int
    end: int


def leaves(text: str) -> Iterator[Leaf]:
    """Everything that says something, in order; keys too, for a model reads them as well.

    Left out are only JSON's own marks and `true`, `false` and `null`: words that a broken text
    has outside its strings are leaves of their own.
    """
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        if token["string"] is not None:
            yield Leaf(_decoded(token["string"]), start, end)
        elif token["bare"] not in _LITERALS:
            yield Leaf(token["bare"], start, end)


def begins_as_json(text: str) -> bool:
    """Whether `text` begins as an object or a list does; it may be unfinished."""
    return text.lstrip()[:1] in {"{", "["}


def is_json(text: str) -> bool:
    """Whether `text` is a whole object or list."""
    if not begins_as_json(text):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):  # also a number of more digits than Python converts
        return False
    return True


def with_values(text: str, values: Mapping[int, str]) -> str:
    """`text` with the leaves that start at the keys of `values` replaced, each by a string."""
    pieces, end = [], 0
    for leaf in _only(leaves(text), values):
        pieces += [text[end : leaf.start], json.dumps(values[leaf.start], ensure_ascii=False)]
        end = leaf.end
    return "".join([*pieces, text[end:]])


def _only(found: Iterable[Leaf], values: Mapping[int, str]) -> Iterator[Leaf]:
    return (leaf for leaf in found if leaf.start in values)


def _decoded(string: str) -> str:
    """What a JSON string says; the text itself where its escapes are broken or unfinished."""
    if "\\" not in string:
        return string
    try:
        return str(json.loads(f'"{string}"', strict=False))
    except json.JSONDecodeError:
        return string
