"""What the shipped reader sees of each text, computed once: features and pieces per span."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gemma_guard_lite.reader import Reader
from gemma_guard_lite.words import Piece, WordList

LONGEST = 1_600
"""Characters of a text used in training: two windows or so."""


@dataclass(frozen=True, slots=True)
class Features:
    """Spans of many texts: `starts[i]:starts[i + 1]` are those of the text at `index[text]`.

    A piece is what its span reads: one text, or the sentences that count as one.
    """

    index: dict[str, int]
    starts: np.ndarray
    values: np.ndarray
    pieces: list[Piece]

    def ranges(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """First and last span of each text."""
        rows = np.array([self.index[text] for text in texts])
        return self.starts[rows], self.starts[rows + 1]

    @classmethod
    def load(cls, folder: Path) -> Features:
        """As `compute` left them."""
        told = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        index = {text: row for row, text in enumerate(told["texts"])}
        pieces = [tuple(piece) for piece in told["pieces"]]
        arrays = np.load(folder / "features.npz", allow_pickle=False)
        return cls(index, arrays["starts"], arrays["values"].astype(np.float32), pieces)


def compute(texts: list[str], weights: Path, folder: Path) -> None:
    """Read every text with the int8 encoder, on one thread."""
    listed = WordList.load(weights / "words.npz").weights.keys()
    reader = Reader(weights, listed=listed)
    starts, values, pieces, began = [0], [], [], time.monotonic()
    for number, text in enumerate(texts):
        reading = reader.read(text[:LONGEST])
        values.append(reading.features.astype(np.float16))
        pieces.extend(reading.pieces)
        starts.append(starts[-1] + len(reading.pieces))
        if number % 5_000 == 0:
            print(f"{number}/{len(texts)} texts, {time.monotonic() - began:.0f} s", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "features.npz", starts=np.array(starts), values=np.concatenate(values))
    told = json.dumps({"texts": texts, "pieces": pieces})
    (folder / "features.json").write_text(told, encoding="utf-8")
