"""Text with known tricks undone, and the way back to the text as written.

Undone are: invisible characters inside words and hidden messages written in them, right-to-left
overrides, stacked and struck-through letters, spaced-out words, styled alphabets, words that mix
scripts, digits and signs for letters in a few words of harm. Ordinary text in any script stays.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from gemma_guard.lookalikes import (
    LETTERS,
    STYLED,
    Edit,
    as_latin,
    is_alphabet,
    mixed_words,
    raised_words,
    styled_words,
)
from gemma_guard.verdict import Span

_ROUNDS = 6  # one trick may hide another; each round is linear, so a bound keeps the whole linear


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A text with tricks undone.

    `starts[i]` is where its character `i` came from, and the last one the length of the text as
    written; characters with equal starts came from one place together.
    """

    text: str = field(repr=False)
    starts: array[int] = field(repr=False)

    def original(self, span: Span) -> Span:
        """The place in the text as written: every character that `span` was made of."""
        if span.end > len(self.text):
            raise ValueError(f"{span} is not in a text of {len(self.text)} characters")
        after = bisect_right(self.starts, self.starts[span.end - 1])
        return Span(self.starts[span.start], self.starts[after], span.kind)


def plain(text: str) -> Plain | None:
    """`text` as a reader sees it, or None where that is the text as written."""
    if text.isascii() and not _may_trick(text):
        return None
    undone: Plain | None = None
    for _ in range(_ROUNDS):
        now = undone.text if undone else text
        after = _after(undone, now)
        if after is None:
            break
        undone = after
    return undone if undone and undone.text else None


def _after(so_far: Plain | None, text: str) -> Plain | None:
    """One more round of every trick, None where nothing is left to undo."""
    undone, changed = so_far, False
    for trick in _tricks(text):
        now = undone.text if undone else text
        edits = list(trick(now))
        if edits:
            undone, changed = _edited(undone or _untouched(text), edits), True
    return undone if changed else None


def _untouched(text: str) -> Plain:
    return Plain(text, array("I", range(len(text) + 1)))


def _edited(plain: Plain, edits: list[Edit]) -> Plain:
    pieces: list[str] = []
    starts, done = array("I"), 0
    for start, end, new in edits:
        pieces += [plain.text[done:start], new]
        starts += plain.starts[done:start]
        starts.extend(_starts(plain.starts, start, end, len(new)))
        done = end
    pieces.append(plain.text[done:])
    starts += plain.starts[done:]
    starts[0] = 0  # what was dropped at the very beginning belongs to what follows
    return Plain("".join(pieces), starts)


def _starts(starts: array[int], start: int, end: int, length: int) -> array[int]:
    """One character for one came each from its own place; otherwise all from the whole place."""
    return starts[start:end] if length == end - start else array("I", [starts[start]]) * length


# ---------------------------------------------------------------------------------- fast path

_CONTROLS_ASCII = bytes({*range(9), *range(14, 32), 127})
_SHAPES = bytes.maketrans(
    _CONTROLS_ASCII + b".-_013457@$!" + bytes(range(65, 91)) + bytes(range(97, 123)),
    b"\1" * len(_CONTROLS_ASCII) + b"   000000000" + b"a" * 52,
)


_STRETCH, _OVERLAP = 100_000, 16


def _may_trick(text: str) -> bool:
    """Whether ASCII text has spaced letters, a sign between letters, or a control character."""
    if len(text) > _STRETCH:
        return any(_may_trick(stretch) for stretch in _stretches(text))
    shape = text.encode("ascii").translate(_SHAPES)
    has_signs = b"a0" in shape and b"0a" in shape
    return has_signs or b" a a a" in shape or b"\1" in shape


def _stretches(text: str) -> Iterator[str]:
    """Overlapping pieces, so that no single step holds every other thread for long."""
    step = _STRETCH - _OVERLAP
    return (text[start : start + _STRETCH] for start in range(0, len(text), step))


# ------------------------------------------------------------------------------ the invisible

_CONTROLS = "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_INVISIBLE = (
    _CONTROLS + _SELECTORS + "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
)
_MARKS = "\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f"
_OPERATORS = "\u2061\u2062\u2063\u2064"
_JOINERS = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{3,6}\U000e007f")  # of a part of a country
_PADDING = 4  # invisible characters in a row; emoji, bidi marks and joiners need fewer


@cache
def _invisible() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(f"[{_INVISIBLE}]++"),
        re.compile(f"[{LETTERS}{_MARKS}{STYLED}0-9]"),
        re.compile(f"[{LETTERS}][{_SELECTORS}]+"),
    )


def _invisibles(text: str) -> Iterator[Edit]:
    """Drop invisible characters where no orthography needs them; show what they spell."""
    for run in _invisible()[0].finditer(text):
        before = text[max(0, run.start() - 1) : run.start()]
        if _FLAG.fullmatch(before + run[0]):
            continue
        shown = _spelt(run[0], before)
        if shown or _hides(text, *run.span()):
            yield run.start(), run.end(), shown


