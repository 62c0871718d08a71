"""ShieldGemma by the published recipe: one policy, one forward pass, two logits. Slow and plain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_guard.policy import Policy
from gemma_guard.prompt import Template
from gemma_guard.verdict import Stage


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model as transformers loads it. `answers` are the ids of Yes and No."""

    model: Any
    tokenizer: Any
    template: Template
    answers: tuple[int, int]

    def violation(self, text: str, policy: Policy, stage: Stage, prompt: str | None) -> float:
        """P(Yes) against No at the last position; `text` must hold no control token."""
        import torch  # noqa: PLC0415  seconds to import

        guideline = policy.guideline.at(stage) if policy.guideline else ""
        rendered = self.template.render(stage, guideline, text, prompt)
        ids = self.tokenizer.encode(rendered, add_special_tokens=False).ids
        with torch.inference_mode():
            told = self.model(torch.tensor([ids], device=self.model.device)).logits[0, -1]
        return float(torch.softmax(told[list(self.answers)].float(), dim=0)[0])


def load(folder: Path, template: Template, *, dtype: str, device: str) -> Recipe:
    """The model in `folder`, safetensors only."""
    import torch  # noqa: PLC0415  seconds to import
    from tokenizers import Tokenizer  # noqa: PLC0415  comes with transformers
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  seconds to import

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=getattr(torch, dtype),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    answers = (tokenizer.token_to_id("Yes"), tokenizer.token_to_id("No"))
    return Recipe(model.to(device).eval(), tokenizer, template, answers)
