"""What is asked fits what the engines take, and what they answer is read for what it is.

The models below are facts about vLLM 0.33.0 and SGLang 0.5.23, as their sources have them.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from gemma_guard.errors import ConfigError, ScoringFailed
from gemma_guard.scorers.remote.dialects import (
    Asking,
    Completions,
    GenerativeScoring,
    Score,
    dialect,
)
from gemma_guard.scorers.shieldgemma.engine import Question, Reading

ASKING = Asking("shieldgemma", 3553, 1294, salt="pepper")
CANARY = "canary-7f3a"
tokens = st.lists(st.integers(0, 255_999), min_size=1, max_size=9).map(tuple)
questions = st.builds(Question, tokens, st.lists(tokens, min_size=1, max_size=4).map(tuple))
logits = st.floats(-30, 30)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class GenerativeScoringRequest(Strict):
    """vLLM 0.33.0."""

    model: str | None = None
    query: str | list[int]
    items: list[str] | list[list[int]]
    label_token_ids: list[int]
    apply_softmax: bool = True
    item_first: bool = False
    add_special_tokens: bool = True
    priority: int = 0
    request_id: str = ""
    cache_salt: str | None = None


class CompletionRequest(Strict):
    """What vLLM 0.33.0 and OpenAI's interface have in common, and vLLM's salt."""

    model: str
    prompt: list[int] | list[list[int]] | str | list[str]
    max_tokens: int | None = 16
    temperature: float | int | None = None
    logprobs: int | None = None
    cache_salt: str | None = None


class ScoringRequest(Strict):
    """SGLang 0.5.23; what concerns embeddings is left out."""

    query: str | list[int] | None = None
    items: str | list[str] | list[list[int]] | None = None
    label_token_ids: list[int] | list[list[int]] | None = None
    apply_softmax: bool = False
    temperature: float = 1.0
    return_token_logprobs: bool = False
    item_first: bool = False
    return_pooled_hidden_states: bool = False
    score_extraction_token: str | None = None
    model: str = "default"


REQUESTS: list[tuple[Any, type[Strict]]] = [
    (GenerativeScoring(), GenerativeScoringRequest),
    (GenerativeScoring(is_softmax=False), GenerativeScoringRequest),
    (Completions(), CompletionRequest),
    (Score(), ScoringRequest),
]


@pytest.mark.parametrize(("way", "request_model"), REQUESTS)
@given(questions)
def test_every_body_is_a_request_of_its_engine(
    way: Any, request_model: type[Strict], question: Question
) -> None:
    for body in way.bodies(question, ASKING):
        request_model.model_validate_json(json.dumps(body))


@given(questions)
def test_vllm_gets_the_prefix_once_and_all_suffixes_at_once(question: Question) -> None:
    (body,) = GenerativeScoring().bodies(question, ASKING)
    assert (body["query"], body["items"]) == (question.prefix, question.suffixes)
    assert body["label_token_ids"] == [3553, 1294]
    assert body["cache_salt"] == "pepper"


@given(questions)
def test_completions_get_whole_prompts(question: Question) -> None:
    (body,) = Completions().bodies(question, ASKING)
    assert body["prompt"] == [question.prefix + suffix for suffix in question.suffixes]


@given(questions)
def test_sglang_computes_the_prefix_before_the_others_ask_for_it(question: Question) -> None:
    first, *rest = Score().bodies(question, ASKING)
    assert first["items"] == question.suffixes[:1]
    assert [body["items"] for body in rest] == [question.suffixes[1:]] * (
        len(question.suffixes) > 1
    )


def test_no_tenant_means_no_salt() -> None:
    question = Question((2,), ((1,),))
    for way in (GenerativeScoring(), Completions()):
        (body,) = way.bodies(question, Asking("m", 1, 2))
        assert "cache_salt" not in body


def vllm(*scores: float) -> bytes:
    data = [{"index": i, "object": "score", "score": score} for i, score in enumerate(scores)]
    told = {"id": "x", "object": "list", "created": 0, "model": "m", "data": data[::-1]}
    return json.dumps({**told, "usage": {"prompt_tokens": 0, "total_tokens": 0}}).encode()


def completion(*tops: dict[str, float]) -> bytes:
    choices = [
        {
            "index": i,
            "text": "Yes",
            "finish_reason": "length",
            "logprobs": {"tokens": ["Yes"], "token_logprobs": [0.0], "top_logprobs": [top]},
        }
        for i, top in enumerate(tops)
    ]
    return json.dumps({"id": "x", "object": "text_completion", "choices": choices[::-1]}).encode()


def sglang(*rows: tuple[float, float]) -> bytes:
    told = {"scores": [[0.5, 0.5] for _ in rows], "token_logprobs": rows, "object": "scoring"}
    return json.dumps({**told, "model": "m", "usage": None}).encode()


@given(st.lists(st.tuples(logits, logits), min_size=1))
def test_all_three_read_the_same_gap_in_the_same_logits(rows: list[tuple[float, float]]) -> None:
    gaps = [yes - no for yes, no in rows]
    quotients = [1 / (1 + math.exp(-gap)) for gap in gaps]
    logprobs = [(yes - 31, no - 31) for yes, no in rows]

    from_scores = GenerativeScoring().readings([vllm(*quotients)])
    from_tops = Completions().readings([completion(*({"Yes": y, "No": n} for y, n in logprobs))])
    from_labels = Score().readings([sglang(*logprobs[:1]), sglang(*logprobs[1:])])

    for gap, clipped, top, label in zip(gaps, from_scores, from_tops, from_labels, strict=True):
        assert top.yes - top.no == pytest.approx(gap, abs=1e-9)
        assert label.yes - label.no == pytest.approx(gap, abs=1e-9)
        if abs(gap) < 15:
            assert clipped.yes - clipped.no == pytest.approx(gap, abs=1e-6)


def test_a_probability_that_has_come_to_its_end_is_still_a_finite_gap() -> None:
    one, none = GenerativeScoring().readings([vllm(1.0, 0.0)])
    assert one.yes > 30
    assert none.yes < -30


def test_label_mass_is_read_where_it_is_told() -> None:
    half, quarter = math.log(0.5), math.log(0.25)
    assert Score().readings([sglang((half, quarter))])[0].mass == pytest.approx(0.75)
    top = {"Yes": half, "No": quarter, "Maybe": math.log(0.2)}
    assert Completions().readings([completion(top)])[0].mass == pytest.approx(0.75)
    assert GenerativeScoring().readings([vllm(0.5)])[0].mass is None


@given(st.lists(st.floats(-12, 0), min_size=3, max_size=30), st.booleans(), st.integers(2, 20))
def test_the_bound_of_a_missing_label_is_never_below_what_it_stands_for(
    raw: list[float], yes_is_low: bool, most: int
) -> None:
    norm = math.log(sum(map(math.exp, raw)))
    ranked = sorted((x - norm for x in raw), reverse=True)
    most = min(most, len(ranked) - 1)
    labels = ("No", "Yes") if yes_is_low else ("Yes", "No")
    names = [labels[0], *(f"t{i}" for i in range(len(ranked) - 2)), labels[1]]
    top = dict(list(zip(names, ranked, strict=True))[:most])

    (reading,) = Completions().readings([completion(top)])

    bounded = reading.yes if yes_is_low else reading.no
    assert bounded >= ranked[-1] - 1e-9
    assert bounded <= min(top.values()) + 1e-9


def test_a_bound_is_logged_by_the_label_it_stands_for(caplog: pytest.LogCaptureFixture) -> None:
    Completions().readings([completion({"Yes": -0.1, "Maybe": -3.0})])
    assert "No is not among the 2 likeliest tokens: a bound is used" in caplog.text


def test_neither_label_among_the_likeliest_is_no_answer() -> None:
    with pytest.raises(ScoringFailed, match="neither Yes nor No is among the 2 likeliest"):
        Completions().readings([completion({"Maybe": -0.1, "sure": -3.0})])


@pytest.mark.parametrize("way", [GenerativeScoring(), Completions(), Score()])
@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{}",
        f'"{CANARY}"'.encode(),
        json.dumps({"data": [{"index": 0, "score": CANARY}]}).encode(),
        b'{"data": [{"index": 0, "score": 1.5}]}',
        b'{"data": [{"index": 0, "score": NaN}]}',
        b'{"choices": [{"index": 0, "logprobs": null}]}',
        b'{"choices": [{"index": 0, "logprobs": {"top_logprobs": []}}]}',
        b'{"choices": [{"index": 0, "logprobs": {"top_logprobs": [{"Yes": 3.0}]}}]}',
        b'{"scores": [[0.5, 0.5]], "token_logprobs": null}',
        b'{"scores": [[0.5, 0.5]], "token_logprobs": [[-1.0]]}',
    ],
)
def test_any_other_answer_is_refused_and_not_quoted(way: Any, told: bytes) -> None:
    with pytest.raises(ScoringFailed) as failed:
        way.readings([told])
    assert CANARY not in str(failed.value)


def test_an_unknown_dialect_names_the_others() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'vllm'\? use one of: completions, sglang"):
        dialect("vlm")


def test_what_asks_shows_no_salt() -> None:
    assert "pepper" not in repr(ASKING)


def test_readings_are_plain_numbers() -> None:
    assert isinstance(Score().readings([sglang((-1.0, -2.0))])[0], Reading)
