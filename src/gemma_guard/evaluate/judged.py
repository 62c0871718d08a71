"""Rows through a guard, many at once, each by the way that live traffic takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from gemma_guard.evaluate.candidates import Candidate
from gemma_guard.evaluate.results import Result
from gemma_guard.evaluate.rows import Row
from gemma_guard.scorer import Priority
from gemma_guard.verdict import Score, Verdict

CHUNK_CHARS = 20  # about four tokens

Take: TypeAlias = Callable[[Row, Verdict], None]
Check: TypeAlias = Callable[[Candidate, Row], Awaitable[Verdict]]


async def judge(
    candidate: Candidate,
    rows: Iterable[Row],
    take: Take,
    *,
    concurrency: int,
    is_streamed: bool = False,
) -> None:
    """Hand every row with its verdict to `take`, as they come; at most `concurrency` under way.

    Live checks of the same judge go first. Answers come in chunks where `is_streamed`.
    """
    shared = iter(rows)
    check = _streamed if is_streamed else _whole
    async with candidate.guard:
        workers = [
            asyncio.create_task(_work(candidate, shared, take, check)) for _ in range(concurrency)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


async def _work(candidate: Candidate, rows: Iterator[Row], take: Take, check: Check) -> None:
    for row in rows:
        take(row, await check(candidate, row))


async def _whole(candidate: Candidate, row: Row) -> Verdict:
    return await candidate.guard.check(
        row.judged,
        stage=row.stage,
        prompt=None if row.response is None else row.text,
        route=candidate.route.name,
        priority=Priority.BACKGROUND,
    )


async def _streamed(candidate: Candidate, row: Row) -> Verdict:
    """The last verdict of a stream is about all of it that was let go or held back."""
    if row.response is None:
        return await _whole(candidate, row)
    pieces = candidate.guard.stream(
        _chunks(row.response),
        prompt=row.text,
        route=candidate.route.name,
        priority=Priority.BACKGROUND,
    )
    verdicts = [piece.verdict async for piece in pieces if piece.verdict]
    return verdicts[-1]


async def _chunks(text: str) -> AsyncIterator[str]:
    for start in range(0, len(text), CHUNK_CHARS):
        yield text[start : start + CHUNK_CHARS]


def result(row: Row, verdict: Verdict) -> Result:
    """What `verdict` says of `row`, without its text."""
    return Result(
        row.number,
        row.stage,
        verdict.action,
        _cause(verdict),
        row.labels,
        row.harmful,
        {score.policy: score.violation for score in verdict.scores},
        _margins(verdict.scores),
        len(row.judged),
        verdict.ms,
        row.source,
        row.picked_by,
    )


def _cause(verdict: Verdict) -> str:
    """Why the judge did not judge all of it, if so; what a fallback says is not the judge's."""
    if verdict.status == "scored":
        return ""
    return next((gap.cause.value for gap in verdict.gaps), verdict.status)


def _margins(scores: Iterable[Score]) -> Mapping[str, float]:
    return {score.policy: score.margin for score in scores if score.margin is not None}
