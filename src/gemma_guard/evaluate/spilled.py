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

_AT_ONCE = 8_192


class Spilled:
    """A table; `fields` are the codes that `struct` and numpy have for each column."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._record = np.dtype(list(fields.items()))
        self._packed = struct.Struct("=" + "".join(fields.values()))
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with this object
        weakref.finalize(self, self._file.close)
        self._rows = 0

    def __len__(self) -> int:
        """How many rows."""
        return self._rows

    def append(self, *row: float) -> None:
        """Add a row: a number for each field."""
        self._file.write(self._packed.pack(*row))
        self._rows += 1

    def column(self, field: str) -> Array:
        """The numbers in `field`, in the order they came; read anew each time."""
        found = np.empty(len(self), self._record[field])
        self._file.seek(0)
        for start in range(0, len(self), _AT_ONCE):
            read = self._file.read(_AT_ONCE * self._record.itemsize)
            found[start : start + _AT_ONCE] = np.frombuffer(read, self._record)[field]
        return found


class Ordered(Mapping[str, Array]):
    """Some columns of a table, its rows in `order`, by other names; nothing of them is kept."""

    def __init__(self, table: Spilled, order: Array, fields: Mapping[str, str]) -> None:
        self._table = table
        self._order = order
        self._fields = fields

    def __getitem__(self, name: str) -> Array:
        """The column, read anew."""
        return self._table.column(self._fields[name])[self._order]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._fields)

    def __len__(self) -> int:
        """How many columns."""
        return len(self._fields)
