"""How far the int8 encoder is from MiniLM in floats, on texts drawn anew (1 in 90 was fitted on).

`python nearness.py DATA` prints, for each layer whose states are averaged, the root mean square of
the difference in whole sentences, as a share of how far these spread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from floats import Sentences, Weights, attended, batches, embedded, linear, normed
from gemma_guard_lite.encoder import Encoder
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.tokens import WordPieces
from graph import LAYERS, WIDTH
from parts import MARK, MEANS, minilm, sentences
from table import table
from torch.nn import functional

_SEED = 1


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["GEMMA_GUARD_DATA"])
    pieces = WordPieces(WEIGHTS / "tokenizer.json")
    found = sorted(sentences(table(data / "train").texts(), pieces, seed=_SEED), key=len)
    w = {name: torch.from_numpy(values) for name, values in minilm().items()}
    exact = np.concatenate([means(w, each) for each in batches(found, pieces.vocabulary[MARK])])
    near = np.zeros_like(exact)
    for number, rows in Encoder(WEIGHTS / "encoder.onnx", 1).read(found, lambda: None):
        near[number] = rows[0]
    print(dict(zip(MEANS, distances(near, exact), strict=True)), len(found), "sentences")


def means(w: Weights, each: Sentences) -> np.ndarray:
    """The mean states of whole sentences, layers in a row."""
    state, states = embedded(w, each.ids), []
    for number in range(LAYERS):
        state = layer(w, each, state, f"encoder.layer.{number}")
        states.append(state)
    real = each.real[:, 1:, None]
    kept = [(states[number - 1][:, 1:] * real).sum(1) / real.sum(1) for number in MEANS]
    return torch.cat(kept, 1).numpy()


def layer(w: Weights, each: Sentences, state: torch.Tensor, key: str) -> torch.Tensor:
    """One layer as it was trained, but for what the mark attends to."""
    parts = (linear(w, f"{key}.attention.self.{p}", state) for p in ("query", "key", "value"))
    mixed = linear(w, f"{key}.attention.output.dense", attended(each, *parts))
    state = normed(w, f"{key}.attention.output.LayerNorm", mixed + state)
    bent = functional.gelu(linear(w, f"{key}.intermediate.dense", state))
    return normed(w, f"{key}.output.LayerNorm", linear(w, f"{key}.output.dense", bent) + state)


def distances(near: np.ndarray, exact: np.ndarray) -> list[float]:
    """One figure per layer."""
    shapes: Sequence[slice] = [slice(k * WIDTH, (k + 1) * WIDTH) for k in range(len(MEANS))]
    spread = exact - exact.mean(0)
    return [
        round(float(np.linalg.norm((near - exact)[:, kept]) / np.linalg.norm(spread[:, kept])), 4)
        for kept in shapes
    ]


if __name__ == "__main__":
    main()
