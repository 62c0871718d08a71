"""How sentences are laid out for one run of the encoder: side by side in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COLUMN = 72
"""Tokens that a column aims at: attention costs its square, and every column costs a call."""
TOGETHER = 128
"""Sums over more keys are cut here, so only a sentence that starts at the top may reach further.

The key of a mark stands above those of every column.
"""
PACK = 384
"""Tokens of one run."""

Column = list[int]


@dataclass(frozen=True, slots=True)
class Pack:
    """Columns of sentence numbers, and the rows that the longest of them needs."""

    columns: tuple[Column, ...]
    length: int


def packs(lengths: Sequence[int]) -> Iterator[Pack]:
    """Packs that hold every sentence once, those of like length together."""
    held: list[int] = []
    total = 0
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if held and total + lengths[number] > PACK:
            yield _laid_out(held, lengths, total)
            held, total = [], 0
        held.append(number)
        total += lengths[number]
    if held:
        yield _laid_out(held, lengths, total)


def _laid_out(numbers: Sequence[int], lengths: Sequence[int], total: int) -> Pack:
    """As few columns as will do, filled evenly: the longest sentence first, each where room is."""
    count = min(max(1, round(total / COLUMN)), len(numbers))
    columns, fill = _dealt(numbers, lengths, count)
    while any(len(c) > 1 and f >= TOGETHER for c, f in zip(columns, fill, strict=True)):
        count += 1
        columns, fill = _dealt(numbers, lengths, count)
    longest = max(fill)
    return Pack(tuple(columns), longest + longest % 2)


def _dealt(
    numbers: Sequence[int], lengths: Sequence[int], count: int
) -> tuple[list[Column], list[int]]:
    columns: list[Column] = [[] for _ in range(count)]
    fill = [0] * count
    for number in numbers:
        lowest = fill.index(min(fill))
        columns[lowest].append(number)
        fill[lowest] += lengths[number]
    return columns, fill
