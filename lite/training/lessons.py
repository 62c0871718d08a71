"""Texts as word pieces: as the encoder learns from them, and as it is examined on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gemma_guard_lite.lexicon import Piece
from gemma_guard_lite.reader import Reader
from gemma_guard_lite.windows import LONGEST as LONGEST_UNIT
from gemma_guard_lite.windows import WHOLE
from tuning import EMPTY, Units

LONGEST = 1_600
"""Characters of a text used in training: two windows or so."""
_WHOLE = 80
_SENTENCES = 5
_SENTENCE = 64


def lessons(reader: Reader, texts: Sequence[str], *, seed: int = 0) -> list[Units]:
    """Each text in one piece or, if it is long, as often by its sentences; both of them cut."""
    coin = np.random.default_rng(seed)
    return [_lesson(reader, text, whole=coin.random() < 1 / 2) for text in texts]


def _lesson(reader: Reader, text: str, *, whole: bool) -> Units:
    _, tokens, planned = reader.planned(text[:LONGEST])
    if whole or len(tokens.ids) <= WHOLE:
        return [tokens.ids[:_WHOLE] or EMPTY]
    return [tokens.ids[start : min(end, start + _SENTENCE)] for start, end in planned[:_SENTENCES]]


def exams(reader: Reader, texts: Sequence[str]) -> list[Units]:
    """Each text as the judge reads it."""
    return [_exam(reader, text) for text in texts]


def _exam(reader: Reader, text: str) -> Units:
    _, tokens, planned = reader.planned(text[:LONGEST])
    return [tokens.ids[start : min(end, start + LONGEST_UNIT)] or EMPTY for start, end in planned]


def pieces(reader: Reader, texts: Sequence[str]) -> list[Piece]:
    """Each text as n-grams and word list read it: its sentences, side by side."""
    return [_piece(reader, text) for text in texts]


def _piece(reader: Reader, text: str) -> Piece:
    judged, tokens, planned = reader.planned(text[:LONGEST])
    whole = (0, len(tokens.ids))
    apart = [unit for unit in planned if unit != whole] or planned
    inside = [tokens.offsets[start:end] for start, end in apart]
    return tuple(judged.text[each[0][0] : each[-1][1]] if each else "" for each in inside)
