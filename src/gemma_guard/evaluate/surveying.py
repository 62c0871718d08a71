"""What is wrong with rows and columns, told before hours of judging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from gemma_guard.errors import UsageError
from gemma_guard.evaluate.formats import records
from gemma_guard.evaluate.rows import Columns, found, names, read


@dataclass(frozen=True, slots=True)
class Survey:
    """What rows hold before any is judged. `columns` has a column for every policy.

    `labelled` counts labels by policy and label. `unread` are labels of rows that no policy judged
    here is called, with how many rows have them.
    """

    rows: int
    columns: Columns
    labelled: Counter[tuple[str, int]]
    unread: Counter[str]


def survey(paths: Sequence[Path], asked: Columns, policies: Iterable[str]) -> Survey:
    """Read everything once.

    Raises `UsageError` where nothing is labelled, or a column that was asked for is nowhere.
    """
    columns = mapped(asked, policies)
    labelled: Counter[tuple[str, int]] = Counter()
    unread: Counter[str] = Counter()
    rows = 0
    for row in read(paths, columns):
        rows += 1
        if row.harmful is not None:
            labelled["harmful", row.harmful] += 1
        labelled.update(row.labels.items())
        unread.update(row.unread)
    refuse_absent(paths, asked)
    _refuse_unlabelled(paths, asked, labelled, sorted(columns.labels))
    return Survey(rows, columns, labelled, unread)


def mapped(columns: Columns, policies: Iterable[str]) -> Columns:
    """`columns` with a column for each of `policies`, by its own name unless one was given."""
    known = list(policies)
    for policy in columns.labels:
        if policy not in known:
            raise UsageError(
                f"--label: no policy {policy!r} is judged here; there are: {', '.join(known)}"
            )
    return replace(columns, labels={name: columns.labels.get(name, name) for name in known})


def refuse_absent(paths: Sequence[Path], asked: Columns) -> None:
    """Raise `UsageError` where a column was named that no row has.

    Otherwise answers would be judged as prompts, or labels left out, and nobody told.
    """
    usual, there = Columns(), _columns(paths)
    for part in ("response", "harmful", "source"):
        column = getattr(asked, part)
        # answers and sources may be missing everywhere; without labels nothing can be measured
        passed = {getattr(usual, part), *(there if part != "harmful" else ())}
        if column not in passed and not _is_anywhere(paths, column):
            raise UsageError(
                f"{_named(paths)}: --{part}: no row has anything in a column {column!r};"
                f" columns there are: {', '.join(there)}"
            )


def _refuse_unlabelled(
    paths: Sequence[Path],
    asked: Columns,
    labelled: Counter[tuple[str, int]],
    policies: Sequence[str],
) -> None:
    there = ", ".join(_columns(paths))
    for policy, column in asked.labels.items():
        if not labelled[policy, 0] + labelled[policy, 1]:
            raise UsageError(
                f"{_named(paths)}: --label {policy}={column}: no row is labelled in a column"
                f" {column!r}; columns there are: {there}"
            )
    if not labelled:
        raise UsageError(
            f"{_named(paths)}: no row has a label, neither in a column {asked.harmful!r} nor in"
            f" one for a policy ({', '.join(policies)}); columns there are: {there}. Give"
            " --harmful COLUMN or --label POLICY=COLUMN; for texts without labels: gemma-guard try"
        )


def _is_anywhere(paths: Sequence[Path], column: str) -> bool:
    values = (found(record.fields, column) for path in paths for record in records(path))
    return any(value not in (None, "") for value in values)


def _columns(paths: Sequence[Path]) -> list[str]:
    """The columns of the first row of each file."""
    firsts = (record.fields for path in paths for record in islice(records(path), 1))
    return list(dict.fromkeys(name for fields in firsts for name in names(fields)))


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
