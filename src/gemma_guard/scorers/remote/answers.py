"""What servers answer, as far as it is read here; anything else is refused without quoting it."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError

from gemma_guard.errors import ScoringFailed

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
LogProbability = Annotated[float, Field(le=1e-6, allow_inf_nan=False)]
A = TypeVar("A", bound=BaseModel)


class Item(BaseModel):
    """One of `Scores`."""

    index: int
    score: Probability


class Scores(BaseModel):
    """vLLM 0.33.0: `/generative_scoring`."""

    data: list[Item]


class Logprobs(BaseModel):
    """The likeliest tokens at each position, as text."""

    top_logprobs: Annotated[list[dict[str, LogProbability]], Field(min_length=1)]


class Choice(BaseModel):
    """One of `Completion`."""

    index: int
    logprobs: Logprobs


class Completion(BaseModel):
    """OpenAI: `/v1/completions`."""

    choices: list[Choice]


class Written(BaseModel):
    """One of `Writing`."""

    text: str


class Writing(BaseModel):
    """OpenAI: `/v1/completions`, asked for words."""

    choices: Annotated[list[Written], Field(min_length=1)]


class LabelScores(BaseModel):
    """SGLang 0.5.23: `/v1/score` with `return_token_logprobs`."""

    token_logprobs: list[tuple[LogProbability, LogProbability]]


class Model(BaseModel):
    """One of `Models`. Not every server says how much the model holds."""

    id: str
    max_model_len: int | None = None


class Models(BaseModel):
    """OpenAI: `/v1/models`."""

    data: list[Model]


def read(kind: type[A], body: bytes) -> A:
    """`body` as a `kind`; `ScoringFailed` says which of its parts is wrong."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "its answer"
        raise ScoringFailed(
            f"the server's {place} is not what was asked: {first['type']}"
        ) from None
