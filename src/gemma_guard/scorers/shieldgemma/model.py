"""ShieldGemma on one device: packs of questions in, the logits of two rows of the head out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma2ForCausalLM

from gemma_guard.errors import ConfigError
from gemma_guard.scorers.shieldgemma.attention import Attention, Blockwise, Flex
from gemma_guard.scorers.shieldgemma.body import answer_states
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.memory import PrefixCache, Step
from gemma_guard.scorers.shieldgemma.packing import STEP_TOKENS, Pack, pack, steps


class Gemma:
    """A loaded model; not for several threads at once.

    `step_tokens` is the most that one forward pass computes of several questions, `stream_bytes`
    what may be kept of streams. `tokens` counts what was computed.
    """

    def __init__(
        self,
        model: Gemma2ForCausalLM,
        *,
        answers: tuple[int, int],
        step_tokens: int | None = None,
        mass: bool = False,
        stream_bytes: int = 1 << 29,
    ) -> None:
        config: Any = model.config
        self._body: Any = model.model
        self._head = model.lm_head.weight
        self._rows = self._head[list(answers)].float()
        self._cap = float(config.final_logit_softcapping)
        self._scaling = float(config.query_pre_attn_scalar) ** -0.5
        self._attention_cap = float(config.attn_logit_softcapping)
        self._step_tokens = step_tokens or STEP_TOKENS[self._head.device.type]
        self._mass = mass
        self._streams = PrefixCache(stream_bytes)
        self.tokens = 0

    @torch.inference_mode()
    def read(self, questions: Sequence[Question], /) -> list[tuple[Reading, ...]]:
        """One reading per suffix of each question, in order."""
        readings: list[tuple[Reading, ...]] = []
        try:
            for step in steps([question.tokens for question in questions], self._step_tokens):
                readings += self._read([questions[place] for place in step])
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            raise MemoryError("the device has no memory left for this many tokens") from None
        return readings

    def _read(self, questions: Sequence[Question]) -> list[tuple[Reading, ...]]:
        step = Step.of(questions, self._streams)
        packed = pack(questions, step.known)
        recall = partial(step.recall, packed.trees)
        states = answer_states(self._body, packed, self._attend(packed), recall)
        self.tokens += len(packed.ids)
        step.keep_in(self._streams)
        told = iter(self._told(states.float()))
        return [tuple(next(told) for _ in question.suffixes) for question in questions]

    def _told(self, states: Tensor) -> list[Reading]:
        """Each logit is capped before anyone subtracts: the cap is part of the score."""
        logits = self._capped(states @ self._rows.T).tolist()
        masses = self._masses(states).tolist() if self._mass else [None] * len(logits)
        return [Reading(yes, no, mass) for (yes, no), mass in zip(logits, masses, strict=True)]

    def _masses(self, states: Tensor) -> Tensor:
        """P(Yes) + P(No) over the whole vocabulary."""
        everything = self._capped(states @ self._head.float().T).logsumexp(-1)
        return (self._capped(states @ self._rows.T).logsumexp(-1) - everything).exp()

    def _capped(self, logits: Tensor) -> Tensor:
        return (logits / self._cap).tanh() * self._cap

    def _attend(self, packed: Pack) -> Attention:
        kind = Flex if self._head.device.type == "cuda" else Blockwise
        return kind(packed, scaling=self._scaling, softcap=self._attention_cap)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """On a CPU, only the message tells."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def load(
    folder: str,
    *,
    answers: Sequence[int],
    device: str = "cpu",
    dtype: str = "float32",
    **options: Any,
) -> Gemma:
    """The model in `folder`, on `device`; raises `ConfigError` where it is no whole Gemma 2.

    `answers` are the ids of `Yes` and `No`, `options` those of `Gemma`.
    """
    yes, no = answers
    model = _checked(Path(folder), dtype)
    return Gemma(model.to(device).eval(), answers=(yes, no), **options)


def _checked(folder: Path, dtype: str) -> Any:
    from_pretrained: Any = Gemma2ForCausalLM.from_pretrained
    try:
        model, found = from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, transformers and torch each have their own
        raise ConfigError(f"{folder.name}: its weights cannot be read: {error}") from error
    if missing := sorted(found["missing_keys"]):  # they would be made up at random
        raise ConfigError(f"{folder.name}: weights are missing, {missing[0]} among them")
    if not (model.config.attn_logit_softcapping and model.config.final_logit_softcapping):
        raise ConfigError(f"{folder.name}: config.json has no softcaps; ShieldGemma has two")
    return model
