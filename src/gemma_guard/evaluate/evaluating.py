"""Rows on disk → a run: surveyed, judged, kept so that it can be continued."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from gemma_guard.errors import UsageError
from gemma_guard.evaluate import judged
from gemma_guard.evaluate.candidates import Candidate
from gemma_guard.evaluate.results import Collected, Run, Subject
from gemma_guard.evaluate.rows import Columns, Row, read
from gemma_guard.evaluate.runfile import RunFile, digest
from gemma_guard.evaluate.surveying import Survey, survey
from gemma_guard.health import Health
from gemma_guard.verdict import Verdict

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told how many rows are judged, and of how many, if that is known."""


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


def unseen(_done: int, _rows: int | None) -> None:
    """Progress that nobody watches."""


async def evaluate(candidate: Candidate, order: Order, progress: Progress = unseen) -> Run:
    """Judge every row that is not judged yet; raises `UsageError` before the first where it can."""
    known = survey(order.paths, order.columns, candidate.policies)
    rows, columns = known.rows, known.columns
    subject = await _subject(candidate, order, known)
    collected = Collected(candidate.policies)
    with _kept(order.kept, subject, collected) as file:
        done = _seen(collected, rows)
        left = (row for row in read(order.paths, columns) if not done[row.number])
        take = _taking(collected, file, lambda: progress(len(collected), rows))
        began, many = time.perf_counter(), order.concurrency
        streamed = order.is_streamed
        await judged.judge(candidate, left, take, concurrency=many, is_streamed=streamed)
    seconds = 0.0 if any(done) else time.perf_counter() - began
    return collected.run(subject, seconds=seconds, concurrency=many)


@contextmanager
def _kept(path: Path | None, subject: Subject, collected: Collected) -> Iterator[RunFile | None]:
    """The file at `path`, whose results are in `collected` then; written out at the end."""
    if path is None:
        yield None
        return
    with closing(RunFile.begin(path, subject, collected)) as file:
        yield file


def _taking(collected: Collected, file: RunFile | None, seen: Callable[[], None]) -> judged.Take:
    def take(row: Row, verdict: Verdict) -> None:
        result = judged.result(row, verdict)
        collected.take(result)
        if file:
            file.write(result)
        seen()

    return take


async def _subject(candidate: Candidate, order: Order, known: Survey) -> Subject:
    health = await candidate.guard.health()
    for one in health:
        if one.harmful is None:
            raise UsageError(f"the judge {one.scorer} does not answer: {one.reason}")
    return Subject(
        _judge(health) or "patterns only",
        candidate.route.name + (", answers streamed" if order.is_streamed else ""),
        candidate.origin,
        candidate.guard.fingerprint,
        digest(order.paths, known.columns),
        tuple(path.name for path in order.paths),
        candidate.bands,
        candidate.judged,
        tuple(f"{one.scorer}: {name}" for one in health for name in one.unvalidated),
        tuple(sorted(known.unread)),
    )


def _judge(health: Sequence[Health]) -> str:
    return ", ".join(f"{one.scorer} ({one.fingerprint})" for one in health)


def _seen(collected: Collected, rows: int) -> bytearray:
    seen = bytearray(rows)
    for number in collected.numbers():
        seen[number] = 1
    return seen
