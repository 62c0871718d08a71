"""A pack lays questions side by side, and its blocks are exactly what each token may see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.scorers.shieldgemma.packing import (
    Block,
    Pack,
    answer_blocks,
    blocks,
    pack,
    places,
    steps,
)

LENGTHS = st.integers(1, 9)
QUESTIONS = st.builds(
    lambda prefix, suffixes: Question(
        tuple(range(prefix)), tuple(tuple(range(n)) for n in suffixes)
    ),
    LENGTHS,
    st.lists(LENGTHS, min_size=1, max_size=4),
)


@st.composite
def packs(draw: st.DrawFn) -> Pack:
    questions = draw(st.lists(QUESTIONS, min_size=1, max_size=4))
    known = [draw(st.integers(0, len(q.prefix) - 1)) for q in questions]
    return pack(questions, known)


def visible(packed: Pack, window: int | None) -> dict[int, set[int]]:
    """The rule, pair by pair: own tree, own suffix or none, no later, within the window."""
    keys = list(places(packed))
    return {
        one.row: {
            j
            for j, other in enumerate(keys)
            if other.tree == one.tree
            and other.branch in (0, one.branch)
            and 0 <= one.position - other.position < (window or 1000)
        }
        for one in keys
        if one.row >= 0
    }


def pairs(block: Block, window: int | None) -> list[tuple[int, int]]:
    return [
        (row, key)
        for row in range(block.row, block.row_end)
        for key in range(block.key, block.key_end)
        if block.shift is None
        or 0 <= block.shift + (row - block.row) - (key - block.key) < (window or 1000)
    ]


@given(packs(), st.none() | st.integers(1, 12), st.integers(1, 7))
def test_blocks_hold_each_visible_pair_once_and_no_other(
    packed: Pack, window: int | None, height: int
) -> None:
    planned = list(blocks(packed.trees, window=window, height=height))
    met = [pair for block in planned for pair in pairs(block, window)]
    assert all(block.row_end - block.row <= height for block in planned)
    assert len(met) == len(set(met))
    wanted = {(row, key) for row, keys in visible(packed, window).items() for key in keys}
    assert set(met) == wanted


@given(packs(), st.none() | st.integers(1, 12))
def test_answers_see_what_their_rows_see(packed: Pack, window: int | None) -> None:
    rows = visible(packed, window)
    met = {
        pair
        for block in answer_blocks(packed.trees, window=window)
        for pair in pairs(block, window)
    }
    assert met == {(n, key) for n, row in enumerate(packed.answers) for key in rows[row]}


@given(st.lists(QUESTIONS, min_size=1, max_size=4))
def test_positions_are_those_of_each_prompt_alone(questions: list[Question]) -> None:
    packed = pack(questions)
    assert len(packed.ids) == len(packed.positions) == sum(q.tokens for q in questions)
    answers = iter(packed.answers)
    for question, tree in zip(questions, packed.trees, strict=True):
        assert packed.ids[tree.row : tree.split] == question.prefix
        assert packed.positions[tree.row : tree.split] == tuple(range(tree.prefix))
        for suffix, (first, last) in zip(question.suffixes, tree.branches, strict=True):
            assert packed.ids[first:last] == suffix
            assert packed.positions[first:last] == tuple(
                range(tree.prefix, tree.prefix + len(suffix))
            )
            assert next(answers) == last - 1


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 60))
def test_steps_hold_every_question_once_and_no_more_than_the_budget(
    sizes: list[int], budget: int
) -> None:
    planned = list(steps(sizes, budget))
    assert [place for step in planned for place in step] == list(range(len(sizes)))
    assert all(len(step) == 1 or sum(sizes[i] for i in step) <= budget for step in planned)


@pytest.mark.parametrize("known", [(), (2,)])
def test_what_is_known_is_seen_but_not_computed(known: tuple[int, ...]) -> None:
    packed = pack([Question((7, 8, 9), ((1,), (2, 3)))], known)
    assert packed.ids == ((7, 8, 9, 1, 2, 3) if not known else (9, 1, 2, 3))
    assert packed.positions == ((0, 1, 2, 3, 3, 4) if not known else (2, 3, 3, 4))
    assert len(list(places(packed))) == 6
