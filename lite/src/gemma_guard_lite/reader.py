"""A text as the model reads it: sentences through the encoder, pooled over spans."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gemma_guard_lite.cache import Cache
from gemma_guard_lite.encoder import Encoder
from gemma_guard_lite.plain import SHORTEST_DISGUISE, Plain, plain
from gemma_guard_lite.tokens import Tokens, WordPieces
from gemma_guard_lite.windows import Range, spans, units
from gemma_guard_lite.words import Piece

Floats = NDArray[np.float32]
MOST_WINDOWS = 2_048
_CACHED = 16 * 1024**2
_PAIR = 2
_GIST = b"\xff\xff"
"""Begins the key of what a text is as a whole: no word piece has that number."""


def _nothing() -> None:
    """Nothing to do between windows."""


class TooLong(Exception):
    """A text of more windows than one request may cost."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Spans of one text, the whole first: encoder features, what they read, their places."""

    features: Floats
    pieces: tuple[Piece, ...]
    places: tuple[Range, ...]

    @property
    def gist(self) -> Floats:
        """The features of the text as a whole."""
        return self.features[:1]


class Reader:
    """Tokenizer and encoder. What a sentence gives is the same in any company, and kept a while."""

    def __init__(
        self, folder: Path, *, listed: AbstractSet[str] = frozenset(), threads: int = 1
    ) -> None:
        self._pieces = WordPieces(folder / "tokenizer.json")
        vocabulary = self._pieces.vocabulary
        self._encoder = Encoder(folder / "encoder.onnx", threads)
        self._end = vocabulary["[SEP]"]
        self._known = listed | set(filter(_is_word, vocabulary))
        self.cache: Cache[Floats] = Cache(_CACHED)

    def gist(self, text: str, *, before_each: Callable[[], None] = _nothing) -> Floats:
        """The features of the text as a whole; those of one read before are kept a while too."""
        key = self.cache.key(_GIST + text.encode("utf-8", "surrogatepass"))
        known = self.cache.get(key)
        if known is None:
            known = self.read(text, before_each=before_each).gist.copy()
            self.cache.put(key, known, known.nbytes)
        return known

    def read(self, text: str, *, before_each: Callable[[], None] = _nothing) -> Reading:
        """Every span of the text; `before_each` runs now and before each run, and may raise."""
        before_each()
        judged, tokens, planned = self._planned(text)
        read = self._features(tokens, planned, before_each)
        return _reading(judged, tokens, planned, read)

    def foresee(self, text: str, *, before_each: Callable[[], None] = _nothing) -> None:
        """Read the sentences of a text that goes on: they stay what they are."""
        _, tokens, planned = self._planned(text)
        self._features(tokens, _apart(tokens, planned), before_each)

    def _planned(self, text: str) -> tuple[Plain, Tokens, list[Range]]:
        judged = plain(text, self._known)
        tokens = self._pieces.cut(judged.text)
        planned = units(judged.text, tokens.offsets)
        if len(planned) > MOST_WINDOWS:
            raise TooLong(f"{len(planned)} windows, and {MOST_WINDOWS} is the most it reads")
        return judged, tokens, planned

    def _features(
        self, tokens: Tokens, planned: Sequence[Range], before_each: Callable[[], None]
    ) -> list[Floats]:
        """One array per sentence; those read before are not read again."""
        sentences = [tokens.ids[start:end] for start, end in planned]
        keys = [self.cache.key(array("H", sentence).tobytes()) for sentence in sentences]
        known = {key: rows for key in keys if (rows := self.cache.get(key)) is not None}
        new = {key: ids for key, ids in zip(keys, sentences, strict=True) if key not in known}
        names = list(new)
        words = [ids or [self._end] for ids in new.values()]
        for number, rows in self._encoder.read(words, before_each):
            known[names[number]] = rows
            self.cache.put(names[number], rows, rows.nbytes)
        return [known[key] for key in keys]


def _reading(
    judged: Plain, tokens: Tokens, planned: Sequence[Range], read: Sequence[Floats]
) -> Reading:
    """The whole text first, then neighbouring units together, then what was read alone."""
    whole = (0, len(tokens.ids))
    ranges = (_inside(unit, span) for unit in planned for span in spans(unit[1] - unit[0]))
    rows = {each: row for row, each in enumerate(ranges)}
    apart = _apart(tokens, planned)
    alone = [each for each in rows if each != whole]
    pairs = list(pairwise(apart)) if len(apart) > _PAIR else []
    found = [(whole,) if whole in rows else tuple(apart), *pairs, *((each,) for each in alone)]
    values = np.concatenate(read)
    joined = _whole_and_pairs(values[[rows[unit] for unit in apart]], apart)[: 1 + len(pairs)]
    if whole in rows:
        joined[0] = values[rows[whole]]
    inside = {each: _characters(judged, tokens, each) for each in {whole, *apart, *alone}}
    return Reading(
        np.concatenate([joined, values[[rows[each] for each in alone]]]),
        tuple(tuple(judged.text[slice(*inside[each])] for each in piece) for piece in found),
        tuple(judged.original(inside[piece[0]][0], inside[piece[-1]][1]) for piece in found),
    )


def _apart(tokens: Tokens, planned: Sequence[Range]) -> Sequence[Range]:
    """The sentences, without the whole text that may stand before them."""
    return [unit for unit in planned if unit != (0, len(tokens.ids))] or planned


def _inside(unit: Range, span: Range) -> Range:
    """A span of a unit, counted in the text."""
    return unit[0] + span[0], unit[0] + span[1]


def _whole_and_pairs(units_: Floats, ranges: Sequence[Range]) -> Floats:
    """All units as one, then each with the next; longer ones count more."""
    lengths = np.array([[max(1, end - start)] for start, end in ranges], np.float32)
    weighted = units_ * lengths
    pairs = (weighted[:-1] + weighted[1:]) / (lengths[:-1] + lengths[1:])
    every = weighted.sum(0, keepdims=True) / lengths.sum()
    joined: Floats = np.concatenate([every, pairs])
    return joined


def _is_word(piece: str) -> bool:
    return piece.isalpha() and len(piece) >= SHORTEST_DISGUISE


def _characters(judged: Plain, tokens: Tokens, span: Range) -> Range:
    """Where a span of tokens stands; the first and the last reach to the ends of the text."""
    first, last = span
    begin = 0 if first == 0 else tokens.offsets[first][0]
    end = len(judged.text) if last == len(tokens.ids) else tokens.offsets[last - 1][1]
    return begin, end
