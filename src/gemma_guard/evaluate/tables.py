"""A run as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gemma_guard.evaluate import grids
from gemma_guard.evaluate.comparing import differences
from gemma_guard.evaluate.grids import Grid
from gemma_guard.evaluate.results import Run
from gemma_guard.verdict import Stage


def report(run: Run) -> Iterator[RenderableType]:
    """Everything that `eval` prints of a run."""
    yield from grids.headline(run)
    for stage in Stage:
        for place, grid in enumerate(grids.at_stage(run, stage)):
            if not place:
                yield Text(f"\n{stage}", style="bold")
            yield table(grid)
    yield from grids.warnings(run)
    yield grids.NOTES


def compared(runs: Mapping[str, Run]) -> Iterator[RenderableType]:
    """Each of `runs` against the first, by name."""
    (first, before), *others = runs.items()
    for name, after in others:
        yield table(grids.differences(f"{name} minus {first}", differences(before, after)))
    yield grids.PAIRED


def table(grid: Grid) -> Table:
    """`grid` in columns, numbers to the right."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, (name, *cells) in enumerate(zip(grid.head, *grid.rows, strict=True)):
        longest = max(len(word) for cell in (name, *cells) for word in cell.split() or [""])
        drawn.add_column(
            name,
            no_wrap=not place,
            justify="right" if place else "left",
            min_width=longest,
        )
    for row in grid.rows:
        drawn.add_row(*map(Text, row))
    return drawn
