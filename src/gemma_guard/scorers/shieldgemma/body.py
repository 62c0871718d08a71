"""Gemma 2's layers over a pack of questions, up to the states that the answers are read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gemma_guard.scorers.shieldgemma.attention import Attention
from gemma_guard.scorers.shieldgemma.packing import Pack

Angles: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines of the positions of rows, each (rows, 1, width)."""

Recall: TypeAlias = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""For a layer's keys and values of all rows: those of all keys of the pack."""


def answer_states(body: Any, pack: Pack, attend: Attention, recall: Recall) -> Tensor:
    """What each answer is read from, after the final norm: (answers, hidden size).

    `body` is a `Gemma2Model`. Its last layer is computed for the answers alone: of the other rows
    it takes no more than keys and values.
    """
    device = body.embed_tokens.weight.device
    x = body.embed_tokens(torch.tensor(pack.ids, device=device))
    positions = torch.tensor(pack.positions, device=device)
    cos, sin = body.rotary_emb(x[None], positions[None])
    angles = cos[0, :, None], sin[0, :, None]
    answers = torch.tensor(pack.answers, device=device)
    for number, layer in enumerate(body.layers):
        states = layer.input_layernorm(x)
        keys, values = recall(number, *_keys_and_values(layer.self_attn, states, angles))
        if layer is body.layers[-1]:
            x, states = x[answers], states[answers]
            angles = angles[0][answers], angles[1][answers]
        queries = _turned(_heads(layer.self_attn.q_proj(states), layer.self_attn), angles)
        seen = attend(queries, keys, values, window=layer.self_attn.sliding_window)
        x = x + layer.post_attention_layernorm(layer.self_attn.o_proj(seen.flatten(1)))
        x = x + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(x)))
    normed: Tensor = body.norm(x)
    return normed


def _keys_and_values(attention: Any, states: Tensor, angles: Angles) -> tuple[Tensor, Tensor]:
    keys, values = attention.k_proj(states), attention.v_proj(states)
    return _turned(_heads(keys, attention), angles), _heads(values, attention)


def _heads(projected: Tensor, attention: Any) -> Tensor:
    """(rows, heads, width)."""
    return projected.view(len(projected), -1, attention.head_dim)


def _turned(x: Tensor, angles: Angles) -> Tensor:
    """The rotary embedding."""
    cos, sin = angles
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin
