"""Hashed character and word n-grams: hard to dodge by respelling, a fraction of a millisecond."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BITS = 17
_ORDERS = (3, 4, 5)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_WORD = re.compile(r"\w+")
_SPACES = re.compile(r"[^\S ]")
_NOWHERE = 1 << BITS
"""A slot that says nothing, for what would reach past the end of a text."""
Slots: TypeAlias = NDArray[np.int64]
Sums: TypeAlias = NDArray[np.int64]
"""A row per text: what the table of characters says for each head and how often, then of words."""
Table: TypeAlias = NDArray[np.int8]


def char_slots(texts: Sequence[str]) -> tuple[Slots, Slots]:
    """The slots of every run of 3 to 5 characters of the lower-case texts, none across two texts.

    One row per order, one column per character that a run begins with; and where each text begins.
    """
    spaced = [f" {_SPACES.sub(' ', text.lower())} " for text in texts]
    sizes = np.array([len(text) for text in spaced])
    ends = np.cumsum(sizes)
    codes = np.frombuffer("".join(spaced).encode("utf-32-le", "surrogatepass"), np.uint32)
    wide = np.zeros(len(codes) + _ORDERS[-1], np.uint64)
    wide[: len(codes)] = codes
    slots = _rolled(wide, len(codes))
    for order, row in zip(_ORDERS, slots, strict=True):
        for short in range(1, order):
            row[ends[sizes >= short] - short] = _NOWHERE
    return slots, ends - sizes


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def word_slots(words: Sequence[str]) -> list[int]:
    """The slot of every word and every pair of neighbouring words."""
    raw = [word.encode() for word in words]
    hashed = [crc32(word) for word in raw]
    pairs = [crc32(b" " + second, first) for first, second in zip(hashed, raw[1:], strict=False)]
    return [each >> (32 - BITS) for each in hashed + pairs]


def _rolled(codes: NDArray[np.uint64], count: int) -> Slots:
    """One row per order, the shortest first; each rolls over as many characters as it has."""
    rolled = np.repeat(np.array(_ORDERS, np.uint64)[:, None], count, axis=1)
    for offset in range(_ORDERS[-1]):
        rows = rolled[sum(order <= offset for order in _ORDERS) :]
        rows ^= codes[offset : offset + count]
        rows *= _PRIME
        rows ^= rows >> np.uint64(29)
    return ((rolled * _PRIME) >> np.uint64(64 - BITS)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """Five linear margins of hashed n-grams: a table of characters and one of words, in int8."""

    chars: Table
    words: Table
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> HashedNgrams:
        """Read arrays, never pickles."""
        with np.load(path, allow_pickle=False) as arrays:
            chars, words = (_counting(arrays[name]) for name in ("chars", "words"))
            return cls(chars, words, arrays["scale"], arrays["bias"])

    def sums(self, texts: Sequence[str], words: Sequence[Sequence[str]]) -> Sums:
        """What the tables say of each of `texts`; rows may be added, to count as one text."""
        slots, starts = char_slots(texts)
        chars = np.add.reduceat(self.chars.take(slots, 0), starts, 1, np.int64).sum(0)
        runs = [[*word_slots(each), _NOWHERE] for each in words]
        begins = np.array([0, *accumulate(map(len, runs[:-1]))])
        rows = self.words.take(list(chain.from_iterable(runs)), 0)
        return np.concatenate([chars, np.add.reduceat(rows, begins, 0, np.int64)], axis=1)

    def margins(self, sums: Sums) -> NDArray[np.float32]:
        """One row per row, one margin per head, the same however long a text is."""
        each = sums.reshape(len(sums), 2, -1)
        pulls = each[..., :-1] / np.sqrt(np.maximum(1, each[..., -1:]))
        margins: NDArray[np.float32] = pulls.sum(1).astype(np.float32) * self.scale + self.bias
        return margins


def _counting(table: Table) -> Table:
    """A column of ones beside the table, and a last row that says nothing."""
    return np.pad(np.pad(table, ((0, 0), (0, 1)), constant_values=1), ((0, 1), (0, 0)))
