"""The encoder: sentences as token ids in, their features out, whatever they are read with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from gemma_guard_lite.packs import Pack, packs
from gemma_guard_lite.windows import Range, spans

Floats = NDArray[np.float32]
Ids = Sequence[int]
Inputs = dict[str, NDArray[Any]]
_NOBODY, _EVERYBODY = -1, -2
_LEAST_SPANS = 2
"""A product of one row may be summed in another order than a product of more."""


class Encoder:
    """One ONNX session; a run reads the sentences of a pack side by side.

    `mark` begins every column. It attends to itself alone and every sentence of the column attends
    to it: the model was trained with a mark before each sentence, and one constant one will do.
    """

    def __init__(self, path: Path, threads: int, *, mark: int) -> None:
        self._session, self._mark = session(path, threads), mark

    def read(
        self, sentences: Sequence[Ids], before_each: Callable[[], None]
    ) -> Iterator[tuple[int, Floats]]:
        """Each sentence's number and features: one row for the sentence, one per stretch of it."""
        for pack in packs([len(sentence) for sentence in sentences]):
            before_each()
            inputs = laid_out(pack, sentences, mark=self._mark)
            (features,) = self._session.run(["features"], inputs)
            for column, numbers in zip(features, pack.columns, strict=True):
                yield from _taken(column, numbers, sentences)


def _taken(
    rows: Floats, numbers: Sequence[int], sentences: Sequence[Ids]
) -> Iterator[tuple[int, Floats]]:
    first = 0
    for number in numbers:
        last = first + len(_spans(sentences[number]))
        yield number, rows[first:last].copy()  # not all of the run along with it
        first = last


def _spans(sentence: Ids) -> tuple[Range, ...]:
    return tuple(spans(len(sentence)))


def laid_out(pack: Pack, sentences: Sequence[Ids], *, mark: int) -> Inputs:
    """The inputs of one run."""
    shape = (len(pack.columns), pack.length)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    owner = np.full(shape, _NOBODY)
    ids[:, 0], owner[:, 0] = mark, _EVERYBODY
    counts = [[_spans(sentences[n]) for n in numbers] for numbers in pack.columns]
    most = max(_LEAST_SPANS, *(sum(map(len, each)) for each in counts))
    averages = np.zeros((len(pack.columns), most, pack.length), np.float32)
    for column, numbers in enumerate(pack.columns):
        top, row = 1, 0
        for number, found in zip(numbers, counts[column], strict=True):
            end = top + len(sentences[number])
            ids[column, top:end] = sentences[number]
            positions[column, top:end] = np.arange(1, end - top + 1)
            owner[column, top:end] = number
            for first, last in found:
                averages[column, row, top + first : top + last] = 1.0 / (last - first)
                row += 1
            top = end
    seen = owner[:, None, :, None] == owner[:, None, None, :]
    seen |= owner[:, None, None, :] == _EVERYBODY
    return {
        "ids": ids.T.ravel(),
        "positions": positions.T.ravel(),
        "grid": np.array([pack.length, len(pack.columns)]),
        "seen": seen.astype(np.float32),
        "spans": averages,
    }


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX model on the CPU with `threads` threads, deterministic."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
