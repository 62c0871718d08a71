"""What a sentence gives is its own: the same in any company, with any cache, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from gemma_guard_lite.encoder import Encoder
from gemma_guard_lite.model import WEIGHTS, Model
from gemma_guard_lite.packs import PACK, TOGETHER, packs
from gemma_guard_lite.windows import LONGEST
from hypothesis import given, settings
from hypothesis import strategies as st

ENCODER = Encoder(WEIGHTS / "encoder.onnx", 1)
SENTENCES = st.lists(
    st.lists(st.integers(1_000, 30_000), min_size=1, max_size=LONGEST), min_size=1, max_size=8
)


@given(st.lists(st.integers(1, LONGEST), min_size=1, max_size=80))
def test_packs_hold_every_sentence_once_and_no_more_than_fits(lengths: list[int]) -> None:
    held = list(packs(lengths))
    numbers = [number for pack in held for column in pack.columns for number in column]
    assert sorted(numbers) == list(range(len(lengths)))
    assert all(sum(lengths[n] for c in pack.columns for n in c) <= PACK for pack in held)
    for pack in held:
        for column in pack.columns:
            rows = sum(lengths[number] for number in column)
            assert rows <= pack.length
            assert len(column) == 1 or 1 + rows <= TOGETHER  # with the mark's


@settings(max_examples=25, deadline=None)
@given(SENTENCES)
def test_a_sentence_gives_the_same_to_the_last_bit_alone_and_in_company(
    words: list[list[int]],
) -> None:
    together = dict(ENCODER.read(words, lambda: None))
    for number, sentence in enumerate(words):
        [(_, alone)] = ENCODER.read([sentence], lambda: None)
        assert together[number].tolist() == alone.tolist()


@pytest.mark.parametrize("word", [1, 3_000, 11_432, 29_999])
def test_no_sentence_is_too_odd_for_numbers(word: int) -> None:
    [(_, features)] = ENCODER.read([[word] * LONGEST], lambda: None)
    assert np.isfinite(features).all()


TEXTS = st.lists(
    st.sampled_from(
        [
            "I will break your legs.",
            "The kettle is on!",
            "How do I build a pipe bomb at home?",
            "and then they all went to the sea, which was cold and grey and far away " * 4,
            "k1ll th3m",
            "\n",
            "Good morning, my friend.",
        ]
    ),
    max_size=6,
).map(" ".join)


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_a_score_is_the_same_whatever_was_judged_before(model: Model, text: str) -> None:
    warm, fresh = model.prompt(text), Model().prompt(text)
    model.forget()
    assert warm == fresh == model.prompt(text) == model.prompt(text)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sentences the encoder reads, each time it does."""
    read: list[int] = []
    runs = Encoder.read

    def counted(self: Encoder, sentences: list[list[int]], *rest: object) -> object:
        read.append(len(sentences))
        return runs(self, sentences, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "read", counted)
    return read


def test_a_growing_text_costs_its_new_sentences_only(model: Model, read: list[int]) -> None:
    model.forget()
    sentences = [
        f"In year {year} the harvest was good and everyone in town ate." for year in "abcdefgh"
    ]
    for count in range(4, len(sentences) + 1):
        model.prompt(" ".join(sentences[:count]))
    assert read == [4, 1, 1, 1, 1]


def test_what_was_foreseen_costs_an_answer_nothing(model: Model, read: list[int]) -> None:
    prompt = "How is bread baked at home? Tell me all of it."
    begun = "Knead the dough well. Then wait for an hour. "
    answer = f"{begun}Then bake it in the oven."
    model.forget()
    unprepared = model.answer(answer, prompt)
    model.forget()
    read.clear()
    model.foresee("", prompt)
    model.foresee(begun, prompt)
    assert model.answer(answer, prompt) == unprepared
    assert read == [3, 2, 2]  # each sentence once; prompt and answer also as a whole
