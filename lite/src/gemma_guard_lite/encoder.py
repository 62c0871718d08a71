"""The encoder: sentences as token ids in, their features out, whatever they are read with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from gemma_guard_lite.packs import Pack, packs
from gemma_guard_lite.windows import spans

Floats = NDArray[np.float32]
Ids = Sequence[int]
Inputs = dict[str, NDArray[Any]]
_NOBODY = -1
_LEAST_SPANS = 2
"""A product of one row may be summed in another order than a product of more."""


class Encoder:
    """One ONNX session; a run reads the sentences of a pack side by side.

    Every sentence also attends to a mark, which no token stands for: the model was trained with one
    before each sentence, and as it attends to itself alone its keys and values are constants.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._session = session(path, threads)

    def read(
        self, sentences: Sequence[Ids], before_each: Callable[[], None]
    ) -> Iterator[tuple[int, Floats]]:
        """Each sentence's number and features: one row for the sentence, one per stretch of it."""
        for pack in packs([len(sentence) for sentence in sentences]):
            before_each()
            inputs = laid_out(pack, sentences)
            (features,) = self._session.run(["features"], inputs)
            if not np.isfinite(features.sum()):
                raise FloatingPointError("the encoder left the range of float32")
            for column, numbers in zip(features, pack.columns, strict=True):
                yield from _taken(column, numbers, sentences)


def _taken(
    rows: Floats, numbers: Sequence[int], sentences: Sequence[Ids]
) -> Iterator[tuple[int, Floats]]:
    first = 0
    for number in numbers:
        last = first + len(spans(len(sentences[number])))
        yield number, rows[first:last].copy()  # not all of the run along with it
        first = last


def laid_out(pack: Pack, sentences: Sequence[Ids]) -> Inputs:
    """The inputs of one run."""
    columns = [_column(numbers, sentences, pack.length) for numbers in pack.columns]
    ids, positions, owner = np.array(columns).transpose(1, 0, 2)
    seen = np.ones((len(columns), 1, pack.length, 1 + pack.length), np.float32)
    seen[..., 1:] = owner[:, None, :, None] == owner[:, None, None, :]
    return {
        "ids": ids.T.ravel(),
        "positions": positions.T.ravel(),
        "columns": np.array([len(columns)]),
        "seen": seen,
        "spans": _averages(pack, sentences),
    }


def _column(
    numbers: Sequence[int], sentences: Sequence[Ids], length: int
) -> tuple[list[int], list[int], list[int]]:
    """Tokens, their places in their sentence, and whose they are."""
    ids: list[int] = []
    positions: list[int] = []
    owner: list[int] = []
    for number in numbers:
        sentence = sentences[number]
        ids += sentence
        positions += range(1, len(sentence) + 1)
        owner += [number] * len(sentence)
    rest = length - len(ids)
    return ids + [0] * rest, positions + [0] * rest, owner + [_NOBODY] * rest


def _averages(pack: Pack, sentences: Sequence[Ids]) -> Floats:
    found = [[spans(len(sentences[number])) for number in numbers] for numbers in pack.columns]
    most = max(_LEAST_SPANS, *(sum(map(len, each)) for each in found))
    averages = np.zeros((len(found), most, pack.length), np.float32)
    for rows, numbers, each in zip(averages, pack.columns, found, strict=True):
        top, row = 0, 0
        for number, ranges in zip(numbers, each, strict=True):
            for first, last in ranges:
                rows[row, top + first : top + last] = 1.0 / (last - first)
                row += 1
            top += len(sentences[number])
    return averages


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX model on the CPU with `threads` threads, deterministic."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
