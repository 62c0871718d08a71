"""What a text says by its letters and words: n-grams and word list, sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gemma_guard_lite.cache import Cache
from gemma_guard_lite.ngrams import HashedNgrams, Sums, words_of
from gemma_guard_lite.words import Found, WordList

Piece: TypeAlias = tuple[str, ...]
"""What a span reads: one text, or several sentences that count as one."""
_CACHED = 4 * 1024**2
_SIZE = 1_000
"""Bytes of one sentence, as a rule: a row of sums and a dozen words."""
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
        said = self._said(dict.fromkeys(text for piece in pieces for text in piece))
        rows = np.array([said[text][0] for piece in pieces for text in piece])
        sums = np.add.reduceat(rows, np.cumsum([0, *map(len, pieces[:-1])]))
        words = [self.words.together([said[text][1] for text in piece]) for piece in pieces]
        both = self.ngrams.margins(sums), np.array(words, np.float32)[:, None]
        return np.concatenate(both, axis=1)

    def _said(self, texts: Iterable[str]) -> dict[str, _Said]:
        keys = {text: self.cache.key(text.encode("utf-8", "surrogatepass")) for text in texts}
        said = {text: one for text, key in keys.items() if (one := self.cache.get(key))}
        new = [text for text in keys if text not in said]
        for text, one in zip(new, self._read(new) if new else (), strict=True):
            said[text] = one
            self.cache.put(keys[text], one, _SIZE)
        return said

    def _read(self, texts: Sequence[str]) -> list[_Said]:
        words = [words_of(text) for text in texts]
        rows = self.ngrams.sums(texts, words)
        found = (self.words.found(each) for each in words)
        return [(row.copy(), one) for row, one in zip(rows, found, strict=True)]
