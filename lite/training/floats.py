"""MiniLM in floats: what the int8 encoder is to come near to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from graph import EPSILON, HEADS, WIDTH
from torch.nn import functional

Weights: TypeAlias = Mapping[str, torch.Tensor]
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Sentences:
    """Token ids of some sentences, a mark before each, and where there is none but padding."""

    ids: torch.Tensor
    real: torch.Tensor

    @classmethod
    def of(cls, found: Sequence[Sequence[int]], mark: int) -> Sentences:
        """Padded to the longest."""
        ids = torch.zeros(len(found), 1 + max(map(len, found)), dtype=torch.long)
        real = torch.zeros_like(ids, dtype=torch.bool)
        for row, sentence in enumerate(found):
            ids[row, : 1 + len(sentence)] = torch.tensor([mark, *sentence])
            real[row, : 1 + len(sentence)] = True
        return cls(ids, real)

    def words(self, values: torch.Tensor) -> torch.Tensor:
        """The rows of `values` that belong to words."""
        return values[:, 1:][self.real[:, 1:]]


def batches(sentences: Sequence[Sequence[int]], mark: int) -> list[Sentences]:
    """Sentences of like length together."""
    ordered = sorted(sentences, key=len)
    starts = range(0, len(ordered), _BATCH)
    return [Sentences.of(ordered[start : start + _BATCH], mark) for start in starts]


def embedded(w: Weights, ids: torch.Tensor) -> torch.Tensor:
    """Tokens → states before the first layer."""
    words = w["embeddings.word_embeddings.weight"][ids]
    places = w["embeddings.position_embeddings.weight"][: ids.shape[1]]
    types = w["embeddings.token_type_embeddings.weight"][0]
    return normed(w, "embeddings.LayerNorm", words + places + types)


def normed(w: Weights, key: str, values: torch.Tensor) -> torch.Tensor:
    """A layer norm by its name."""
    weight, bias = w[f"{key}.weight"], w[f"{key}.bias"]
    return functional.layer_norm(values, (WIDTH,), weight, bias, EPSILON)


def linear(w: Weights, key: str, values: torch.Tensor) -> torch.Tensor:
    """A product by its name."""
    return functional.linear(values, w[f"{key}.weight"], w[f"{key}.bias"])


def attended(
    sentences: Sentences, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Words attend to their sentence and its mark, the mark to itself alone."""
    rows, length, _ = query.shape
    heads = (each.view(rows, length, HEADS, -1).transpose(1, 2) for each in (query, key, value))
    seen = sentences.real[:, None, None, :].expand(rows, 1, length, length).clone()
    seen[:, :, 0, 1:] = False
    mixed = functional.scaled_dot_product_attention(*heads, attn_mask=seen)
    return mixed.transpose(1, 2).reshape(rows, length, -1)
