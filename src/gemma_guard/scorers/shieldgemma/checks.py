"""What can be found out about a ShieldGemma, wherever it runs, by asking it."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_guard.health import HARMFUL, HARMLESS
from gemma_guard.packs import default
from gemma_guard.scorer import Check, Probe
from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.scorers.shieldgemma.tokens import Encoder

GEMMA_2 = (3553, 1294)
"""The ids of `Yes` and `No` in Gemma 2's tokenizer."""

_LEAST_MASS = 0.5


def examination(encoder: Encoder) -> list[Question]:
    """A harmless and a harmful text under the shipped policies."""
    probes = [Probe(text, default().policies) for text in (HARMLESS, HARMFUL)]
    return [question for probe in probes for _, question in encoder.questions(probe)]


def ids_check(answers: tuple[int, int]) -> Check:
    """Whether the labels have the ids they have in Gemma 2."""
    told = f"Yes {answers[0]}, No {answers[1]}; Gemma 2's are {GEMMA_2[0]}, {GEMMA_2[1]}"
    return Check("token ids", answers == GEMMA_2, told)


def mass_check(masses: Sequence[float]) -> Check:
    """Whether the model wants to answer with one of the labels at all."""
    least = min(masses)
    detail = f"P(Yes) + P(No) is {least:.3f} or more"
    if least < _LEAST_MASS:
        detail = f"P(Yes) + P(No) is only {least:.3f}: is this ShieldGemma, and its template?"
    return Check("label mass", least >= _LEAST_MASS, detail)
