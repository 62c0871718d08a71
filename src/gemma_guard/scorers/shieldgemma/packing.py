"""Several questions in one forward pass: which, in what order, and what sees what; no torch.

```
row       0 …                                     one per token to compute
          prefix₁ suffix₁₁ … suffix₁ₙ │ prefix₂ …
key       known₁ prefix₁ suffix₁₁ … suffix₁ₙ │ known₂ prefix₂ …
position  0 … p-1   p …        p …                restarts where the prefix ends
```

A token sees those before it in its own prefix and suffix, never a sibling suffix or another
question. `known` are tokens of a prefix whose keys and values an earlier step has left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from sys import maxsize

from gemma_guard.scorers.shieldgemma.engine import Question

STEP_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Tokens in one forward pass: more no longer pay, take longer to answer and need more memory."""


def steps(sizes: Sequence[int], budget: int) -> Iterator[tuple[int, ...]]:
    """Places of the questions of each step, in order: at most `budget` tokens, or a single one."""
    step: list[int] = []
    room = budget
    for place, size in enumerate(sizes):
        if step and size > room:
            yield tuple(step)
            step, room = [], budget
        step.append(place)
        room -= size
    if step:
        yield tuple(step)


@dataclass(frozen=True, slots=True)
class Keys:
    """`count` keys from `key` on, whose tokens stand at `position` and after."""

    key: int
    position: int
    count: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Where one question stands.

    Its rows begin at `row` and its keys at `key`; `prefix` counts the known tokens too.
    """

    row: int
    key: int
    known: int
    prefix: int
    suffixes: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many tokens of it are computed."""
        return self.prefix - self.known + sum(self.suffixes)

    @property
    def keys(self) -> int:
        """How many tokens of it can be seen."""
        return self.prefix + sum(self.suffixes)

    @property
    def split(self) -> int:
        """The row after the last one of its prefix."""
        return self.row + self.prefix - self.known

    @property
    def branches(self) -> Iterator[tuple[int, int]]:
        """The first row of each suffix, and the row after its last."""
        return pairwise(accumulate(self.suffixes, initial=self.split))

    @property
    def trunk(self) -> Keys:
        """The keys of the prefix."""
        return Keys(self.key, 0, self.prefix)

    def twig(self, first: int, last: int) -> Keys:
        """The keys of the suffix in the rows `first <= i < last`."""
        return Keys(first - self.row + self.known + self.key, self.prefix, last - first)


@dataclass(frozen=True, slots=True)
class Pack:
    """A step: token ids and positions of its rows, and the row of each answer, in order."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    trees: tuple[Tree, ...]
    answers: tuple[int, ...]


def pack(questions: Sequence[Question], known: Sequence[int] = ()) -> Pack:
    """`questions` one after the other; `known` counts the tokens of each that need no computing."""
    ids: list[int] = []
    positions: list[int] = []
    trees: list[Tree] = []
    key = 0
    for question, skip in zip(questions, known or [0] * len(questions), strict=True):
        prefix, lengths = len(question.prefix), tuple(map(len, question.suffixes))
        trees.append(Tree(len(ids), key, skip, prefix, lengths))
        key += trees[-1].keys
        ids += question.prefix[skip:]
        positions += range(skip, prefix)
        for suffix in question.suffixes:
            ids += suffix
            positions += range(prefix, prefix + len(suffix))
    answers = tuple(end - 1 for tree in trees for _, end in tree.branches)
    return Pack(tuple(ids), tuple(positions), tuple(trees), answers)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows `row <= i < row_end` that look at keys `key <= j < key_end`.

    Row i sees key j where `0 <= shift + (i - row) - (j - key) < window`; every row sees every key
    where `shift` is None.
    """

    row: int
    row_end: int
    key: int
    key_end: int
    shift: int | None = None


def blocks(trees: Sequence[Tree], *, window: int | None, height: int) -> Iterator[Block]:
    """What all rows see, at most `height` rows at a time; any row and key meet once."""
    for tree in trees:
        for row, end in _chunks(tree.row, tree.split, height):
            yield from _seen(row, end, tree.known + row - tree.row, tree.trunk, window)
        is_whole = window is None or tree.prefix + max(tree.suffixes, default=0) <= window
        if is_whole:  # then the suffixes see all of the prefix, and may look at it together
            for row, end in _chunks(tree.split, tree.row + tree.rows, height):
                yield Block(row, end, tree.key, tree.key + tree.prefix)
        for first, last in tree.branches:
            for row, end in _chunks(first, last, height):
                at = tree.prefix + row - first
                yield from () if is_whole else _seen(row, end, at, tree.trunk, window)
                yield from _seen(row, end, at, tree.twig(first, last), window)


def answer_blocks(trees: Sequence[Tree], *, window: int | None) -> Iterator[Block]:
    """What the answers see; here the n-th answer is row n."""
    n = 0
    for tree in trees:
        for first, last in tree.branches:
            at = tree.prefix + last - 1 - first
            yield from _seen(n, n + 1, at, tree.trunk, window)
            yield from _seen(n, n + 1, at, tree.twig(first, last), window)
            n += 1


def _seen(row: int, end: int, at: int, keys: Keys, window: int | None) -> Iterator[Block]:
    """The keys that rows at the positions `at …` see, if any."""
    reach = window or maxsize
    first = max(keys.position, at - reach + 1)
    last = min(keys.position + keys.count, at + end - row)
    if first >= last:
        return
    is_full = last - 1 <= at and at + end - row - first <= reach
    key = keys.key + first - keys.position
    yield Block(row, end, key, key + last - first, None if is_full else at - first)


def _chunks(start: int, end: int, height: int) -> Iterator[tuple[int, int]]:
    for first in range(start, end, height):
        yield first, min(first + height, end)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose token a key is: its tree, its suffix from 1 on, or 0; row -1 where it is known."""

    tree: int
    branch: int
    position: int
    row: int


def places(pack: Pack) -> Iterator[Place]:
    """The place of every key; what is no later in the same tree and suffix, or in none, is seen."""
    for number, tree in enumerate(pack.trees):
        for position in range(tree.prefix):
            row = tree.row + position - tree.known if position >= tree.known else -1
            yield Place(number, 0, position, row)
        for branch, (first, last) in enumerate(tree.branches, 1):
            for row in range(first, last):
                yield Place(number, branch, tree.prefix + row - first, row)
