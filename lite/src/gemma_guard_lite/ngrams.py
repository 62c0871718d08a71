"""Hashed character and word n-grams: hard to dodge by respelling, a fraction of a millisecond."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BITS = 17
_ORDERS = (3, 4, 5)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_WORD = re.compile(r"\w+")
_SPACES = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Slots:
    """Table slots of several texts, and for each slot the number of the text it belongs to."""

    slots: NDArray[np.int64]
    owner: NDArray[np.int64]

    def pull(self, table: NDArray[np.int8], count: int) -> NDArray[np.float32]:
        """What the table says of each of `count` texts, the same however long it is."""
        rows, sizes = table[self.slots], np.bincount(self.owner, minlength=count)
        total = np.stack([np.bincount(self.owner, column, count) for column in rows.T], 1)
        pull: NDArray[np.float64] = total / np.sqrt(np.maximum(1, sizes))[:, None]
        return pull.astype(np.float32)


def char_slots(texts: Sequence[str]) -> Slots:
    """The slot of every run of 3 to 5 characters of the lower-case texts, none across two texts."""
    spaced = [f" {_SPACES.sub(' ', text.lower())} " for text in texts]
    sizes = [len(text) for text in spaced]
    codes = np.frombuffer("".join(spaced).encode("utf-32-le", "surrogatepass"), np.uint32)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(codes))
    owner = np.repeat(np.arange(len(texts)), sizes)
    inside = [np.flatnonzero(left >= order) for order in _ORDERS]
    wide = codes.astype(np.uint64)
    hashed = [_rolled(wide, order)[at] for order, at in zip(_ORDERS, inside, strict=True)]
    slots = (np.concatenate(hashed) >> np.uint64(64 - BITS)).astype(np.int64)
    return Slots(slots, owner[np.concatenate(inside)])


def word_slots(texts: Sequence[str]) -> Slots:
    """The slot of every word and every pair of neighbouring words."""
    hashed, sizes = [], []
    for text in texts:
        words = _WORD.findall(text.lower())
        pairs = (f"{first} {second}" for first, second in pairwise(words))
        runs = [crc32(run.encode("utf-8", "surrogatepass")) for run in (*words, *pairs)]
        hashed.extend(runs)
        sizes.append(len(runs))
    return Slots(np.array(hashed, np.int64) >> (32 - BITS), np.repeat(np.arange(len(texts)), sizes))


def _rolled(codes: NDArray[np.uint64], order: int) -> NDArray[np.uint64]:
    count = max(0, len(codes) - order + 1)
    rolled = np.full(count, order, np.uint64)
    for offset in range(order):
        rolled = (rolled ^ codes[offset : offset + count]) * _PRIME
        rolled ^= rolled >> np.uint64(29)
    return rolled * _PRIME


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """Five linear margins of hashed n-grams: a table of characters and one of words, in int8."""

    chars: NDArray[np.int8]
    words: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> HashedNgrams:
        """Read arrays, never pickles."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in ("chars", "words", "scale", "bias")})

    def margins(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text, one margin per head."""
        chars, words = char_slots(texts), word_slots(texts)
        pull = chars.pull(self.chars, len(texts)) + words.pull(self.words, len(texts))
        margins: NDArray[np.float32] = pull * self.scale + self.bias
        return margins
