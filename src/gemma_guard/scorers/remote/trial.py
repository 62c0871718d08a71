"""Whether a live server does with our questions what its documentation says."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from gemma_guard.errors import ScoringError
from gemma_guard.scorer import Check
from gemma_guard.scorers.remote.dialects import Asking, Dialect, GenerativeScoring
from gemma_guard.scorers.shieldgemma.checks import (
    GEMMA_2,
    examination,
    ids_check,
    mass_check,
)
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.tokens import Encoder

Ask = Callable[[Question, Asking, Dialect], Awaitable[Sequence[Reading]]]

_TOLERANCE = 0.02  # an engine adds up in another order when it batches otherwise


async def trial(ask: Ask, encoder: Encoder, asking: Asking, way: Dialect) -> list[Check]:
    """Ids, softmax, label mass: on a harmless and a harmful text, under the shipped policies."""
    questions = examination(encoder)
    straight = [reading for q in questions for reading in await ask(q, asking, way)]
    swapped_asking = replace(asking, yes=asking.no, no=asking.yes)
    checks = [ids_check(encoder.answers)]
    if isinstance(way, GenerativeScoring):
        swapped = [r for q in questions for r in await ask(q, swapped_asking, way)]
        checks.append(_complements(straight, swapped))
        whole = GenerativeScoring(is_softmax=False)
        yes = [_share(r) for q in questions for r in await ask(q, asking, whole)]
        no = [_share(r) for q in questions for r in await ask(q, swapped_asking, whole)]
        checks.append(_quotients(straight, yes, no))
        masses = [min(1.0, one + other) for one, other in zip(yes, no, strict=True)]
    else:
        masses = [reading.mass or 0.0 for reading in straight]
    return [*checks, mass_check(masses)]


def _complements(straight: Sequence[Reading], swapped: Sequence[Reading]) -> Check:
    """Asked about No instead of Yes, it must answer with what is left of 1."""
    off = max(abs(_share(a) + _share(b) - 1) for a, b in zip(straight, swapped, strict=True))
    return Check("labels", off <= _TOLERANCE, f"P(Yes) and P(No) make 1 to {off:.1e}")


def _quotients(straight: Sequence[Reading], yes: Sequence[float], no: Sequence[float]) -> Check:
    """The quotient of both shares of the whole vocabulary must be the softmax over the two."""
    shares = zip(straight, yes, no, strict=True)
    off = max(abs(_share(r) - (y / (y + n) if y + n else 0.5)) for r, y, n in shares)
    return Check("softmax", off <= _TOLERANCE, f"over the two labels, to {off:.1e}")


def _share(reading: Reading) -> float:
    return 0.5 + 0.5 * math.tanh((reading.yes - reading.no) / 2)


async def cuts_silently(ask: Ask, asking: Asking, way: Dialect, most: int) -> Check:
    """Whether a prompt that is too long by one is answered as if its end did not count.

    It is well either way: no such prompt is sent.
    """
    prefix = (2, *(108,) * (most - 1))
    try:
        answers = [(await ask(Question(prefix, ((end,),)), asking, way))[0] for end in GEMMA_2]
    except ScoringError:
        return Check("truncation", is_well=True, detail=f"more than {most} tokens are refused")
    cut = answers[0] == answers[1]
    told = "cut off in silence; none is sent" if cut else "read: it may hold more than it says"
    return Check("truncation", is_well=True, detail=f"a prompt of {most + 1} tokens is {told}")
