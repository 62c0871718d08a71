"""The records of a file, one at a time, each with the line it stands on."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from gemma_guard.errors import UsageError, unknown

_FIELD_CHARS = 16 * 1024 * 1024
_BATCH = 512


class Record(NamedTuple):
    """What a file says at `where`, for instance `line 7`."""

    where: str
    fields: Mapping[str, Any]


Reader: TypeAlias = Callable[[Path], Iterator[Record]]


def records(path: Path) -> Iterator[Record]:
    """Read JSON lines, CSV, parquet or plain lines by the file's name; `.gz` is unpacked.

    Raises `UsageError` with file and line, never with text of the file.
    """
    reader = _reader(path)
    try:
        yield from reader(path)
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8: {error.reason}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _reader(path: Path) -> Reader:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _READERS:
        raise UsageError(f"{path}: {unknown('kind of file', suffix, _READERS)}")
    return _READERS[suffix]


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        yield from lines


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield Record(f"line {number}", _object(line, number))


def _object(line: str, number: int) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise UsageError(f"line {number}: not JSON: {why}") from None
    if not isinstance(found, dict):
        raise UsageError(f"line {number}: an object is needed, like {{...}}")
    return found


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(_FIELD_CHARS)
    lines = _lines(path)
    header = next(lines, "")
    delimiter = max(",;\t", key=header.count)
    [read] = csv.reader([header], delimiter=delimiter) if header.strip() else [[]]
    names = [name.strip() for name in read]
    if not names:
        raise UsageError("line 1: the names of the columns are needed")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(f"line 1: two columns have the same name: {', '.join(map(repr, twice))}")
    yield from _cells(csv.reader(lines, delimiter=delimiter, strict=True), names)


def _cells(reader: Any, names: list[str]) -> Iterator[Record]:
    """`strict` leaves no quote open in silence, which would swallow the rest of the file."""
    try:
        begins = 2
        for cells in reader:
            where, begins = f"line {begins}", reader.line_num + 2
            if cells and len(cells) != len(names):
                raise UsageError(f"{where}: {len(cells)} cells for {len(names)} columns")
            if cells:
                yield Record(where, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num + 1}: not CSV: {error}") from error


def _parquet(path: Path) -> Iterator[Record]:
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415  only for files of this kind

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(f"row {number}", fields)
    except ArrowInvalid as error:
        raise UsageError(f"not parquet: {error}") from error


def _plain_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield Record(f"line {number}", {"text": line.rstrip("\r\n")})


_READERS: Mapping[str, Reader] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".txt": _plain_lines,
}
