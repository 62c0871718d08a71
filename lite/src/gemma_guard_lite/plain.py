"""A text as the judge reads it: wrapping stripped, spelling tricks undone, offsets kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from html import unescape

_DRESS = re.compile(
    r"(?P<link>https?://\S+|www\.\S+)"
    r"|(?P<handle>\[(?:USER|URL)\]|(?<!\w)@\w+:?|(?<!\w)RT\b)"
    r"|(?P<placeholder>\[(?:(?:EMAIL|PHONE|PAYMENT_CARD|IBAN|IP_ADDRESS|API_KEY|PRIVATE_KEY)_\d+"
    r"|redacted: (?:dangerous_content|harassment|hate_speech|sexually_explicit))\])"
    r"|(?P<entity>&#?\w{2,8};)"
    r"|(?P<drawl>(?<![^\W\d_])[^\W\d_]*?([^\W\d_])\6{2,}[^\W\d_]*)"
    r"|(?P<word>(?:(?<![\w@$!|+])[\w@$!|+]*)?[\d@$!|+][\w@$!|+]*)"
)
_SIGN = re.compile(r"\[redacted: |[\d@$!|+&\[]|([^\W\d_])\1\1|://|www|RT")
"""Where there is none of these between two spaces, there is nothing to undo."""
_SPACE = re.compile(r"\s")
_LEET = str.maketrans("013456789@$!|+", "oieasbtbgasilt")
_LEET_L = str.maketrans("013456789@$!|+", "oleasbtbgaslit")
_ENDINGS = ("s", "es", "d", "ed", "ing", "er", "ers", "in", "y", "ly")
_LEETISH = re.compile(r"(?:(?<![\w@$!|+])[\w@$!|+]*)?[\d@$!|+][\w@$!|+]*")
SHORTEST_DISGUISE = 3
MANY_DISGUISES = 3
_DRAWL = re.compile(r"(.)\1{2,}")
_QUANTITY = re.compile(r"[\d$]+[^\W\d_]?")


@dataclass(frozen=True, slots=True)
class Plain:
    """The text as judged, and for each of its characters where it stood in the original."""

    text: str
    origin: Sequence[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that the span [start, end) was read from."""
        return self.origin[start], self.origin[end]


def plain(text: str, known: Container[str]) -> Plain:
    """`text` without links, handles and entities, and with disguised words spelled out.

    A word with digits in it is respelled if that gives a `known` word. Where that happens often,
    the text is in disguise and the rest of it is respelled too, known or not.
    """
    marked = list(_marked(text))
    if not marked:
        return Plain(text, range(len(text) + 1))
    leetish = [m.group() for stretch in marked for m in _LEETISH.finditer(text, *stretch)]
    disguised = sum(unmasked(word, known) != word for word in leetish)
    return _plain(text, marked, _Everything() if disguised >= MANY_DISGUISES else known)


class _Everything:
    def __contains__(self, _word: object) -> bool:
        return True


def _marked(text: str) -> Iterator[tuple[int, int]]:
    """The stretches between two spaces in which there may be something to undo."""
    end = 0
    for sign in _SIGN.finditer(text):
        if sign.start() < end:
            continue
        start = sign.start()
        while start > end and not text[start - 1].isspace():
            start -= 1
        space = _SPACE.search(text, sign.end())
        end = space.start() if space else len(text)
        yield start, end


def _plain(text: str, marked: Sequence[tuple[int, int]], known: Container[str]) -> Plain:
    pieces: list[str] = []
    origin: list[int] = []
    end = 0
    for match in (match for stretch in marked for match in _DRESS.finditer(text, *stretch)):
        _append(pieces, origin, text[end : match.start()], start=end)
        _append_replaced(pieces, origin, _undressed(match, known), span=match.span())
        end = match.end()
    _append(pieces, origin, text[end:], start=end)
    return Plain("".join(pieces), (*origin, len(text)))


def _append(pieces: list[str], origin: list[int], kept: str, *, start: int) -> None:
    pieces.append(kept)
    origin.extend(range(start, start + len(kept)))


def _append_replaced(
    pieces: list[str], origin: list[int], new: str, *, span: tuple[int, int]
) -> None:
    start, end = span
    pieces.append(new)
    origin.extend(min(start + offset, end) for offset in range(len(new)))


def _undressed(match: re.Match[str], known: Container[str]) -> str:
    return _RULES[match.lastgroup or "word"](match.group(), known)


def _decoded(entity: str, _known: Container[str]) -> str:
    return unescape(entity)


def _blank(_dress: str, _known: Container[str]) -> str:
    return " "


def _clipped(drawl: str, known: Container[str]) -> str:
    twice, once = (_DRAWL.sub(kept, drawl) for kept in (r"\1\1", r"\1"))
    return once if once.lower() in known and twice.lower() not in known else twice


def unmasked(word: str, known: Container[str]) -> str:
    """The known word that `word` spells with digits and signs, or `word` itself."""
    core = word.rstrip("!")
    if not isinstance(known, _Everything) and _is_ordinary(core):
        return word
    spellings = (core.lower().translate(table) for table in (_LEET, _LEET_L))
    plain_spelling = next((s for s in spellings if _is_known(s, known)), None)
    return word if plain_spelling is None else plain_spelling + word[len(core) :]


def _is_ordinary(word: str) -> bool:
    return len(word) < SHORTEST_DISGUISE or _QUANTITY.fullmatch(word) is not None


def _is_known(word: str, known: Container[str]) -> bool:
    stems = (word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending))
    return word in known or any(len(s) >= SHORTEST_DISGUISE and s in known for s in stems)


_RULES: dict[str, Callable[[str, Container[str]], str]] = {
    "link": _blank,
    "handle": _blank,
    "placeholder": _blank,
    "entity": _decoded,
    "drawl": _clipped,
    "word": unmasked,
}
