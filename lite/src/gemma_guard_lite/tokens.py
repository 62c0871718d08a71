"""Word pieces of a text and where each stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from gemma_guard_lite.windows import Range

_ORDINARY = re.compile(r"[\t\n\r -~]*")
"""No letters to fold but A to Z, and nothing to drop."""
_SELDOM = 8
"""One word by itself costs the library as much as five or so in a text."""
_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids of word pieces, and the characters each was cut from."""

    ids: list[int]
    offsets: list[Range]

    @classmethod
    def of(cls, encoding: Encoding) -> Tokens:
        """Both lists, once: an `Encoding` would make them at every look."""
        return cls(encoding.ids, encoding.offsets)


class WordPieces:
    """BERT's tokenizer. In ordinary text a word that the vocabulary has needs no cutting."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # a text that says [CLS] does not mean it
        self.vocabulary: dict[str, int] = self._tokenizer.get_vocab()

    def cut(self, text: str) -> Tokens:
        """The pieces of a text, without marks around it."""
        if not _ORDINARY.fullmatch(text):
            return self._encoded(text)
        words = list(_WORD.finditer(text.lower()))
        ids = [self.vocabulary.get(word[0]) for word in words]
        if ids.count(None) * _SELDOM > len(ids):
            return self._encoded(text)
        return self._completed(words, ids)

    def _completed(self, words: Sequence[re.Match[str]], known: Sequence[int | None]) -> Tokens:
        ids: list[int] = []
        offsets: list[Range] = []
        for word, number in zip(words, known, strict=True):
            if number is not None:
                ids.append(number)
                offsets.append(word.span())
            else:
                start, cut = word.start(), self._encoded(word[0])
                ids += cut.ids
                offsets += [(start + first, start + last) for first, last in cut.offsets]
        return Tokens(ids, offsets)

    def _encoded(self, text: str) -> Tokens:
        return Tokens.of(self._tokenizer.encode(text, add_special_tokens=False))