def _spelt(run: str, before: str) -> str:
    """What tag characters say: models read them, people do not see them."""
    message = "".join(chr(ord(c) - 0xE0000) for c in run if "\U000e0020" <= c <= "\U000e007e")
    return f" {message}" if message and before.isalnum() else message


def _hides(text: str, start: int, end: int) -> bool:
    """Persian, Indic scripts, emoji and bidi text need theirs; Latin, Greek and Cyrillic none."""
    _, letter, selectors = _invisible()
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if end - start >= _PADDING or "\U000e0000" <= text[start] <= "\U000e007f":
        return True
    if not letter.fullmatch(before[-1:]):
        return False
    if selectors.fullmatch(text, start - 1, end):
        return True
    if text[start] in _OPERATORS:  # `xy` is a product; two letters on either side are none
        return len(letter.findall(before + after)) == len("xyxy")
    if after[:1].isspace():  # between the letters of `k i l l`
        return text[start] in _JOINERS and not letter.match(before[:-1])
    return bool(letter.fullmatch(after[:1])) and (before[-1].isalpha() or after[0].isalpha())


# ----------------------------------------------------------------------------- the overridden


@cache
def _override() -> re.Pattern[str]:
    return re.compile("\u202e([^\u202a-\u202e\u2066-\u2069\n]++)\u202c?")


@cache
def _direction() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(f"[{LETTERS}]"),
        re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]"),
    )


def _overrides(text: str) -> Iterator[Edit]:
    """What a right-to-left override shows reversed, in the order it is seen."""
    leftward, rightward = _direction()
    for found in _override().finditer(text):
        if leftward.search(found[1]) and not rightward.search(found[1]):
            yield found.start(), found.end(), found[1][::-1]


# ------------------------------------------------------------------------- stacked and struck


@cache
def _decorations() -> tuple[re.Pattern[str], ...]:
    letter, strokes = "[^\\W\\d_]", "\u0334-\u0338\u20d0-\u20f0"
    return (
        re.compile(f"[{_MARKS}]++"),
        re.compile(f"[{_MARKS}]{{4}}|(?:{letter}[{strokes}]+){{3}}"),
        re.compile(f"(?:{letter}[{_MARKS}]+){{4,}}+"),
    )


def _marks(text: str) -> Iterator[Edit]:
    """Drop marks where a text stacks four, strikes three letters or decorates four in a row."""
    run, stacked, decorated = _decorations()
    if not run.search(text):
        return
    if not stacked.search(text) and not any(map(_is_decorated, decorated.finditer(text))):
        return
    for found in run.finditer(text):
        base = text[max(0, found.start() - 1) : found.start()]
        if not _is_one_letter(base + found[0]):
            yield found.start(), found.end(), ""


def _is_decorated(word: re.Match[str]) -> bool:
    pairs = re.findall(f"[^{_MARKS}][{_MARKS}]", word[0])
    return not any(map(_is_one_letter, pairs))


def _is_one_letter(letter_and_mark: str) -> bool:
    """Whether some alphabet has the letter with its mark, so that Unicode has it in one piece."""
    return len(unicodedata.normalize("NFC", letter_and_mark)) == 1


# --------------------------------------------------------------------------------- spaced out

_GAPS = (
    " \u00a0\u2000-\u200a\u202f\u205f\u3000\u2800._\u00b7\u2010\u2011\u2022\u2027\u2219\u22c5~\\-"
)
_VOWELS = frozenset(
    "aeiou"
    "\u0430\u0435\u0438\u043e\u0443\u044b\u044d\u044e\u044f\u0456"  # Cyrillic
    "\u03b1\u03b5\u03b7\u03b9\u03bf\u03c5\u03c9"  # Greek
)
_ONE_LETTER_WORDS = (
    frozenset("aeiouyvzksw"),  # Slavic and Romance
    frozenset(
        "\u0430\u0431\u0432\u0436\u0438\u0437\u0439\u043a\u043e\u0441\u0443\u044f\u0456\u0454"
    ),
)
_NO_WORDS = "asap rsvp uvam uawg fwiw imho afaik qepd sapa seuo aeiou aeiouy wasd qwerty nesw news"
_OF_AN_ALPHABET = re.compile("abc|xyz|ijk|pqr|uvw")
_NOTES, _BASES = frozenset("ABCDEFGH"), frozenset("ACGTUN")


@cache
def _spaced() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    letter, no_word = "[^\\W\\d_]", "(?![^\\W_]|['\u2019])"
    return (
        re.compile(f"[{_GAPS}{_OPERATORS}]{letter}" * 3),
        re.compile(
            f"(?<![\\w'\u2019@/.~\u00b7\u2010\u2011\u2022\u2027\u2219\u22c5{_OPERATORS}-])"
            f"{letter}([{_GAPS}{_OPERATORS}]){letter}(?:\\1{letter}{no_word}){{2,}}+"
        ),
        re.compile(f"[{LETTERS}{STYLED}]+"),
    )


