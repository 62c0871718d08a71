"""How servers are asked for the probabilities of `Yes` and `No`: bodies out, readings back.

None of the three has been run against a live server yet: requests and answers follow the sources
of vLLM 0.33.0 and SGLang 0.5.23. `gemma-guard doctor --remote URL` tries one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from gemma_guard.errors import ConfigError, ScoringFailed, unknown
from gemma_guard.records import logger
from gemma_guard.scorers.remote import answers
from gemma_guard.scorers.shieldgemma.engine import Question, Reading

Body: TypeAlias = dict[str, Any]
_TINY = 1e-16
_TOP = 20


@dataclass(frozen=True, slots=True)
class Asking:
    """What every question has in common. `salt` keeps what servers cache apart."""

    model: str
    yes: int
    no: int
    salt: str = field(default="", repr=False)


class Dialect(Protocol):
    """One way of asking."""

    @property
    def path(self) -> str:
        """Where to post."""

    def bodies(self, question: Question, asking: Asking) -> list[Body]:
        """What to post, one after the other."""

    def readings(self, told: Sequence[bytes]) -> list[Reading]:
        """One reading per suffix, from the answers to all bodies, in order.

        Raises `ScoringFailed` where they are not what this dialect gives.
        """


@dataclass(frozen=True, slots=True)
class GenerativeScoring:
    """vLLM's `/generative_scoring`: one request a question, its prefix computed once.

    It gives the quotient of the two probabilities and no label mass. What is too long it cuts off
    at the end, where the question stands, and says nothing: nothing too long may be sent.
    """

    path: str = "/generative_scoring"
    is_softmax: bool = True

    def bodies(self, question: Question, asking: Asking) -> list[Body]:
        """One body. `is_softmax` off asks for P(Yes) over the whole vocabulary."""
        body = {
            "model": asking.model,
            "query": question.prefix,
            "items": question.suffixes,
            "label_token_ids": [asking.yes, asking.no],
            "apply_softmax": self.is_softmax,
            "item_first": False,
        }
        return [_salted(body, asking)]

    def readings(self, told: Sequence[bytes]) -> list[Reading]:
        """From one answer."""
        (found,) = told
        data = sorted(answers.read(answers.Scores, found).data, key=lambda item: item.index)
        return [Reading(_logit(item.score), 0.0) for item in data]


@dataclass(frozen=True, slots=True)
class Completions:
    """OpenAI's `/v1/completions` with logprobs, one token long: any server that takes token ids.

    Of a label that is not among the `top` likeliest tokens only a bound is known: it is no likelier
    than the last of those, nor than all that they leave. The bound stands for it, and is logged.
    """

    path: str = "/v1/completions"
    top: int = _TOP

    def bodies(self, question: Question, asking: Asking) -> list[Body]:
        """One body with a prompt for each suffix."""
        body = {
            "model": asking.model,
            "prompt": [(*question.prefix, *suffix) for suffix in question.suffixes],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": self.top,
        }
        return [_salted(body, asking)]

    def readings(self, told: Sequence[bytes]) -> list[Reading]:
        """From one answer."""
        (found,) = told
        choices = sorted(answers.read(answers.Completion, found).choices, key=lambda c: c.index)
        return [_of_top(choice.logprobs.top_logprobs[0]) for choice in choices]


@dataclass(frozen=True, slots=True)
class Score:
    """SGLang's `/v1/score`.

    By its source, questions of one batch share nothing unless what they share has been computed
    before: the first one goes ahead. It has no salt: what it caches, all tenants share.
    """

    path: str = "/v1/score"

    def bodies(self, question: Question, asking: Asking) -> list[Body]:
        """The first suffix, then all others."""
        first, rest = question.suffixes[:1], question.suffixes[1:]
        return [self._body(question, some, asking) for some in (first, rest) if some]

    def _body(self, question: Question, suffixes: Sequence[Any], asking: Asking) -> Body:
        return {
            "model": asking.model,
            "query": question.prefix,
            "items": suffixes,
            "label_token_ids": [asking.yes, asking.no],
            "apply_softmax": True,
            "item_first": False,
            "return_token_logprobs": True,
        }

    def readings(self, told: Sequence[bytes]) -> list[Reading]:
        """From one answer to each body."""
        return [
            Reading(yes, no, min(1.0, math.exp(yes) + math.exp(no)))
            for found in told
            for yes, no in answers.read(answers.LabelScores, found).token_logprobs
        ]


DIALECTS: dict[str, Dialect] = {
    "vllm": GenerativeScoring(),
    "completions": Completions(),
    "sglang": Score(),
}


def dialect(name: str) -> Dialect:
    """The dialect called `name`; `ConfigError` lists the others."""
    if name not in DIALECTS:
        raise ConfigError(unknown("dialect", name, DIALECTS))
    return DIALECTS[name]


def _salted(body: Body, asking: Asking) -> Body:
    return {**body, "cache_salt": asking.salt} if asking.salt else body


def _logit(probability: float) -> float:
    """Its log odds, which a float that has come to 0 or 1 no longer tells."""
    clipped = min(max(probability, _TINY), 1 - _TINY)
    return math.log(clipped) - math.log1p(-clipped)


def _of_top(top: Mapping[str, float]) -> Reading:
    """The two labels among the likeliest tokens."""
    yes, no = top.get("Yes"), top.get("No")
    if yes is None and no is None:
        raise ScoringFailed(f"neither Yes nor No is among the {len(top)} likeliest tokens")
    if yes is None or no is None:
        missing = "Yes" if yes is None else "No"
        logger.warning(
            "%s is not among the %s likeliest tokens: a bound is used", missing, len(top)
        )
    left = 1 - sum(map(math.exp, top.values()))
    most = min(*top.values(), math.log(max(left, _TINY)))
    mass = sum(math.exp(found) for found in (yes, no) if found is not None)
    return Reading(most if yes is None else yes, most if no is None else no, min(1.0, mass))
