"""Letters that stand for other letters: styled alphabets, and words that mix two scripts.

What looks like what was typed in from Unicode's confusables (UTS 39), the lookalikes of ordinary
alphabets only, as `<code point in hex><letter>`, so that this file itself shows no lookalike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, lru_cache
from itertools import pairwise

Edit = tuple[int, int, str]
"""`text[start:end]` becomes the third; edits of one text are in order and never overlap."""

_CYRILLIC = (
    "430a 435e 43eo 440p 441c 445x 443y 456i 458j 455s 4bbh 501d 51bq 51dw 4cfl 43ak 475v 442t 43cm"
    " 432b 43dh 43fn 433r 410A 412B 415E 41aK 41cM 41dH 41eO 420P 421C 422T 425X 423Y 406I 408J"
    " 405S 4baH 51aQ 51cW 4c0I 474V"
)
_GREEK_EXACT = (
    "3bfo 391A 392B 395E 396Z 397H 399I 39aK 39cM 39dN 39fO 3a1P 3a4T 3a5Y 3a7X 3f2c 3f3j"
)
_GREEK_LOOSE = (
    "3b1a 3b5e 3b9i 3bak 3bdv 3c1p 3c5u 3b7n 3c9w 3c4t 3aca 3ade 3afi 3cco 3cdu 3aen 3cew"
)
_OTHERS = (
    # Armenian, Cherokee, Coptic
    "585o 578n 57du 570h 581g 566q 575j 584p 53cL 54fS 555O 54dU"
    " 13aaA 13f4B 13cfC 13a0D 13acE 13c0G 13bbH 13abJ 13e6K 13deL 13b7M 13e2P 13a1R 13daS 13a2T"
    " 13d9V 13b3W 13c3Z 2c9fo 2c9eO 2ca3p 2ca2P 2ca5c 2ca4C 2c94K 2ca6T 2c98M 2c9aN 2c92I 2c8eH"
    # Lisu, Roman numerals
    " a4d0B a4d1P a4d3D a4d4T a4d6G a4d7K a4d9J a4daC a4dcZ a4ddF a4dfM a4e0N a4e1L a4e2S a4e3R"
    " a4e6V a4e7H a4eaW a4ebX a4ecY a4eeA a4f0E a4f2I a4f3O a4f4U"
    " 2170i 2174v 2179x 217cl 217dc 217ed 217fm 2160I 2164V 2169X 216cL 216dC 216eD 216fM"
)
_INTO_CYRILLIC = "aceopxyikABCEHIKMOPTXY"
_INTO_GREEK = "oavikpuABEZHIKMNOPTYX"
_SMALL_CAPITALS = (
    "1d00a 299b 1d04c 1d05d 1d07e a730f 262g 29ch 26ai 1d0aj 1d0bk 29fl 1d0dm 274n 1d0fo 1d18p"
    " 1ebq 280r a731s 1d1bt 1d1cu 1d20v 1d21w 28fy 1d22z"
)

_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_FOREIGN = (
    "\u0370-\u037d\u037f-\u0386\u0388-\u03ff\u0400-\u0481\u048a-\u052f\u0531-\u0556\u0561-\u0587"
    "\u13a0-\u13fd\u2160-\u217f\u2c80-\u2ce4\ua4d0-\ua4f7"
)
LETTERS = _LATIN + _FOREIGN
"""The alphabets told apart here, as the inside of a character class."""

_ENCLOSED = "\u249c-\u24e9\U0001f110-\U0001f129\U0001f130-\U0001f149\U0001f150-\U0001f169"
_SMALL = "\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f\u1d00-\u1d22\ua730\ua731"
_RAISED = (
    "\u02b0-\u02b8\u02e1-\u02e3\u1d2c-\u1d6a\u1d9c\u1da0\u1da6\u1dbb\u2071\u207f"
    "\u2090-\u209c\u2c7c\u2c7d"
)
_WIDE = "\uff21-\uff3a\uff41-\uff5a"
_MATHS = (
    "\u2102\u210a-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c-\u2131\u2133\u2134"
    "\U0001d400-\U0001d59f"
)
_SANS = "\U0001d5a0-\U0001d6a3"
_DIGITS = "\U0001d7ce-\U0001d7ff"
STYLED = _ENCLOSED + "\U0001f170-\U0001f189" + _MATHS + _SANS + _DIGITS + _WIDE
"""Letters and digits in a style that writes an emphasis, or a formula."""

_LONG = 4  # letters that make a word and not a formula, a mark of a list or an ending
_SHORT = 3
_NEAR = 16  # characters to either side that say whether full-width letters are at home


def _pairs(table: str) -> dict[str, str]:
    return {chr(int(pair[:-1], 16)): pair[-1] for pair in table.split()}


@dataclass(frozen=True, slots=True)
class _Tables:
    """What stands for what, made when the first text with such a letter comes."""

    into_latin: dict[str, str]
    loose: frozenset[str]
    into_cyrillic: dict[str, str]
    into_greek: dict[str, str]
    small: dict[str, str]


@cache
def _tables() -> _Tables:
    cyrillic, greek = _pairs(_CYRILLIC), {**_pairs(_GREEK_EXACT), **_pairs(_GREEK_LOOSE)}
    return _Tables(
        into_latin={**cyrillic, **greek, **_pairs(_OTHERS)},
        loose=frozenset(_pairs(_GREEK_LOOSE)),
        into_cyrillic=_backwards(cyrillic, _INTO_CYRILLIC),
        into_greek=_backwards(greek, _INTO_GREEK),
        small=_pairs(_SMALL_CAPITALS),
    )


def _backwards(table: dict[str, str], letters: str) -> dict[str, str]:
    """Which letter stands for each of `letters`; of several the one that the table names first."""
    found: dict[str, str] = {}
    for stranger, letter in table.items():
        if letter in letters:
            found.setdefault(letter, stranger)
    return found


def as_latin(letter: str) -> str:
    """The Latin letter or letters that one character looks like; itself where it looks like none.

    Letters of formulas stay what they are: `x y` in italics is mathematics.
    """
    if letter.isascii() or _style(letter) is _Style.MATHS:
        return letter
    return _tables().into_latin.get(letter) or _unstyled(letter)


# ------------------------------------------------------------------------------- mixed scripts


@cache
def _mixture() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(f"[{_FOREIGN}]"),
        re.compile(f"[{_LATIN}](?=[{_FOREIGN}])|[{_FOREIGN}](?=[{_LATIN}])"),
        re.compile(f"[{LETTERS}]{{2,}}+"),
    )


def mixed_words(text: str) -> Iterator[Edit]:
    """Each word that mixes scripts, written in the one script that it looks like."""
    foreign, border, word = _mixture()
    if not foreign.search(text) or not border.search(text):
        return
    home = _home(text)
    for found in word.finditer(text):
        if not found[0].isascii() and border.search(found[0]):
            unmixed = _unmixed(found[0], home)
            if unmixed != found[0]:
                yield found.start(), found.end(), unmixed


def _home(text: str) -> str:
    """`latin` or `foreign`: what the text is mostly written in; settles words that fit both."""
    latin = sum(map(len, re.findall("[A-Za-z]+", text)))
    foreign = sum(map(len, re.findall(f"[{_FOREIGN}]+", text)))
    return "latin" if latin >= foreign else "foreign"


def _unmixed(word: str, home: str) -> str:
    tables = _tables()
    latin = [letter for letter in word if not _is_foreign(letter)]
    foreign = [letter for letter in word if _is_foreign(letter)]
    fits_latin = all(letter in tables.into_latin for letter in foreign)
    native = _native(latin, foreign)
    if fits_latin and (home == "latin" or not native or len(latin) > len(foreign)):
        return word if _is_ordinary(word, latin, foreign) else _translated(word, tables.into_latin)
    return _translated(word, native) if native else word


def _is_foreign(letter: str) -> bool:
    return letter > "\u024f"


def _native(latin: list[str], foreign: list[str]) -> dict[str, str]:
    """The table that writes a mostly Cyrillic or Greek word all in its own script, if one does."""
    if len(foreign) < max(len(latin), _SHORT):
        return {}
    tables = _tables()
    for table, first, last in (
        (tables.into_cyrillic, "\u0400", "\u052f"),
        (tables.into_greek, "\u0370", "\u03ff"),
    ):
        if all(first <= c <= last for c in foreign) and all(c in table for c in latin):
            return table
    return {}


def _is_ordinary(word: str, latin: list[str], foreign: list[str]) -> bool:
    """A foreign ending on an abbreviation or brand, or Greek letters that name a quantity."""
    if len(word) < _SHORT and not word.islower():
        return True
    has_capital_inside = any(letter.isupper() for letter in latin[1:])
    ends_foreign = word.endswith("".join(foreign)) and all(c.islower() for c in foreign)
    if has_capital_inside and ends_foreign:
        return True
    if not all(letter in _tables().loose for letter in foreign):
        return False
    at_edge = len(foreign) == 1 and (_is_foreign(word[0]) or _is_foreign(word[-1]))
    return has_capital_inside or (at_edge and len(latin) <= _LONG)


def _translated(word: str, table: dict[str, str]) -> str:
    return "".join(table.get(letter, letter) for letter in word)


# ------------------------------------------------------------------------------------- styles


class _Style(Enum):
    """Alphabets beside the plain one, told apart by where ordinary text uses them."""

    MATHS = auto()
    SANS = auto()
    WIDE = auto()
    ENCLOSED = auto()
    NONE = auto()


@lru_cache(maxsize=4096)
def _style(letter: str) -> _Style:
    if letter < "\u2100":
        return _Style.NONE
    if "\uff21" <= letter <= "\uff5a":
        return _Style.WIDE
    if "\U0001d5a0" <= letter <= "\U0001d6a3" or "\U0001d7ce" <= letter <= "\U0001d7ff":
        return _Style.SANS
    if letter <= "\u2134" or "\U0001d400" <= letter < "\U0001d5a0":
        return _Style.MATHS
    return _Style.ENCLOSED


@lru_cache(maxsize=4096)
def _unstyled(letter: str) -> str:
    """The plain letter; compatibility forms of Unicode, and the black labels that have none."""
    code = ord(letter)
    if 0x1F150 <= code <= 0x1F189:  # noqa: PLR2004 - negative circled, then negative squared
        return chr(65 + (code - 0x1F150) % 32)
    return (
        _tables().small.get(letter) or unicodedata.normalize("NFKC", letter).strip("()") or letter
    )


@cache
def _styles() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(f"[{STYLED}]++"),
        re.compile(f"[{_SMALL}]"),
        re.compile(f"(?<![\\w{_RAISED}])[{_RAISED}]{{{_LONG},}}+(?!\\w)"),
        re.compile(f"(?<![\\w])[A-Za-z{_SMALL}]{{{_SHORT},}}+(?!\\w)"),
    )


def styled_words(text: str) -> Iterator[Edit]:
    """Letters of styled alphabets as plain ones, where they write words."""
    runs = list(_styles()[0].finditer(text))
    styles = {_style(c) for run in runs if _is_word(text, run) for c in run[0]}
    for run in runs:
        if styles.intersection(map(_style, run[0])) and not _is_at_home(text, run):
            yield run.start(), run.end(), "".join(map(_unstyled, run[0]))


def _is_word(text: str, run: re.Match[str]) -> bool:
    letters = "".join(map(_unstyled, run[0]))
    if _is_at_home(text, run) or is_alphabet(letters):
        return False
    styles = {_style(c) for c in run[0]}
    touching = [_ascii_letters_before(text, run.start()), _ascii_letters_after(text, run.end())]
    if styles == {_Style.MATHS}:
        return len(letters) >= _LONG or (all(touching) and len(letters) + sum(touching) >= _LONG)
    is_long = len(letters) + sum(touching) >= _SHORT
    return is_long and any(c.isalpha() for c in letters)


def _ascii_letters_before(text: str, end: int) -> int:
    found = re.search("[A-Za-z]*$", text[max(0, end - _LONG) : end])
    return len(found[0]) if found else 0


def _ascii_letters_after(text: str, start: int) -> int:
    found = re.match("[A-Za-z]*", text[start : start + _LONG])
    return len(found[0]) if found else 0


@cache
def _east_asian() -> re.Pattern[str]:
    return re.compile("[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff01-\uff0f\uff61-\uff9f]")


def _is_at_home(text: str, run: re.Match[str]) -> bool:
    """Full-width letters among East Asian ones are how those are typeset."""
    if _style(run[0][0]) is not _Style.WIDE:
        return False
    before = text[max(0, run.start() - _NEAR) : run.start()]
    after = text[run.end() : run.end() + _NEAR]
    return bool(_east_asian().search(before) or _east_asian().search(after))


def is_alphabet(letters: str) -> bool:
    """Whether they are a piece of the alphabet, as in `a b c d`: a list and not a word."""
    steps = {ord(b) - ord(a) for a, b in pairwise(letters)}
    return bool(steps) and (steps == {-1} or steps <= {1, 2})


def raised_words(text: str) -> Iterator[Edit]:
    """Whole words in superscript or subscript letters, and in small capitals, as plain ones."""
    _, any_small, raised, small = _styles()
    for found in raised.finditer(text):
        yield found.start(), found.end(), "".join(map(_unstyled, found[0]))
    if not any_small.search(text):
        return
    for found in small.finditer(text):
        if not found[0].isascii() and _is_set_in_capitals(found[0]):
            yield found.start(), found.end(), "".join(map(_unstyled, found[0]))


_SAME_SHAPE = frozenset("csovwxz")  # whose small capital is the small letter


def _is_set_in_capitals(word: str) -> bool:
    """Phonetic notation uses some small capitals too: among small letters, or in short words."""
    is_all_small = all(c in _SAME_SHAPE or not c.isascii() for c in word)
    beyond_phonetics = [c for c in word if c >= "\u1d00"]
    strangers = [c for c in word if not c.isascii()]
    return (is_all_small and len(word) >= _LONG) or beyond_phonetics == strangers
