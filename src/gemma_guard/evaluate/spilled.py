"""Rows of numbers in a file that has no name, read back a column at a time: few are in memory."""

from __future__ import annotations

import struct
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

AT_ONCE = 8_192
_THERE = "is there"


class Spilled:
    """A table, each row at its number; `fields` are the codes that `struct` and numpy have."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._record = np.dtype([(_THERE, "b"), *fields.items()])
        self._packed = struct.Struct("=b" + "".join(fields.values()))
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed with this object
        weakref.finalize(self, self._file.close)
        self._rows = 0

    def __len__(self) -> int:
        """How many rows were put."""
        return self._rows

    def put(self, place: int, *row: float) -> None:
        """Keep a row at `place`: a number for each field. Places come in any order."""
        self._file.seek(place * self._packed.size)
        self._file.write(self._packed.pack(1, *row))
        self._rows += 1

    def column(self, field: str) -> Array:
        """The numbers in `field`, in the order of their places; read anew each time."""
        found, filled = np.empty(len(self), self._record[field]), 0
        for rows in self._chunks():
            found[filled : filled + len(rows)] = rows[field]
            filled += len(rows)
        return found

    def _chunks(self) -> Iterator[Array]:
        """Some rows at a time, without the places where none is."""
        self._file.seek(0)
        while read := self._file.read(AT_ONCE * self._record.itemsize):
            rows = np.frombuffer(read, self._record)
            yield rows[rows[_THERE] == 1]


class ByName(Mapping[str, Array]):
    """Some columns of a table by other names; nothing of them is kept."""

    def __init__(self, table: Spilled, fields: Mapping[str, str]) -> None:
        self._table = table
        self._fields = fields

    def __getitem__(self, name: str) -> Array:
        """The column, read anew."""
        return self._table.column(self._fields[name])

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._fields)

    def __len__(self) -> int:
        """How many columns."""
        return len(self._fields)
