"""Hashed character and word n-grams: hard to dodge by respelling, a fraction of a millisecond."""

from __future__ import annotations

import re
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


def char_slots(text: str) -> NDArray[np.int64]:
    """The table slot of every run of 3 to 5 characters of the lower-case text."""
    spaced = f" {_SPACES.sub(' ', text.lower())} "
    codes = np.frombuffer(spaced.encode("utf-32-le", "surrogatepass"), np.uint32)
    hashed = [_rolled(codes.astype(np.uint64), order) for order in _ORDERS]
    return (np.concatenate(hashed) >> np.uint64(64 - BITS)).astype(np.int64)


def word_slots(text: str) -> NDArray[np.int64]:
    """The table slot of every word and every pair of neighbouring words."""
    words = _WORD.findall(text.lower())
    pairs = (f"{first} {second}" for first, second in pairwise(words))
    hashed = [crc32(run.encode("utf-8", "surrogatepass")) for run in (*words, *pairs)]
    return np.array(hashed, np.int64) >> (32 - BITS)


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

    def margins(self, text: str) -> NDArray[np.float32]:
        """One margin per head, the same however long the text is."""
        pull = _mean_pull(self.chars, char_slots(text)) + _mean_pull(self.words, word_slots(text))
        margins: NDArray[np.float32] = pull * self.scale + self.bias
        return margins


def _mean_pull(table: NDArray[np.int8], slots: NDArray[np.int64]) -> NDArray[np.float32]:
    total = table[slots].sum(0, dtype=np.int32)
    pull: NDArray[np.float32] = (total / np.sqrt(max(1, len(slots)))).astype(np.float32)
    return pull
