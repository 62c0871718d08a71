"""Labelled rows: which column is which, and what a label may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemma_guard.errors import UsageError
from gemma_guard.evaluate.formats import Record, records
from gemma_guard.verdict import Stage

_LABELS = {"0": 0, "false": 0, "no": 0, "1": 1, "true": 1, "yes": 1}
_NESTED = "labels"
_UNLABELLED = ("", "null", "none", "nan")  # NaN is how parquet leaves a cell empty


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a row keeps what; a name is also looked for inside an object called `labels`.

    `labels` maps policy → column. `picked_by` names the judge whose scores chose the row, if any.
    """

    text: str = "text"
    response: str = "response"
    harmful: str = "harmful"
    labels: Mapping[str, str] = field(default_factory=dict)
    source: str = "source"
    picked_by: str = "picked_by"


@dataclass(frozen=True, slots=True)
class Row:
    """One text, or an answer with the text it answers. `number` counts rows over all files.

    `labels` holds 0 or 1 for each policy that is labelled; `harmful` is the label of the whole
    request, None if nothing says.
    """

    number: int
    text: str = field(repr=False)
    response: str | None = field(repr=False)
    labels: Mapping[str, int]
    harmful: int | None
    source: str
    picked_by: str = ""

    @property
    def stage(self) -> Stage:
        """An answer is judged at the output stage."""
        return Stage.INPUT if self.response is None else Stage.OUTPUT

    @property
    def judged(self) -> str:
        """The text that the labels are about."""
        return self.text if self.response is None else self.response


@dataclass(frozen=True, slots=True)
class Survey:
    """What rows hold before any is judged. `labelled` counts labels by policy and label."""

    rows: int
    labelled: Counter[tuple[str, int]]


def read(paths: Sequence[Path], columns: Columns) -> Iterator[Row]:
    """Every row of the files, one in memory at a time; raises `UsageError` with file and line."""
    number = 0
    for path in paths:
        for record in records(path):
            try:
                yield _row(record.fields, columns, number=number, stem=path.name.split(".")[0])
            except UsageError as error:
                raise UsageError(f"{path}: {record.where}: {error}") from None
            number += 1


def survey(paths: Sequence[Path], columns: Columns, policies: Iterable[str]) -> Survey:
    """Read everything once, so that what is wrong is told before hours of judging.

    Raises `UsageError` where nothing is labelled, or a column that was asked for is nowhere.
    """
    labelled: Counter[tuple[str, int]] = Counter()
    rows = 0
    for row in read(paths, columns):
        rows += 1
        if row.harmful is not None:
            labelled["harmful", row.harmful] += 1
        labelled.update((policy, label) for policy, label in row.labels.items())
    _refuse_unlabelled(paths, columns, labelled, sorted(policies))
    refuse_absent(paths, columns)
    return Survey(rows, labelled)


def mapped(columns: Columns, policies: Iterable[str]) -> Columns:
    """`columns` with a column for each of `policies`, by its own name unless one was given."""
    known = list(policies)
    for policy in columns.labels:
        if policy not in known:
            raise UsageError(
                f"--label: no policy {policy!r} is judged here; there are: {', '.join(known)}"
            )
    labels = {policy: columns.labels.get(policy, policy) for policy in known}
    return Columns(
        columns.text,
        columns.response,
        columns.harmful,
        labels,
        columns.source,
        columns.picked_by,
    )


def _refuse_unlabelled(
    paths: Sequence[Path],
    columns: Columns,
    labelled: Counter[tuple[str, int]],
    policies: Sequence[str],
) -> None:
    found = {name for name, _ in labelled}
    for policy, column in columns.labels.items():
        if column != policy and policy not in found:
            raise UsageError(f"{_named(paths)}: no row is labelled in a column {column!r}")
    if not labelled:
        raise UsageError(
            f"{_named(paths)}: no row has a label, neither in a column {columns.harmful!r} nor in"
            f" one for a policy ({', '.join(policies)}); columns there are:"
            f" {', '.join(_columns(paths))}. Give --harmful COLUMN or --label POLICY=COLUMN; for"
            f" texts without labels: gemma-guard try"
        )


def refuse_absent(paths: Sequence[Path], columns: Columns) -> None:
    """Raise `UsageError` where a column was named for answers or sources and no row has it.

    Otherwise every row would be judged as a prompt, and nobody told.
    """
    usual, there = Columns(), _columns(paths)
    for part in ("response", "source"):
        column = getattr(columns, part)
        if column not in {getattr(usual, part), *there} and not _is_anywhere(paths, column):
            raise UsageError(
                f"{_named(paths)}: --{part}: no row has a column {column!r}; columns there are:"
                f" {', '.join(there)}"
            )


def _is_anywhere(paths: Sequence[Path], column: str) -> bool:
    found = (_found(record.fields, column) for path in paths for record in records(path))
    return any(value is not None for value in found)


def _columns(paths: Sequence[Path]) -> list[str]:
    """The columns of the first row of each file."""
    firsts = (record.fields for path in paths for record in _first(path))
    return list(dict.fromkeys(name for fields in firsts for name in _names(fields)))


def _first(path: Path) -> list[Record]:
    for record in records(path):
        return [record]
    return []


def _names(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        nested = value if isinstance(value, Mapping) else {}
        yield from (f"{name}.{inner}" for inner in nested)
        if not nested:
            yield name


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _row(fields: Mapping[str, Any], columns: Columns, *, number: int, stem: str) -> Row:
    text = _text(fields, columns.text)
    if text is None:
        there = ", ".join(_names(fields))
        raise UsageError(
            f"no text in a column {columns.text!r}; columns there are: {there}. Give --text COLUMN"
        )
    labels = {policy: _label(fields, column) for policy, column in columns.labels.items()}
    known = {policy: label for policy, label in labels.items() if label is not None}
    harmful = _label(fields, columns.harmful)
    return Row(
        number,
        text,
        _text(fields, columns.response) or None,
        known,
        _implied(known, labels) if harmful is None else harmful,
        _text(fields, columns.source) or stem,
        _text(fields, columns.picked_by) or "",
    )


def _implied(known: Mapping[str, int], labels: Mapping[str, int | None]) -> int | None:
    """A row that violates one policy is harmful; one that violates none of all is not."""
    if any(known.values()):
        return 1
    return 0 if known and len(known) == len(labels) else None


def _found(fields: Mapping[str, Any], column: str) -> Any:
    if column in fields:
        return fields[column]
    nested = fields.get(_NESTED)
    if isinstance(nested, dict) and column in nested:
        return nested[column]
    return _deep(fields, column.split(".")) if "." in column else None


def _deep(fields: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields


def _text(fields: Mapping[str, Any], column: str) -> str | None:
    value = _found(fields, column)
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"column {column!r}: text is needed, got {type(value).__name__}")


def _label(fields: Mapping[str, Any], column: str) -> int | None:
    value = _found(fields, column)
    if value is None or (type(value) is int and value in {0, 1}):
        return value
    word = str(value).strip().lower().removesuffix(".0")
    if word in _UNLABELLED:
        return None
    if word not in _LABELS:
        raise UsageError(
            f"column {column!r}: a label is 0 or 1, true or false, yes or no, or left empty"
        )
    return _LABELS[word]
