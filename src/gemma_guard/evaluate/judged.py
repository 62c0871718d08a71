"""Rows through a guard, many at once, each by the way that live traffic takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from gemma_guard.evaluate.results import Result
from gemma_guard.evaluate.rows import Row
from gemma_guard.evaluate.subjects import Bench
from gemma_guard.scorer import Priority
from gemma_guard.verdict import Score, Verdict

Take: TypeAlias = Callable[[Row, Verdict], None]


async def judge(bench: Bench, rows: Iterable[Row], take: Take, *, concurrency: int) -> None:
    """Hand every row with its verdict to `take`, as they come; at most `concurrency` under way.

    Live checks of the same judge go first.
    """
    shared = iter(rows)
    async with bench.guard:
        workers = [asyncio.create_task(_work(bench, shared, take)) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


async def _work(bench: Bench, rows: Iterator[Row], take: Take) -> None:
    for row in rows:
        verdict = await bench.guard.check(
            row.judged,
            stage=row.stage,
            prompt=None if row.response is None else row.text,
            route=bench.route.name,
            priority=Priority.BACKGROUND,
        )
        take(row, verdict)


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
