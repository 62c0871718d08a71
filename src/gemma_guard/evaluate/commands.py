"""The commands that need labelled rows: eval, tune, try, accept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from gemma_guard.errors import GuardError, UsageError

if TYPE_CHECKING:
    from gemma_guard.evaluate.results import Run
    from gemma_guard.evaluate.rows import Columns
    from gemma_guard.evaluate.subjects import Bench

CONFIG_NAME = "guard.yaml"
EXTRA = frozenset({"matplotlib", "numpy", "pyarrow", "scipy", "sklearn"})

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="GEMMA_GUARD_CONFIG",
        help=f"guard.yaml to use; otherwise ./{CONFIG_NAME} if it is there, or what is shipped.",
    ),
]
Files = Annotated[
    list[Path],
    typer.Argument(help="JSON lines (also .gz), CSV or parquet.", exists=True, dir_okay=False),
]
RouteName = Annotated[str | None, typer.Option("--route", help="The route to judge on.")]
Text = Annotated[str, typer.Option(help="The column that holds the text.")]
Response = Annotated[str, typer.Option(help="The column that holds an answer to it, if any.")]
Harmful = Annotated[str, typer.Option(help="The column that says 1 or 0 of the whole row.")]
Label = Annotated[
    list[str] | None,
    typer.Option(metavar="POLICY=COLUMN", help="The column that says 1 or 0 of one policy."),
]
Source = Annotated[str, typer.Option(help="The column to break figures down by.")]
Concurrency = Annotated[int, typer.Option(min=1, help="How many rows are judged at once.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("eval")(evaluate)


def evaluate(
    files: Files,
    config: Config = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(help="Judge with this one instead; give it twice to compare two."),
    ] = None,
    route: RouteName = None,
    text: Text = "text",
    response: Response = "response",
    harmful: Harmful = "harmful",
    label: Label = None,
    source: Source = "source",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a run, one a line.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write a page and the runs to this folder.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Keep what is judged in this file; given again, it goes on from there."),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A run kept before, for the page."),
    ] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Also print the worst mistakes with their text.")
    ] = False,
    concurrency: Concurrency = 16,
) -> None:
    """Judge labelled rows as live traffic would be, and say how good that was.

    Example: gemma-guard eval mine.csv --scorer lite --text prompt --harmful is_bad
    """
    with in_words():
        judges: list[str | None] = list(scorer) if scorer else [None]
        _refuse_odd(judges, run=run, report=report, compare=compare)
        columns = _columns(text, response, harmful, label, source)
        found = {}
        for judge in judges:
            kept = report / f"{judge or 'run'}.jsonl" if report else run
            bench = _bench(config, judge, route)
            one = _judged(bench, files, columns, kept=kept, concurrency=concurrency)
            found[judge or "run"] = one
            _show(one, as_json=as_json)
            if show_text:
                _show_mistakes(one, files, columns)
        if report:
            _write_page(report, found, compare or ())


def _refuse_odd(
    judges: list[str | None], *, run: Path | None, report: Path | None, compare: list[Path] | None
) -> None:
    if run and (report or len(judges) > 1):
        raise UsageError("--run keeps one run; --report keeps each in its folder")
    if compare and not report:
        raise UsageError("--compare is for the page: give --report DIR too")
    if report:
        report.mkdir(parents=True, exist_ok=True)


def _write_page(folder: Path, runs: Mapping[str, Run], others: Sequence[Path]) -> None:
    from gemma_guard.evaluate import runfile
    from gemma_guard.evaluate.page import Named, page

    named = [Named(name, run) for name, run in runs.items()]
    named += [Named(path.stem, runfile.read(path)) for path in others]
    path = folder / "report.html"
    path.write_text(page(named), encoding="utf-8")
    typer.echo(f"wrote {path}", err=True)


def _bench(config: Path | None, scorer: str | None, route: str | None) -> Bench:
    from gemma_guard.evaluate.subjects import bench

    here = Path(CONFIG_NAME)
    return bench(config or (here if here.exists() else None), scorer=scorer, route=route)


def _columns(
    text: str, response: str, harmful: str, label: list[str] | None, source: str
) -> Columns:
    from gemma_guard.evaluate.rows import Columns

    labels = {}
    for given in label or ():
        policy, equals, column = given.partition("=")
        if not (policy and equals and column):
            raise UsageError(f"--label {given}: POLICY=COLUMN is needed")
        labels[policy] = column
    return Columns(text, response, harmful, labels, source)


def _judged(
    bench: Bench, files: list[Path], columns: Columns, *, kept: Path | None, concurrency: int
) -> Run:
    from gemma_guard.evaluate import evaluating

    order = evaluating.Order(tuple(files), columns, kept, concurrency)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("judging", total=None)

        def seen(done: int, rows: int) -> None:
            progress.update(task, completed=done, total=rows)

        return asyncio.run(evaluating.evaluate(bench, order, seen))


def _show(run: Run, *, as_json: bool) -> None:
    from gemma_guard.evaluate import plain, tables

    if as_json:
        typer.echo(json.dumps(plain.as_json(run)))
        return
    console = Console(highlight=False)
    for part in tables.report(run):
        console.print(part)
        if not isinstance(part, str):
            console.print()


def _show_mistakes(run: Run, files: list[Path], columns: Columns) -> None:
    from gemma_guard.evaluate.mistakes import worst

    console = Console(highlight=False)
    for mistake in worst(run, files, columns):
        kind = "missed" if mistake.is_missed else "false alarm"
        at = f"{mistake.violation:.3f}, {mistake.action}, row {mistake.row.number + 1}"
        console.print(f"\n{kind} ({at}, {mistake.row.source})", style="bold")
        console.print(mistake.row.judged, markup=False)


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
