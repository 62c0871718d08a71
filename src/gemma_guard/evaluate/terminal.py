"""What the commands write: parts of a report, progress, errors in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console, RenderableType
from rich.progress import Progress, TimeElapsedColumn
from rich.text import Text

from gemma_guard.errors import GuardError

EXTRA = frozenset({"matplotlib", "numpy", "pyarrow", "scipy", "sklearn"})


def show(parts: Iterable[RenderableType]) -> None:
    """Print `parts`, a free line after each that is not a sentence; no sentence is markup."""
    console = Console(highlight=False)
    for part in parts:
        console.print(part, markup=False)
        if not isinstance(part, str | Text):
            console.print()


def tell(line: str) -> None:
    """Print one sentence."""
    show([line])


def quote(heading: str, text: str) -> None:
    """Print a text of the user's, on the terminal that asked for it."""
    console = Console(highlight=False)
    console.print(f"\n{heading}", style="bold", markup=False)
    console.print(text, markup=False)


@contextmanager
def watched(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on standard error: hand it how many are done, and of how many, if known.

    With how long it has taken and will take; nothing where nobody watches.
    """
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    if not console.is_terminal:
        yield lambda _done, _rows: None
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, rows: progress.update(task, completed=done, total=rows)


@contextmanager
def continued(kept: Path | None) -> Iterator[None]:
    """Say, where it is interrupted, that nothing kept at `kept` is judged again."""
    try:
        yield
    except KeyboardInterrupt:
        if kept:
            typer.echo(f"\nstopped; {kept} has what was judged: run it again to go on", err=True)
        raise


@contextmanager
def in_words() -> Iterator[None]:
    """Errors as one sentence, exit code 2."""
    try:
        yield
    except GuardError as error:
        _refuse(str(error))
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in EXTRA:
            raise
        _refuse(
            f"this command needs the package {missing.name!r}, which is not installed;"
            " try: pip install 'gemma-guard[eval]'"
        )


def _refuse(message: str) -> NoReturn:
    typer.echo(f"gemma-guard: {message}", err=True)
    raise typer.Exit(2)
