"""Results on disk, so that a run can be continued and compared; numbers and labels, no text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TextIO

from gemma_guard.errors import UsageError
from gemma_guard.evaluate.results import Collected, Result, Run, Subject
from gemma_guard.evaluate.rows import Columns
from gemma_guard.policy import Bands
from gemma_guard.verdict import Action, Stage

FORMAT = "gemma-guard run 1"
_CHUNK = 1 << 20


def digest(paths: Sequence[Path], columns: Columns) -> str:
    """Changes with any byte of the files and with what is read from them."""
    found = hashlib.sha256(repr(asdict(columns)).encode())
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
        found.update(b"\0")
    return found.hexdigest()[:16]


class RunFile:
    """A run being written: one line says what it is, then one line a row."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file

    @classmethod
    def begin(cls, path: Path, subject: Subject, collected: Collected) -> Self:
        """Begin `path`, or continue it: what it says of `subject` goes to `collected`.

        Raises `UsageError` where it is about something else.
        """
        if path.exists() and path.stat().st_size:
            _take_all(path, subject, collected)
        try:
            file = path.open("a", buffering=1, encoding="utf-8")  # a row may have cost seconds
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error}") from error
        if not path.stat().st_size:
            file.write(json.dumps({"format": FORMAT, **_written(subject)}) + "\n")
        return cls(path, file)

    def write(self, result: Result) -> None:
        """Add one row."""
        self._file.write(json.dumps(_line(result), separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Write everything out."""
        self._file.close()


def read(path: Path) -> Run:
    """The run in the file at `path`; raises `UsageError`."""
    lines = _lines(path)
    subject = _subject(path, next(lines, None))
    collected = Collected(tuple(dict.fromkeys(policy for policy, _ in subject.bands)))
    for line in lines:
        collected.take(_result(line))
    if not len(collected):
        raise UsageError(f"{path}: no row is judged in it yet")
    return collected.run(subject)


def _take_all(path: Path, subject: Subject, collected: Collected) -> None:
    lines = _lines(path)
    found = _subject(path, next(lines, None))
    for key in ("rows", "fingerprint", "route"):
        if getattr(found, key) != getattr(subject, key):
            raise UsageError(
                f"{path}: holds a run of other {_WORDS[key]}; name another file, or remove it"
            )
    for line in lines:
        collected.take(_result(line))


_WORDS = {"rows": "rows or columns", "fingerprint": "settings or judge", "route": "route"}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; the last one may be torn where a machine went down."""
    _mend(path)
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                raise UsageError(f"{path}: line {number}: not a line of a run") from None


def _mend(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            text = file.seek(0, 2)
            file.seek(max(0, text - _CHUNK))
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(text - len(tail) + tail.rfind(b"\n") + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _written(subject: Subject) -> dict[str, Any]:
    bands = [
        {"policy": policy, "stage": stage, **{str(a): at for a, at in bands.thresholds}}
        for (policy, stage), bands in subject.bands.items()
    ]
    return {
        "judge": subject.judge,
        "route": subject.route,
        "origin": subject.origin,
        "fingerprint": subject.fingerprint,
        "rows": subject.rows,
        "files": subject.files,
        "bands": bands,
        "judged": sorted(subject.judged),
        "unvalidated": subject.unvalidated,
        "unread": subject.unread,
    }


def _subject(path: Path, head: Mapping[str, Any] | None) -> Subject:
    if not head or head.get("format") != FORMAT:
        raise UsageError(f"{path}: not a run of gemma-guard eval")
    bands = {
        (given["policy"], Stage(given["stage"])): Bands(
            **{k: v for k, v in given.items() if k not in {"policy", "stage"}}
        )
        for given in head["bands"]
    }
    return Subject(
        head["judge"],
        head["route"],
        head["origin"],
        head["fingerprint"],
        head["rows"],
        tuple(head["files"]),
        bands,
        frozenset(head["judged"]),
        tuple(head["unvalidated"]),
        tuple(head.get("unread", ())),
    )


def _line(result: Result) -> dict[str, Any]:
    return {
        "row": result.number,
        "stage": result.stage,
        "action": str(result.action),
        "cause": result.cause,
        "labels": result.labels,
        "harmful": result.harmful,
        "violations": result.violations,
        "margins": result.margins,
        "length": result.length,
        "ms": round(result.ms, 3),
        "source": result.source,
        "picked_by": result.picked_by,
    }


def _result(line: Mapping[str, Any]) -> Result:
    return Result(
        line["row"],
        Stage(line["stage"]),
        Action.parse(line["action"]),
        line["cause"],
        line["labels"],
        line["harmful"],
        line["violations"],
        line["margins"],
        line["length"],
        line["ms"],
        line["source"],
        line["picked_by"],
    )
