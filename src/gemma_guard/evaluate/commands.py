"""The commands that need labelled rows: eval, tune, try, accept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.progress import Progress

from gemma_guard.errors import GuardError, UsageError
from gemma_guard.verdict import Action

if TYPE_CHECKING:
    from gemma_guard.evaluate.candidates import Candidate
    from gemma_guard.evaluate.evaluating import Order
    from gemma_guard.evaluate.results import Run
    from gemma_guard.evaluate.rows import Columns
    from gemma_guard.evaluate.trying import Tried

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
    app.command()(tune)
    app.command("try")(try_out)


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
            candidate = _candidate(config, judge, route)
            one = _judged(candidate, _order(files, columns, kept, concurrency))
            found[judge or "run"] = one
            _show(one, as_json=as_json)
            if show_text:
                _show_mistakes(one, files, columns)
        if report:
            _write_page(report, found, compare or ())


def tune(
    files: Files,
    target: Annotated[
        list[str],
        typer.Option(
            help='"fpr<=0.001", "recall>=0.95", "cost fp=1 fn=20"; "log: ..." for a band.'
        ),
    ],
    config: Config = None,
    scorer: Annotated[str | None, typer.Option(help="Judge with this one instead.")] = None,
    route: RouteName = None,
    text: Text = "text",
    response: Response = "response",
    harmful: Harmful = "harmful",
    label: Label = None,
    prior: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1 - 1e-6, help="The share of violations in your traffic."),
    ] = None,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Where the proposal is written.")
    ] = Path("tuned"),
    run: Annotated[
        Path | None,
        typer.Option(help="Keep what is judged in this file; given again, it goes on from there."),
    ] = None,
    concurrency: Concurrency = 16,
) -> None:
    """Propose bands, and a calibration if the judge has none, for review: no file is changed.

    They are chosen on one half of the rows and tried on the other.

    Example: gemma-guard tune mine.csv --target "fpr<=0.001" --target "log: recall>=0.95"
    """
    with in_words():
        from gemma_guard.evaluate import proposing, reviewing

        targets = proposing.targets(target)
        candidate = _candidate(config, scorer, route, is_raw=True)
        order = _order(files, _columns(text, response, harmful, label, "source"), run, concurrency)
        with _watched("judging") as seen:
            proposed = asyncio.run(proposing.propose(candidate, order, targets, prior, seen))
        _print(proposing.report(proposed))
        if not proposed.proposals:
            raise UsageError("nothing to propose")
        review = reviewing.write(candidate, proposed, folder=out)
        typer.echo(f"\n{review.difference}", nl=False)
        for warning in review.warnings:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"wrote {', '.join(map(str, review.written))}; nothing else changed", err=True)


def try_out(
    file: Annotated[
        Path,
        typer.Argument(help="Texts of your own: .txt (one a line), .jsonl, .csv or .parquet."),
    ],
    config: Config = None,
    scorer: Annotated[str | None, typer.Option(help="Judge with this one instead.")] = None,
    route: RouteName = None,
    text: Text = "text",
    response: Response = "response",
    concurrency: Concurrency = 16,
) -> None:
    """Say what would have been blocked of texts of your own; nothing is enforced or kept.

    Example: gemma-guard try last_week.txt
    """
    with in_words():
        from gemma_guard.evaluate import rows, trying

        candidate = _candidate(config, scorer, route)
        texts = rows.read([file], rows.Columns(text, response, harmful=""))
        _show_tried(asyncio.run(trying.try_out(candidate, texts, concurrency=concurrency)))


def _show_tried(tried: Tried) -> None:
    console, total = Console(highlight=False), sum(tried.actions.values())
    done = ", ".join(f"{action} {tried.actions[action]}" for action in reversed(Action))
    console.print(f"of {total:,} texts it would {done}")
    for cause, rows in sorted(tried.causes.items()):
        console.print(f"not judged, or not whole: {rows:,}: {cause}")
    for one in tried.caught:
        policies = ", ".join(one.policies) or "not judged"
        at = f"{one.action}, {policies}, {one.violation:.2f}, row {one.row.number + 1}"
        console.print(f"\n{at}", style="bold")
        console.print(one.row.judged, markup=False)


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


def _candidate(
    config: Path | None, scorer: str | None, route: str | None, *, is_raw: bool = False
) -> Candidate:
    from gemma_guard.evaluate.candidates import candidate

    here = Path(CONFIG_NAME)
    found = config or (here if here.exists() else None)
    return candidate(found, scorer=scorer, route=route, is_raw=is_raw)


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


def _judged(candidate: Candidate, order: Order) -> Run:
    from gemma_guard.evaluate import evaluating

    with _watched("judging") as seen:
        return asyncio.run(evaluating.evaluate(candidate, order, seen))


def _order(files: list[Path], columns: Columns, kept: Path | None, concurrency: int) -> Order:
    from gemma_guard.evaluate.evaluating import Order

    return Order(tuple(files), columns, kept, concurrency)


@contextmanager
def _watched(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, rows: progress.update(task, completed=done, total=rows)


def _show(run: Run, *, as_json: bool) -> None:
    from gemma_guard.evaluate import plain, tables

    if as_json:
        typer.echo(json.dumps(plain.as_json(run)))
    else:
        _print(tables.report(run))


def _print(parts: Iterable[RenderableType]) -> None:
    console = Console(highlight=False)
    for part in parts:
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
