"""How much each part of the judge counts, per head; and the sums stretched to log odds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from calibrate import platt
from gemma_guard_lite.model import HEADS, Blend
from linear import fitted

ANY = 4
WORDS = 5
SHARE_OF_ANY = 0.5
"""0.25, 0.5 and 1 were tried on the development set; they differ by less than 0.003."""
TONE = 0.2
"""What the word list counts for more in harms of tone: on left-out statements and long texts the
regressions, which see mostly requests, count it too low (0.615 → 0.626 and 0.636 → 0.648)."""
OF_TONE = tuple(head != "dangerous_content" for head in HEADS)
Columns = Callable[[int], list[int]]


def of_input(head: int) -> list[int]:
    """Encoder (this harm, any harm), word list."""
    return [head, ANY, WORDS]


def of_any(_head: int) -> list[int]:
    """Any harm: encoder, word list."""
    return [ANY, WORDS]


def of_answer(head: int) -> list[int]:
    """Input judge on the answer; answer nets (this harm, any harm).

    How bad the prompt is by itself is left out: on every source it made the judgement of the
    answer worse (0.7823 → 0.7794, 0.9503 → 0.9464, 0.9596 → 0.9541, 0.7708 → 0.7672).
    """
    return [head, len(HEADS) + head, len(HEADS) + ANY]


def blend(
    parts: np.ndarray, marks: np.ndarray, weight: np.ndarray, columns: Columns, *, ridge: float
) -> Blend:
    """One non-negative regression per head over its labelled rows; not stretched yet."""
    weights = np.zeros((len(HEADS), parts.shape[1]), np.float32)
    bias = np.zeros(len(HEADS), np.float32)
    for head in range(len(HEADS)):
        known, used = np.flatnonzero(~np.isnan(marks[:, head])), columns(head)
        target = marks[known, head].astype(float)
        weights[head, used], bias[head] = fitted(
            parts[known][:, used], target, weight[known], ridge=ridge
        )
    return Blend(weights, bias, np.ones(len(HEADS), np.float32), np.zeros(len(HEADS), np.float32))


def leaning(heads: Blend, parts: np.ndarray, marks: np.ndarray, weight: np.ndarray) -> Blend:
    """`heads`, each with a share of a regression on any harm at all, and of the word list."""
    every = np.repeat(marks[:, ANY:], len(HEADS), axis=1)
    leaned = blend(parts, every, weight, of_any, ridge=1e-4)
    words = np.zeros_like(heads.weights)
    words[OF_TONE, WORDS] = TONE
    return replace(
        heads,
        weights=heads.weights + SHARE_OF_ANY * leaned.weights + words,
        bias=heads.bias + SHARE_OF_ANY * leaned.bias,
    )


def stretched(made: Blend, raw: np.ndarray, marks: np.ndarray, weight: np.ndarray) -> Blend:
    """`made` with the slope and shift that turn its worst span into log odds."""
    pairs = [platt(raw[:, head], marks[:, head], weight) for head in range(len(HEADS))]
    slope, shift = np.array(pairs, np.float32).T
    return replace(made, slope=slope, shift=shift)


def empty(width: int) -> Blend:
    """A blend that says nothing, until one is fitted."""
    none = np.zeros(len(HEADS), np.float32)
    return Blend(np.zeros((len(HEADS), width), np.float32), none, none, none)
