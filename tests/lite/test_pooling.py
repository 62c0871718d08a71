from __future__ import annotations

import numpy as np
import pytest
from gemma_guard_lite.model import HEADS, Model, pooled
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SPANS = arrays(
    np.float32, st.tuples(st.integers(1, 30), st.just(4)), elements=st.floats(-20, 20, width=32)
)


@given(SPANS)
def test_the_judgement_lies_between_the_mean_and_the_worst_span(raw: np.ndarray) -> None:
    found = pooled(raw)
    assert (found <= raw.max(0) + 1e-3).all()
    assert (found >= raw.mean(0) - 1e-3).all()


@given(arrays(np.float32, (1, 4), elements=st.floats(-20, 20, width=32)))
def test_a_text_of_one_span_is_judged_as_that_span(raw: np.ndarray) -> None:
    assert pooled(raw).tolist() == raw[0].tolist()


@pytest.mark.parametrize("company", [20, 200, 2_000])
def test_clear_harm_does_not_drown_in_harmless_company(company: int) -> None:
    raw = np.full((company, 4), -5, np.float32)
    raw[7] = 4
    assert pooled(raw) == pytest.approx(raw.max(0), abs=0.5)


def test_many_doubtful_sentences_weigh_less_than_one_clear_one() -> None:
    doubtful = np.linspace(-4, 0.5, 20, dtype=np.float32)[:, None].repeat(4, 1)
    assert (pooled(doubtful) < 0).all()
    assert (pooled(doubtful[-1:]) == 0.5).all()


@pytest.mark.parametrize("company", [20, 200])
def test_a_threat_stays_one_among_many_harmless_sentences(model: Model, company: int) -> None:
    threat, dangerous = "I will kill you tonight with a knife.", HEADS.index("dangerous_content")
    harmless = [f"Train {number} to the coast leaves on time." for number in range(company)]
    text = " ".join([*harmless[: company // 2], threat, *harmless[company // 2 :]])
    alone = model.prompt(threat).margins[dangerous]
    assert model.prompt(text).margins[dangerous] == pytest.approx(alone, abs=1)
