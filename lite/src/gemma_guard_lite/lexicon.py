"""What a text says by its letters and words: n-grams and word list, sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gemma_guard_lite.cache import Cache
from gemma_guard_lite.ngrams import HashedNgrams, Sums
from gemma_guard_lite.words import Found, WordList

Piece: TypeAlias = tuple[str, ...]
"""What a span reads: one text, or several sentences that count as one."""
_CACHED = 4 * 1024**2
_SIZE = 1_000
"""Bytes of one sentence, as a rule: two rows of sums and a dozen words."""
_Said: TypeAlias = tuple[Sums, Found]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Sentences are read once; what several say together is the sum."""

    ngrams: HashedNgrams
    words: WordList
    cache: Cache[_Said]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From the files of a model."""
        ngrams = HashedNgrams.load(folder / "ngrams.npz")
        return cls(ngrams, WordList.load(folder / "words.npz"), Cache(_CACHED))

    def margins(self, pieces: Sequence[Piece]) -> NDArray[np.float32]:
        """One row per piece: a margin per head by the n-grams, one by the word list."""
        said = self._said(tuple(dict.fromkeys(text for piece in pieces for text in piece)))
        each = [[said[text] for text in piece] for piece in pieces]
        sums = Sums.together([[one for one, _ in piece] for piece in each])
        words = [[self.words.together([found for _, found in piece])] for piece in each]
        return np.concatenate([self.ngrams.margins(sums), np.array(words, np.float32)], axis=1)

    def _said(self, texts: Sequence[str]) -> dict[str, _Said]:
        keys = {text: self.cache.key(text.encode("utf-8", "surrogatepass")) for text in texts}
        said = {text: self.cache.get(key) for text, key in keys.items()}
        new = [text for text, known in said.items() if known is None]
        read = self._read(new)
        for text, found in read.items():
            self.cache.put(keys[text], found, _SIZE)
        return {text: known for text, known in said.items() if known is not None} | read

    def _read(self, texts: Sequence[str]) -> dict[str, _Said]:
        if not texts:
            return {}
        sums = self.ngrams.sums(texts)
        return {text: (sums[row], self.words.found(text)) for row, text in enumerate(texts)}
