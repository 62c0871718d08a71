"""Labelled rows: which column is which, and what a label may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemma_guard.errors import UsageError
from gemma_guard.evaluate.formats import records
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
    request, None if nothing says. `unread` are names beside the labels that nobody asked for.
    """

    number: int
    text: str = field(repr=False)
    response: str | None = field(repr=False)
    labels: Mapping[str, int]
    harmful: int | None
    source: str
    picked_by: str = ""
    unread: tuple[str, ...] = ()

    @property
    def stage(self) -> Stage:
        """An answer is judged at the output stage."""
        return Stage.INPUT if self.response is None else Stage.OUTPUT

    @property
    def judged(self) -> str:
        """The text that the labels are about."""
        return self.text if self.response is None else self.response


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


def _row(fields: Mapping[str, Any], columns: Columns, *, number: int, stem: str) -> Row:
    text = _text(fields, columns.text)
    if text is None:
        there = ", ".join(names(fields))
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
        tuple(_unread(fields, columns)),
    )


def _implied(known: Mapping[str, int], labels: Mapping[str, int | None]) -> int | None:
    """A row that violates one policy is harmful; one that violates none of all is not."""
    if any(known.values()):
        return 1
    return 0 if known and len(known) == len(labels) else None


def _unread(fields: Mapping[str, Any], columns: Columns) -> Iterator[str]:
    nested = fields.get(_NESTED)
    asked = (columns.harmful, columns.source, *columns.labels.values())
    for name in nested if isinstance(nested, dict) else ():
        if name not in asked and f"{_NESTED}.{name}" not in asked:
            yield name


def names(fields: Mapping[str, Any]) -> Iterator[str]:
    """The columns of a row, as they are given on the command line."""
    for name, value in fields.items():
        nested = value if isinstance(value, Mapping) else {}
        yield from (f"{name}.{inner}" for inner in nested)
        if not nested:
            yield name


def found(fields: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column; None if nothing."""
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
    value = found(fields, column)
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"column {column!r}: text is needed, got {type(value).__name__}")


def _label(fields: Mapping[str, Any], column: str) -> int | None:
    value = found(fields, column)
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
