"""A text as the model reads it: sentences through the encoder, pooled over spans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from gemma_guard_lite.plain import SHORTEST_DISGUISE, Plain, plain
from gemma_guard_lite.windows import Range, spans, units

Floats = NDArray[np.float32]
MOST_WINDOWS = 2_048


class TooLong(Exception):
    """A text of more windows than one request may cost."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Word pieces and where each stands; an `Encoding` would make these lists at every look."""

    ids: list[int]
    offsets: list[Range]

    @classmethod
    def of(cls, encoding: Encoding) -> Tokens:
        """Both lists, once."""
        return cls(encoding.ids, encoding.offsets)


@dataclass(frozen=True, slots=True)
class Reading:
    """Spans of one text, the whole first: encoder features, their words, their places."""

    features: Floats
    pieces: tuple[str, ...]
    places: tuple[Range, ...]

    @property
    def gist(self) -> Floats:
        """The features of the text as a whole."""
        return self.features[:1]


class Reader:
    """Tokenizer and encoder. Each text runs alone, so a score never depends on its neighbours."""

    def __init__(
        self, folder: Path, *, listed: AbstractSet[str] = frozenset(), threads: int = 1
    ) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._encoder = session(folder / "encoder.onnx", threads)
        self._known = listed | set(filter(_is_word, self._tokenizer.get_vocab()))
        self._first = self._tokenizer.token_to_id("[CLS]")
        self._last = self._tokenizer.token_to_id("[SEP]")

    def read(self, text: str, *, before_each: Callable[[], None] = lambda: None) -> Reading:
        """Every span of the text; `before_each` runs between windows and may raise."""
        judged = plain(text, self._known)
        tokens = Tokens.of(self._tokenizer.encode(judged.text, add_special_tokens=False))
        planned = units(judged.text, tokens.offsets)
        if len(planned) > MOST_WINDOWS:
            raise TooLong(f"{len(planned)} windows, and {MOST_WINDOWS} is the most it reads")
        found: dict[Range, Floats] = {}
        for unit in planned:
            before_each()
            found |= self._spans(tokens, unit)
        return _reading(judged, tokens, _with_joined(found, planned, (0, len(tokens.ids))))

    def _spans(self, tokens: Tokens, unit: Range) -> dict[Range, Floats]:
        """The features of a unit and of its stretches, by token range."""
        start, end = unit
        ids = np.array([[self._first, *tokens.ids[start:end], self._last]], np.int64)
        ranges = tuple(spans(ids.shape[1]))
        inputs = {"ids": ids, "spans": _averages(ranges, ids.shape[1])}
        (features,) = self._encoder.run(None, inputs)
        keys = [_inside(unit, span) for span in ranges]
        return dict(zip(keys, features, strict=True))


def _inside(unit: Range, span: Range) -> Range:
    """A span of a unit, counted in the text: the unit's own tokens start after its mark."""
    start, end = unit
    return max(start + span[0] - 1, start), min(start + span[1] - 1, end)


def _with_joined(
    found: dict[Range, Floats], planned: list[Range], whole: Range
) -> dict[Range, Floats]:
    """The whole text first, then what was read, then neighbouring units together."""
    units_ = [unit for unit in planned if unit != whole]
    pairs = {(a[0], b[1]): _mean(found, (a, b)) for a, b in pairwise(units_)}
    first = found[whole] if whole in found else _mean(found, units_)
    return {whole: first} | pairs | found


def _mean(found: dict[Range, Floats], ranges: Sequence[Range]) -> Floats:
    """The features of several units as one, longer ones counting more."""
    lengths = np.array([end - start + 2 for start, end in ranges], np.float32)
    rows = np.stack([found[each] for each in ranges])
    mean: Floats = np.einsum("u,uf->f", lengths / lengths.sum(), rows)
    return mean


def _reading(judged: Plain, tokens: Tokens, found: dict[Range, Floats]) -> Reading:
    inside = [_characters(judged, tokens, span) for span in found]
    pieces = tuple(judged.text[first:last] for first, last in inside)
    places = tuple(judged.original(first, last) for first, last in inside)
    return Reading(np.stack(list(found.values())), pieces, places)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX model on the CPU with `threads` threads, deterministic."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _is_word(piece: str) -> bool:
    return piece.isalpha() and len(piece) >= SHORTEST_DISGUISE


def _averages(ranges: tuple[Range, ...], length: int) -> Floats:
    rows = np.zeros((len(ranges), length), np.float32)
    for row, (start, end) in zip(rows, ranges, strict=True):
        row[start:end] = 1.0 / (end - start)
    return rows


def _characters(judged: Plain, tokens: Tokens, span: Range) -> Range:
    """Where a span of tokens stands; the first and the last reach to the ends of the text."""
    first, last = span
    begin = 0 if first == 0 else tokens.offsets[first][0]
    end = len(judged.text) if last == len(tokens.ids) else tokens.offsets[last - 1][1]
    return begin, end
