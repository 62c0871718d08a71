"""Rows on disk → a run: surveyed, judged, kept so that it can be continued."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from gemma_guard.errors import UsageError
from gemma_guard.evaluate import judged
from gemma_guard.evaluate.candidates import Candidate
from gemma_guard.evaluate.results import Collected, Run, Subject
from gemma_guard.evaluate.rows import Columns, Row, mapped, read, survey
from gemma_guard.evaluate.runfile import RunFile, digest
from gemma_guard.health import Health
from gemma_guard.verdict import Verdict

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many rows are judged, and of how many."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to evaluate: files, columns, where to keep the run, how many rows at once.

    `is_streamed`: answers are judged as they would come from a model, chunk by chunk.
    """

    paths: tuple[Path, ...]
    columns: Columns = field(default_factory=Columns)
    kept: Path | None = None
    concurrency: int = 16
    is_streamed: bool = False


def unseen(_done: int, _rows: int) -> None:
    """Progress that nobody watches."""


async def evaluate(candidate: Candidate, order: Order, progress: Progress = unseen) -> Run:
    """Judge every row that is not judged yet; raises `UsageError` before the first where it can."""
    columns = mapped(order.columns, candidate.policies)
    rows = survey(order.paths, columns, candidate.policies).rows
    subject = await _subject(candidate, order, columns)
    collected = Collected(candidate.policies)
    file = RunFile.begin(order.kept, subject, collected) if order.kept else None
    done = _seen(collected, rows)
    progress(len(collected), rows)

    def take(row: Row, verdict: Verdict) -> None:
        result = judged.result(row, verdict)
        collected.take(result)
        if file:
            file.write(result)
        progress(len(collected), rows)

    began, before = time.perf_counter(), len(collected)
    try:
        left = _left(order.paths, columns, done)
        await judged.judge(
            candidate,
            left,
            take,
            concurrency=order.concurrency,
            is_streamed=order.is_streamed,
        )
    finally:
        if file:
            file.close()
    seconds = time.perf_counter() - began if not before else 0.0
    return collected.run(subject, seconds=seconds, concurrency=order.concurrency)


async def _subject(candidate: Candidate, order: Order, columns: Columns) -> Subject:
    health = await candidate.guard.health()
    for one in health:
        if one.harmful is None:
            raise UsageError(f"the judge {one.scorer} does not answer: {one.reason}")
    return Subject(
        _judge(health) or "patterns only",
        candidate.route.name + (", answers streamed" if order.is_streamed else ""),
        candidate.origin,
        candidate.guard.fingerprint,
        digest(order.paths, columns),
        tuple(path.name for path in order.paths),
        candidate.bands,
        candidate.judged,
        tuple(one.scorer for one in health if not one.is_validated),
    )


def _judge(health: Sequence[Health]) -> str:
    return ", ".join(f"{one.scorer} ({one.fingerprint})" for one in health)


def _seen(collected: Collected, rows: int) -> bytearray:
    seen = bytearray(rows)
    for number in collected.numbers():
        seen[number] = 1
    return seen


def _left(paths: Sequence[Path], columns: Columns, done: bytearray) -> Iterator[Row]:
    return (row for row in read(paths, columns) if not done[row.number])
