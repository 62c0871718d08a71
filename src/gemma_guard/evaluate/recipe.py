"""ShieldGemma by the published recipe: one policy, one forward pass, two logits. Slow and plain."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_guard.errors import UsageError
from gemma_guard.policy import Policy
from gemma_guard.prompt import Template
from gemma_guard.verdict import Stage


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model as transformers loads it. `answers` are the ids of Yes and No."""

    model: Any
    tokenizer: Any
    answers: tuple[int, int]

    def violation(
        self, template: Template, text: str, policy: Policy, stage: Stage, prompt: str | None
    ) -> float:
        """P(Yes) against No at the last position; `text` must hold no control token."""
        import torch  # noqa: PLC0415  seconds to import

        guideline = policy.guideline.at(stage) if policy.guideline else ""
        rendered = template.render(stage, guideline, text, prompt)
        ids = self.tokenizer.encode(rendered, add_special_tokens=False).ids
        with torch.inference_mode():
            read = torch.tensor([ids], device=self.model.device)
            told = self.model(read, logits_to_keep=1).logits[0, -1]  # all would be gigabytes
        return float(torch.softmax(told[list(self.answers)].float(), dim=0)[0])


def load(folder: Path, *, dtype: str, device: str) -> Recipe:
    """The model in `folder`, safetensors only; raises `UsageError` where it cannot be."""
    import torch  # noqa: PLC0415  seconds to import
    from tokenizers import Tokenizer  # noqa: PLC0415  comes with transformers
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  seconds to import

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch {torch.__version__} sees no such device here")
    try:
        tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        placed = model.to(device).eval()
    except Exception as error:  # safetensors, tokenizers, transformers and torch have their own
        raise UsageError(f"{folder}: cannot be loaded as {dtype} on {device}: {error}") from error
    return Recipe(placed, tokenizer, (tokenizer.token_to_id("Yes"), tokenizer.token_to_id("No")))


def let_go() -> None:
    """Give back what models that nobody holds any more had: a process of its own needs it next."""
    import torch  # noqa: PLC0415  seconds to import

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