def _spaced_words(text: str) -> Iterator[Edit]:
    """Close the gaps in `k i l l`, `k.i.l.l` and `k-i-l-l`."""
    any_gaps, spaced, letter = _spaced()
    if not any_gaps.search(text):
        return
    for found in spaced.finditer(text):
        letters, gap = found[0][::2], found[1]
        goes_on = not gap.isspace() and re.match("\\w", text[found.end() + 1 : found.end() + 2])
        if goes_on and text[found.end()] == gap:
            continue
        if letter.fullmatch(letters) and _spells(letters, gap):
            for place in range(found.start() + 1, found.end(), 2):
                yield place, place + 1, ""


def _spells(letters: str, gap: str) -> bool:
    """Whether they may be a word: not a list, an abbreviation, notes, bases, options or keys."""
    latin = "".join(map(as_latin, letters))
    lower = latin.lower()
    if gap == "." and letters[1:] != letters[1:].lower():
        return False
    if lower in _NO_WORDS.split() or is_alphabet(letters) or _OF_AN_ALPHABET.search(lower):
        return False
    if latin.isupper() and _is_code(latin):
        return False
    if any(words.issuperset(letters.lower()) for words in _ONE_LETTER_WORDS):
        return False
    return len(set(lower)) > 2 and _has_vowels(letters, lower)  # noqa: PLR2004 - `x o x o`


def _is_code(capitals: str) -> bool:
    in_order = all(a < b for a, b in pairwise(capitals))
    return in_order or _NOTES.issuperset(capitals) or _BASES.issuperset(capitals)


def _has_vowels(letters: str, lower: str) -> bool:
    bare = unicodedata.normalize("NFD", letters.lower())
    vowels = max(sum(c in _VOWELS for c in bare), sum(c in _VOWELS for c in lower))
    return vowels * 5 >= len(letters)


# ----------------------------------------------------------------------------- signs for letters

_SIGNS = str.maketrans("013457@$!", "oieastasi")
_HARM = (
    "abuse|assassin|assault|bastard|bitch|bomb|cocaine|cunt|execut|explod|explosive|"
    "faggot|fuck|genocide|hate|hateful|heroin|incest|jihad|kidnap|kill|lynch|massacr|"
    "methamphetamine|molest|murder|nazi|nigger|nude|penis|poison|porn|pussy|rape|rapist|"
    "retard|sex|shit|shoot|slaughter|slut|stab|strangl|suicid|terror|torture|tortur|"
    "vagina|weapon|whore"
)


@cache
def _signed() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    edges = "\\w@/\\\\:#&=+%~$-"
    return (
        re.compile("[013457@$!][A-Za-z]"),
        re.compile(
            f"(?<![{edges}.])(?=[A-Za-z]+[013457@$!])[A-Za-z][A-Za-z013457@$!]{{1,20}}[A-Za-z]"
            f"(?![{edges}]|\\.\\w)"
        ),
        re.compile(f"(?:{_HARM})(?:[a-z]?(?:s|es?|ed|ers?|ing|ism|ists?|al|ions?|y))?"),
    )


def _signs(text: str) -> Iterator[Edit]:
    """`k1ll` as `kill`: words of harm only, as every other word with a digit may be a name."""
    any_signs, signed, harm = _signed()
    if not any_signs.search(text):
        return
    for found in signed.finditer(text):
        for one in "il":
            word = found[0].replace("1", one).translate(_SIGNS)
            if harm.fullmatch(word.lower()):
                yield found.start(), found.end(), word.upper() if found[0].isupper() else word
                break


_OFTEN = (_spaced_words, mixed_words, _signs)
_ALL = (
    _invisibles,
    _overrides,
    _marks,
    _spaced_words,
    styled_words,
    raised_words,
    mixed_words,
    _signs,
)
_ASCII = (_invisibles, _spaced_words, _signs)


@cache
def _rare() -> re.Pattern[str]:
    """Any character that the rarer tricks need; most texts have none."""
    return re.compile(
        "[^\t-\r -~\x85\xa0-\xac\xae-\u0261\u0263-\u0269\u026b-\u0273\u0275-\u027f\u0370-\u061b"
        "\u0620-\u115e\u1161-\u17b3\u17b6-\u180a\u1e00-\u200a\u2010-\u2027\u202f-\u205f"
        "\u20a0-\u20cf\u2135-\u249b\u24ea-\u2c7b\u2c7e-\u3163\u3165-\ua72f\ua732-\ud7ff"
        "\uf900-\ufdff\ufe30-\ufefc\uff01-\uff20\uff3b-\uff40\uff5b-\uff9f]"
    )


def _tricks(text: str) -> tuple[Callable[[str], Iterator[Edit]], ...]:
    if text.isascii():
        return _ASCII
    return _ALL if _rare().search(text) else _OFTEN
