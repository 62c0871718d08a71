"""A weighted word list: the linear model of alt-profanity-check (MIT), ported to plain arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

LIMIT = 6.0
_WORD = re.compile(r"\b\w\w+\b")


@dataclass(frozen=True, slots=True)
class WordList:
    """A margin from TF-IDF weighted words: `weights` maps a word to its (rarity, pull)."""

    weights: Mapping[str, tuple[float, float]]
    bias: float

    @classmethod
    def load(cls, path: Path) -> WordList:
        """Read arrays, never pickles."""
        with np.load(path, allow_pickle=False) as arrays:
            words = bytes(arrays["words"]).decode().split("\n")
            pairs = zip(arrays["rarity"].tolist(), arrays["pull"].tolist(), strict=True)
            return cls(dict(zip(words, pairs, strict=True)), float(arrays["bias"]))

    def margin(self, text: str) -> float:
        """Above zero: more like the comments people called toxic than like the others."""
        counts = Counter(w for w in _WORD.findall(text.lower()) if w in self.weights)
        tfidf = {word: count * self.weights[word][0] for word, count in counts.items()}
        length = sqrt(sum(value * value for value in tfidf.values())) or 1.0
        pull = sum(value * self.weights[word][1] for word, value in tfidf.items())
        return max(-LIMIT, min(LIMIT, pull / length + self.bias))
