"""A weighted word list: the linear model of alt-profanity-check (MIT), ported to plain arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

LIMIT = 6.0
Piece: TypeAlias = tuple[str, ...]
"""What a span reads: one text, or several sentences that count as one."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Found:
    """Listed words of a text by their number, each with count times rarity; their pull."""

    counts: Mapping[int, float]
    pull: float


@dataclass(frozen=True, slots=True)
class WordList:
    """A margin from TF-IDF weighted words: `weights` maps one to its (number, rarity, pull)."""

    weights: Mapping[str, tuple[int, float, float]]
    bias: float

    @classmethod
    def load(cls, path: Path) -> WordList:
        """Read arrays, never pickles."""
        with np.load(path, allow_pickle=False) as arrays:
            words = bytes(arrays["words"]).decode().split("\n")
            rarity, pull = arrays["rarity"].tolist(), arrays["pull"].tolist()
            triples = zip(range(len(words)), rarity, pull, strict=True)
            return cls(dict(zip(words, triples, strict=True)), float(arrays["bias"]))

    def margins(self, pieces: Sequence[Piece]) -> NDArray[np.float32]:
        """One row per piece; a text that stands in several is looked up once."""
        found = {text: self.found(text) for text in {text for piece in pieces for text in piece}}
        rows = [[self.together([found[text] for text in piece])] for piece in pieces]
        return np.array(rows, np.float32)

    def found(self, text: str) -> Found:
        """The listed among the words of a text."""
        counts: dict[int, float] = {}
        total = 0.0
        for word in _WORD.findall(text.lower()):
            if known := self.weights.get(word):
                number, rarity, pull = known
                counts[number] = counts.get(number, 0.0) + rarity
                total += rarity * pull
        return Found(counts, total)

    def together(self, texts: Sequence[Found]) -> float:
        """Above zero: more like the comments people called toxic than like the others."""
        counts: dict[int, float] = {}
        squared = 0.0
        for text in texts:
            for number, count in text.counts.items():
                before = counts.get(number, 0.0)
                counts[number] = before + count
                squared += count * (count + 2 * before)
        pull = sum(text.pull for text in texts)
        return max(-LIMIT, min(LIMIT, pull / (sqrt(squared) or 1.0) + self.bias))
