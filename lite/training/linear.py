"""Linear models: the hashed n-grams, the blend of the parts, the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gemma_guard_lite.lexicon import Piece
from gemma_guard_lite.ngrams import BITS, char_slots, word_slots, words_of
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

RIDGE = 2e-5
ITERATIONS = 60
_TOP = 127


def matrix(pieces: Sequence[Piece]) -> csr_matrix:
    """One row per piece: the hashed n-grams of its texts, characters before words."""
    slots, values, ends = [], [], [0]
    for piece in pieces:
        chars = char_slots(piece)[0]
        words = [slot for text in piece for slot in word_slots(words_of(text))]
        both = chars[chars < 1 << BITS], np.array(words, np.int64)
        for found, offset in zip(both, (0, 1 << BITS), strict=True):
            slots.append(found + offset)
            values.append(np.full(len(found), max(1, len(found)) ** -0.5, np.float32))
        ends.append(ends[-1] + len(slots[-1]) + len(slots[-2]))
    shape = (len(pieces), 2 << BITS)
    made = csr_matrix((np.concatenate(values), np.concatenate(slots), np.array(ends)), shape=shape)
    made.sum_duplicates()
    return made


def fitted(
    inputs: csr_matrix | np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    *,
    ridge: float = RIDGE,
    positive: bool = False,
) -> tuple[np.ndarray, float]:
    """Weighted logistic regression with soft labels: (weights, bias)."""
    turned, width = inputs.T.tocsr() if hasattr(inputs, "tocsr") else inputs.T, inputs.shape[1]
    share = weight / weight.sum()

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        margin = inputs @ point[:width] + point[width]
        error = share * (1 / (1 + np.exp(-margin)) - target)
        slope = np.append(turned @ error + ridge * point[:width], error.sum())
        surprise = share @ (np.logaddexp(0, margin) - target * margin)
        return surprise + ridge / 2 * point[:width] @ point[:width], slope

    bounds = [(0, None)] * width + [(None, None)] if positive else None
    start = np.zeros(width + 1)
    options = {"maxiter": ITERATIONS if not positive else 500}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return found[:width].astype(np.float32), float(found[width])


def ngram_weights(
    inputs: csr_matrix, labels: np.ndarray, weights: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One regression per head over its labelled rows: (one column per head, biases)."""
    tables, biases = [], []
    for head in range(labels.shape[1]):
        known = rows[~np.isnan(labels[rows, head])]
        table, bias = fitted(inputs[known], labels[known, head].astype(float), weights[known])
        tables.append(table)
        biases.append(bias)
    return np.stack(tables, 1), np.array(biases, np.float32)


def save_ngrams(tables: np.ndarray, biases: np.ndarray, path: Path) -> None:
    """The tables in int8, one scale per head."""
    scale = np.abs(tables).max(0) / _TOP
    int8 = np.round(tables / scale).astype(np.int8)
    half = 1 << BITS
    np.savez_compressed(
        path, chars=int8[:half], words=int8[half:], scale=scale.astype(np.float32), bias=biases
    )
