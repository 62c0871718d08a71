"""A weighted word list: the linear model of alt-profanity-check (MIT), ported to plain arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from gemma_guard_lite.ngrams import words_of

LIMIT = 6.0


@dataclass(frozen=True, slots=True)
class Found:
    """Listed words of a text by their number, each with how much it counts; and their pull."""

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

    def found(self, words: Sequence[str]) -> Found:
        """The listed among the words of a text."""
        times = Counter(self.weights[word] for word in words if word in self.weights)
        counts = {number: count * rarity for (number, rarity, _), count in times.items()}
        return Found(counts, sum(counts[number] * pull for number, _, pull in times))

    def margin(self, piece: Sequence[str]) -> float:
        """What the texts of a piece say together."""
        return self.together([self.found(words_of(text)) for text in piece])

    def together(self, texts: Sequence[Found]) -> float:
        """Above zero: more like the comments people called toxic than like the others."""
        counts = dict(texts[0].counts)
        for text in texts[1:]:
            for number, count in text.counts.items():
                counts[number] = counts.get(number, 0.0) + count
        length = sqrt(sum(count * count for count in counts.values())) or 1.0
        pull = sum(text.pull for text in texts)
        return max(-LIMIT, min(LIMIT, pull / length + self.bias))
