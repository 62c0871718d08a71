"""One structured record per decision, to sinks; no text in any of them."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gemma_guard.errors import ConfigError
from gemma_guard.scorer import Batch
from gemma_guard.verdict import Action, Redaction, Verdict

logger = logging.getLogger("gemma_guard")


class Sink(Protocol):
    """Where decisions are kept."""

    def write(self, verdict: Verdict, /) -> None:
        """Keep what `verdict` says; called once per decision, from any thread."""


@runtime_checkable
class QueueSink(Protocol):
    """A sink that keeps what becomes of the queues of scorers, too."""

    def observe(self, scorer: str, batch: Batch, /) -> None:
        """Keep what `scorer` took out of its queue; called once per batch, from any thread."""


def record(verdict: Verdict) -> dict[str, Any]:
    """What is kept of a decision: everything but text. Times are UTC seconds since 1970."""
    return {
        "id": verdict.id,
        "time": round(time.time(), 3),
        "route": verdict.route,
        "stage": str(verdict.stage),
        "action": str(verdict.action),
        "status": verdict.status,
        "fault": verdict.fault,
        "fingerprint": verdict.fingerprint,
        "ms": round(verdict.ms, 3),
        "findings": [{**asdict(f), "action": str(f.action)} for f in verdict.findings],
        "gaps": [asdict(gap) for gap in verdict.gaps],
        "redactions": [_redaction(redaction) for redaction in verdict.redactions],
        "released": sum([len(edit.text) for edit in verdict.released]),
        "passages": [
            {
                "place": passage.place,
                "role": passage.role,
                "action": str(passage.action),
                "scores": [asdict(score) for score in passage.scores],
            }
            for passage in verdict.passages
        ],
    }


def _redaction(redaction: Redaction) -> dict[str, Any]:
    """Without its place, whose keys may be what a caller wrote."""
    fields = asdict(redaction)
    del fields["place"]
    return fields


class LoggerSink:
    """To the logger `gemma_guard`: blocks and gaps as warnings, everything else as info."""

    def write(self, verdict: Verdict) -> None:
        """Log one line; the structured record is the log record's `gemma_guard` attribute."""
        serious = verdict.action is Action.BLOCK or verdict.status != "scored"
        level = logging.WARNING if serious else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(level, "%r", verdict, extra={"gemma_guard": record(verdict)})


class JsonLinesSink:
    """To a file, one JSON object a line, written through at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = path.open("ab", buffering=0)
            if _is_torn(path):
                self._file.write(b"\n")
        except OSError as error:
            raise ConfigError(f"records.jsonl: {path}: cannot be written: {error}") from error

    def write(self, verdict: Verdict) -> None:
        """Append one line, whole or not at all as far as other writers can see."""
        line = json.dumps(record(verdict), separators=(",", ":"), default=float) + "\n"
        with self._lock:
            written = self._file.write(line.encode())
        if written != len(line):
            raise OSError(f"{self._path}: only {written} of {len(line)} characters were written")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def find(path: Path, decision: str) -> dict[str, Any] | None:
    """The record of `decision` in the file at `path`; the newest if an id comes twice."""
    found = None
    for entry in _entries(path):
        if entry.get("id") == decision:
            found = entry
    return found


def _is_torn(path: Path) -> bool:
    """Whether the last line has no end: the machine went down while it was written."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as lines:
        lines.seek(-1, os.SEEK_END)
        return lines.read() != b"\n"


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the line being written when a machine went down
                continue
            if isinstance(entry, dict):
                yield entry
