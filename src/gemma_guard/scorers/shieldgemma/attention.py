"""Attention over a pack: block by block on a CPU, one kernel with a block mask on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from sys import maxsize
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from gemma_guard.scorers.shieldgemma.packing import Block, Pack, answer_blocks, blocks, places


class Attention(Protocol):
    """What queries take from the keys that they see."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None) -> Tensor:
        """For queries (rows, heads, width), keys and values (keys, groups, width): as `q`.

        The queries are all rows of a pack, or only its answers. `window` None: no sliding window.
        """


@dataclass(frozen=True, slots=True)
class Blockwise:
    """A few rows at a time, so that their scores stay in the cache of a CPU core.

    Scores lie within the softcap and their exponentials in the range of a float, so that no maximum
    has to be found first: what a row takes from several blocks is simply added up.
    """

    pack: Pack
    scaling: float
    softcap: float
    height: int = 128
    _planned: dict[tuple[int | None, bool], Sequence[Block]] = field(default_factory=dict)
    _masks: dict[tuple[int, int, int, int | None], Tensor] = field(default_factory=dict)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None) -> Tensor:
        """Softmax of capped scores, times values; the sums are float32."""
        rows, _, width = q.shape
        groups = k.shape[1]
        queries = q.view(rows, groups, -1, width).permute(1, 2, 0, 3)
        taken = torch.zeros_like(queries, dtype=torch.float32)
        weight = torch.zeros_like(queries[..., :1], dtype=torch.float32)
        for block in self._blocks(rows, window):
            own, seen = slice(block.row, block.row_end), slice(block.key, block.key_end)
            asked = queries[:, :, own].reshape(groups, -1, width)
            scores = self._weights(asked @ k[seen].permute(1, 2, 0), block, window)
            weight[:, :, own] += scores.sum(-1, keepdim=True).view_as(weight[:, :, own])
            taken[:, :, own] += (scores.to(v.dtype) @ v[seen].transpose(0, 1)).view_as(
                taken[:, :, own]
            )
        return taken.div_(weight).permute(2, 0, 1, 3).reshape(q.shape).to(q.dtype)

    def _weights(self, products: Tensor, block: Block, window: int | None) -> Tensor:
        """exp(capped score), 0 where a row does not see a key; (groups, heads * rows, keys)."""
        scores = products.float()
        scores.mul_(self.scaling / self.softcap).tanh_().mul_(self.softcap).exp_()
        if block.shift is not None:
            rows, keys = block.row_end - block.row, block.key_end - block.key
            scores.view(len(scores), -1, rows, keys).mul_(self._mask(rows, keys, block, window))
        return scores

    def _blocks(self, rows: int, window: int | None) -> Sequence[Block]:
        name = window, rows == len(self.pack.ids)
        if name not in self._planned:
            all_rows = blocks(self.pack.trees, window=window, height=self.height)
            answers = answer_blocks(self.pack.trees, window=window)
            self._planned[name] = tuple(all_rows if name[1] else answers)
        return self._planned[name]

    def _mask(self, rows: int, keys: int, block: Block, window: int | None) -> Tensor:
        name = rows, keys, block.shift or 0, window
        if name not in self._masks:
            ago = name[2] + torch.arange(rows)[:, None] - torch.arange(keys)
            self._masks[name] = ((ago >= 0) & (ago < (window or maxsize))).float()
        return self._masks[name]


@dataclass(frozen=True, slots=True)
class Flex:
    """One kernel over the whole pack, which skips what no row sees.

    Compiled for a GPU; on a CPU it is the same arithmetic, without the speed.
    """

    pack: Pack
    scaling: float
    softcap: float
    _masks: dict[tuple[int | None, int], BlockMask] = field(default_factory=dict)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None) -> Tensor:
        """Softmax of capped scores, times values, of what the block mask leaves."""
        name = window, len(q)
        if name not in self._masks:
            self._masks[name] = _block_mask(self.pack, *name, device=q.device)
        attend = _compiled() if q.is_cuda else flex_attention
        found: Tensor = attend(
            *(x.transpose(0, 1)[None] for x in (q, k, v)),
            score_mod=self._capped,
            block_mask=self._masks[name],
            scale=self.scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return found[0].transpose(0, 1).contiguous()

    def _capped(self, score: Tensor, *_place: Tensor) -> Tensor:
        return torch.tanh(score / self.softcap) * self.softcap


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def _block_mask(pack: Pack, window: int | None, rows: int, *, device: torch.device) -> BlockMask:
    """For all rows of a pack, or for its answers."""
    table = [(p.tree, p.branch, p.position, p.row) for p in places(pack)]
    tree, branch, position, row_of = torch.tensor(table, device=device).T
    key_of = torch.nonzero(row_of >= 0).flatten()
    if rows < len(key_of):
        key_of = key_of[torch.tensor(pack.answers, device=device)]

    def sees(_batch: Tensor, _head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        at = key_of[row]
        is_kin = (tree[at] == tree[key]) & ((branch[key] == 0) | (branch[key] == branch[at]))
        ago = position[at] - position[key]
        return cast("Tensor", is_kin & (ago >= 0) & (ago < (window or maxsize)))

    return create_block_mask(sees, None, None, rows, len(table), device=device)
