"""Weights to whole steps, each rounding made good by the weights not rounded yet.

GPTQ: Frantar, Ashkboos, Hoefler and Alistarh, arXiv 2210.17323.
"""

from __future__ import annotations

import torch

HALF_RANGE = 63
"""Seven bits: products of eight-bit weights overflow on processors without VNNI."""
_DAMPING = 0.01
_BLOCK = 128


def steps_of(weight: torch.Tensor) -> torch.Tensor:
    """One step per row: the largest weight is the last whole number."""
    return weight.abs().amax(1).clamp(min=1e-8) / HALF_RANGE


def rounded(weight: torch.Tensor, steps: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """Whole numbers of `steps` that give nearly what `weight` [out, in] gives.

    `gram` [in, in] is the sum of outer products of inputs, in float64.
    """
    left, upper = weight.clone(), _upper(gram)
    whole = torch.zeros_like(left)
    for start in range(0, len(gram), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(gram)))
        errors = _round_block(left, steps, upper, block, whole)
        left[:, block.stop :] -= errors @ upper[block, block.stop :]
    return whole


def _upper(gram: torch.Tensor) -> torch.Tensor:
    """The Cholesky factor of the inverse: how an error in one weight is shared by those after."""
    damped = gram + _DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)


def _round_block(
    left: torch.Tensor, steps: torch.Tensor, upper: torch.Tensor, block: slice, whole: torch.Tensor
) -> torch.Tensor:
    """Round the columns of a block in `whole`; the errors that columns after it must make good."""
    errors = torch.zeros_like(left[:, block])
    for column in range(block.start, block.stop):
        whole[:, column] = (left[:, column] / steps).round().clamp(-HALF_RANGE, HALF_RANGE)
        error = (left[:, column] - whole[:, column] * steps) / upper[column, column]
        left[:, column : block.stop] -= error[:, None] * upper[column, column : block.stop]
        errors[:, column - block.start] = error
    return errors
