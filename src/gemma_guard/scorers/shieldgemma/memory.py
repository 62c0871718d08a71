"""Keys and values of prefixes that a stream continues, so that only what is new is computed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor

from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.scorers.shieldgemma.packing import Tree

Layer = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Remembered:
    """A prefix, and for every layer the keys and values of its tokens."""

    ids: tuple[int, ...]
    layers: list[Layer] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """What it holds."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)

    def shared_with(self, ids: Sequence[int]) -> int:
        """How many tokens both begin with."""
        pairs = zip(self.ids, ids, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class PrefixCache:
    """The last prefix of each stream, up to `limit` bytes; the least recent one goes first.

    Only prefixes are kept, never a policy's suffix. Sliding windows are a matter of what is looked
    at: nothing is dropped for being past one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, Remembered] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """What all of it holds."""
        return sum(each.nbytes for each in self._kept.values())

    def before(self, question: Question) -> Remembered | None:
        """What was kept of its stream."""
        return self._kept.get(question.stream) if question.stream else None

    def keep(self, stream: str, found: Remembered) -> None:
        """Put it in the place of what was kept of `stream`."""
        self._kept.pop(stream, None)
        if found.nbytes <= self._limit:
            self._kept[stream] = found
        while self.nbytes > self._limit:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step knows before it begins, and what is kept of it once it has ended."""

    questions: Sequence[Question]
    before: Sequence[Remembered | None]
    found: Sequence[Remembered]

    @classmethod
    def of(cls, questions: Sequence[Question], cache: PrefixCache) -> Step:
        """The step that computes `questions`."""
        before = [cache.before(question) for question in questions]
        return cls(questions, before, [Remembered(question.prefix) for question in questions])

    @property
    def known(self) -> list[int]:
        """How many tokens of each prefix need no computing."""
        pairs = zip(self.questions, self.before, strict=True)
        return [old.shared_with(question.prefix) if old else 0 for question, old in pairs]

    def recall(self, trees: Sequence[Tree], number: int, keys: Tensor, values: Tensor) -> Layer:
        """Keys and values of layer `number` for all keys of the pack, given those of its rows."""
        if any(question.stream for question in self.questions):
            parts = [self._of(i, tree, number, (keys, values)) for i, tree in enumerate(trees)]
            keys, values = (torch.cat(column) for column in zip(*parts, strict=True))
        return keys, values

    def keep_in(self, cache: PrefixCache) -> None:
        """Remember the prefixes of streams."""
        for question, found in zip(self.questions, self.found, strict=True):
            if question.stream:
                cache.keep(question.stream, found)

    def _of(self, place: int, tree: Tree, number: int, new: Layer) -> Layer:
        own = [tensor[tree.row : tree.row + tree.rows] for tensor in new]
        old = self.before[place]
        if old:
            known = [tensor[: tree.known] for tensor in old.layers[number]]
            own = [torch.cat(pair) for pair in zip(known, own, strict=True)]
        if self.questions[place].stream:
            kept = [tensor[: tree.prefix].clone() for tensor in own]
            self.found[place].layers.append((kept[0], kept[1]))
        return own[0], own[1]
