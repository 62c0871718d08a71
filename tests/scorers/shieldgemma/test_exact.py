"""The same scores as the published recipe, whatever a text is packed with."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemma_guard.policy import Policy
from gemma_guard.prompt import TEMPLATES
from gemma_guard.scorer import Probe
from gemma_guard.scorers.shieldgemma import attention, model, packing
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.model import Gemma
from gemma_guard.scorers.shieldgemma.scores import score
from gemma_guard.scorers.shieldgemma.tokens import Encoder, tokenizer_for_text
from gemma_guard.verdict import Stage

P, MARGIN = 1e-4, 1e-3
Recipe = Callable[[Any, Question, Sequence[int]], list[tuple[float, float]]]
Models = Callable[[int], Any]

ANSWERS = (200, 300)


def errors(
    policy: Policy,
    found: Sequence[Sequence[Reading]],
    wanted: Sequence[Sequence[tuple[float, float]]],
) -> tuple[float, float]:
    """The worst |P - P of the recipe| and |margin - margin of the recipe|."""
    scores = [score(policy, reading) for row in found for reading in row]
    pairs = list(zip(scores, (each for row in wanted for each in row), strict=True))
    assert pairs
    return (
        max(abs((s.raw or 0.0) - p) for s, (p, _) in pairs),
        max(abs((s.margin or 0.0) - margin) for s, (_, margin) in pairs),
    )


def drawn(
    seed: int, shapes: Sequence[tuple[int, Sequence[int]]], vocabulary: int
) -> list[Question]:
    pick = random.Random(seed).choices  # noqa: S311  any ids will do
    ids = range(110, vocabulary)
    return [
        Question((2, *pick(ids, k=prefix)), tuple(tuple(pick(ids, k=n)) for n in suffixes))
        for prefix, suffixes in shapes
    ]


SHAPES = st.lists(
    st.tuples(st.integers(1, 90), st.lists(st.integers(1, 40), min_size=1, max_size=5)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25)
@given(
    kind=st.integers(0, 2),
    seed=st.integers(0, 999),
    shapes=SHAPES,
    step=st.sampled_from([1, 100, 400, 10_000]),
)
def test_any_batch_scores_as_each_prompt_alone(
    kind: int,
    seed: int,
    shapes: list[tuple[int, list[int]]],
    step: int,
    make_model: Models,
    recipe: Recipe,
    policies: tuple[Policy, ...],
) -> None:
    judge = make_model(kind)
    questions = drawn(seed, shapes, judge.config.vocab_size)
    found = Gemma(judge, answers=ANSWERS, step_tokens=step).read(questions)
    off = errors(policies[0], found, [recipe(judge, q, ANSWERS) for q in questions])
    assert off[0] <= P
    assert off[1] <= MARGIN


@settings(max_examples=4)
@given(
    texts=st.lists(st.text(max_size=60), min_size=1, max_size=2),
    chosen=st.permutations(range(4)),
    count=st.integers(1, 4),
    name=st.sampled_from(["hf-chat", "notebook"]),
    stage=st.sampled_from(Stage),
)
def test_texts_score_as_the_recipe_scores_their_prompts(
    texts: list[str],
    chosen: list[int],
    count: int,
    name: str,
    stage: Stage,
    make_model: Models,
    recipe: Recipe,
    policies: tuple[Policy, ...],
    small_tokenizer: Path,
) -> None:
    judge = make_model(0)
    encoder = Encoder(tokenizer_for_text(small_tokenizer), TEMPLATES[name])
    asked = tuple(policies[i] for i in chosen[:count])
    probes = [Probe(text, asked, stage, prompt="Why?") for text in texts]
    questions = [q for probe in probes for _, q in encoder.questions(probe)]
    found = Gemma(judge, answers=encoder.answers).read(questions)
    off = errors(asked[0], found, [recipe(judge, q, encoder.answers) for q in questions])
    assert off[0] <= P
    assert off[1] <= MARGIN


QUESTIONS = drawn(3, [(60, (20, 9, 31)), (33, (12, 40)), (90, (25,)), (48, (9,) * 8)], 500)


def test_the_test_models_spread_their_logits(make_model: Models) -> None:
    for kind in range(3):
        judge = make_model(kind)
        with torch.inference_mode():
            logits = judge(torch.tensor([QUESTIONS[0].prefix])).logits
        assert logits.max() > 20
        assert logits.min() < -20
        assert judge.config.sliding_window < len(QUESTIONS[0].prefix)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kind", range(3))
def test_the_attention_of_a_gpu_is_the_same_arithmetic(
    kind: int,
    make_model: Models,
    recipe: Recipe,
    policies: tuple[Policy, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "Blockwise", attention.Flex)
    judge = make_model(kind)
    found = Gemma(judge, answers=ANSWERS).read(QUESTIONS)
    off = errors(policies[0], found, [recipe(judge, q, ANSWERS) for q in QUESTIONS])
    assert off[0] <= P
    assert off[1] <= MARGIN


def test_the_label_mass_is_the_share_of_both_answers(make_model: Models) -> None:
    judge = make_model(0)
    ((reading,),) = Gemma(judge, answers=ANSWERS, mass=True).read([Question((2, 150), ((160,),))])
    with torch.inference_mode():
        logits = judge(torch.tensor([[2, 150, 160]])).logits[0, -1]
    assert reading.mass == pytest.approx(logits.softmax(-1)[list(ANSWERS)].sum().item(), abs=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] can't allocate memory"),
    ],
)
def test_too_much_at_once_is_said_as_a_memory_error(
    error: RuntimeError, make_model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: Any) -> None:
        raise error

    engine = Gemma(make_model(0), answers=ANSWERS)
    with monkeypatch.context() as patch:
        patch.setattr(model, "answer_states", full)
        with pytest.raises(MemoryError):
            engine.read(QUESTIONS)
    assert len(engine.read(QUESTIONS)) == len(QUESTIONS)


# ------------------------------------------------------------------------------------- mutations

Change = Callable[[pytest.MonkeyPatch, Gemma], None]


def no_final_cap(_patch: pytest.MonkeyPatch, engine: Gemma) -> None:
    engine._cap = 1e6  # noqa: SLF001


def no_attention_cap(patch: pytest.MonkeyPatch, engine: Gemma) -> None:
    patch.setattr(model, "Blockwise", attention.Flex)  # it needs no cap to stay finite
    engine._attention_cap = 1e6  # noqa: SLF001


def siblings_seen(patch: pytest.MonkeyPatch, _engine: Gemma) -> None:
    def one_suffix(*given: Any, **options: Any) -> Any:
        trees = [dataclasses.replace(t, suffixes=(sum(t.suffixes),)) for t in given[0]]
        return packing.blocks(trees, **options)

    patch.setattr(attention, "blocks", one_suffix)


def positions_run_on(patch: pytest.MonkeyPatch, _engine: Gemma) -> None:
    def ranged(questions: Sequence[Question], known: Sequence[int]) -> packing.Pack:
        packed = packing.pack(questions, known)
        ranges = (range(tree.rows) for tree in packed.trees)
        return dataclasses.replace(packed, positions=tuple(i for r in ranges for i in r))

    patch.setattr(model, "pack", ranged)


def window_off_by_one(patch: pytest.MonkeyPatch, _engine: Gemma) -> None:
    class Longer(attention.Blockwise):
        def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None) -> Tensor:
            return super().__call__(q, k, v, window=window and window + 1)

    patch.setattr(model, "Blockwise", Longer)


def begun_twice(patch: pytest.MonkeyPatch, _engine: Gemma) -> None:
    def doubled(questions: Sequence[Question], known: Sequence[int]) -> packing.Pack:
        twice = [dataclasses.replace(q, prefix=(2, *q.prefix)) for q in questions]
        return packing.pack(twice, known)

    patch.setattr(model, "pack", doubled)


def columns_swapped(_patch: pytest.MonkeyPatch, engine: Gemma) -> None:
    engine._rows = engine._rows.flip(0)  # noqa: SLF001


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    "change",
    [
        no_final_cap,
        no_attention_cap,
        siblings_seen,
        positions_run_on,
        window_off_by_one,
        begun_twice,
        columns_swapped,
    ],
)
def test_the_oracle_sees_every_mistake_a_hundredfold(
    change: Change,
    make_model: Models,
    recipe: Recipe,
    policies: tuple[Policy, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = make_model(0)
    wanted = [recipe(judge, q, ANSWERS) for q in QUESTIONS]
    engine = Gemma(judge, answers=ANSWERS)
    assert errors(policies[0], engine.read(QUESTIONS), wanted)[1] <= MARGIN
    change(monkeypatch, engine)
    off = errors(policies[0], engine.read(QUESTIONS), wanted)
    assert off[0] >= 100 * P
    assert off[1] >= 100 * MARGIN
