"""The generating mode: Yes or No, then why, step by step. A program: JSON in, token ids out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Gemma2ForCausalLM

from gemma_guard.scorers.shieldgemma.serving import end_with_the_parent


def write(
    folder: str, ids: Sequence[int], *, device: str, dtype: str, tokens: int, seconds: float
) -> list[int]:
    """The likeliest token, one after the other."""
    from_pretrained: Any = Gemma2ForCausalLM.from_pretrained
    model: Any = from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    )
    given = torch.tensor([ids], device=device)
    found = model.to(device).generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=tokens,
        max_time=seconds,
        do_sample=False,
        pad_token_id=0,
    )
    return list(found[0, len(ids) :].tolist())


if __name__ == "__main__":
    end_with_the_parent()
    print(json.dumps(write(**json.load(sys.stdin))))  # noqa: T201  its answer
