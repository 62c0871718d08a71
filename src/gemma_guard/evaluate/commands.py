"""The commands that judge many rows: eval, tune, try, accept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gemma_guard.errors import UsageError
from gemma_guard.evaluate import options as o
from gemma_guard.evaluate.terminal import continued, in_words, quote, show, tell, watched

if TYPE_CHECKING:
    from gemma_guard.evaluate.candidates import Candidate
    from gemma_guard.evaluate.evaluating import Order
    from gemma_guard.evaluate.results import Run
    from gemma_guard.evaluate.rows import Columns
    from gemma_guard.evaluate.targets import Target


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("eval")(evaluate)
    app.command()(tune)
    app.command("try")(try_out)
    app.command()(accept)


def evaluate(
    files: o.Files,
    config: o.Config = None,
    scorer: o.Scorers = None,
    route: o.RouteName = None,
    text: o.Text = "text",
    response: o.Response = "response",
    harmful: o.Harmful = "harmful",
    label: o.Label = None,
    source: o.Source = "source",
    as_json: o.AsJson = False,
    report: o.Report = None,
    run: o.RunPath = None,
    compare: o.Compare = None,
    show_text: o.ShowText = False,
    streamed: o.Streamed = False,
    concurrency: o.Concurrency = 16,
) -> None:
    """Judge labelled rows as live traffic would be, and say how good that was.

    Example: gemma-guard eval mine.csv --scorer lite --text prompt --harmful is_bad
    """
    with in_words():
        _refuse_odd(scorer, run=run, report=report, compare=compare)
        columns = _columns(text, response, harmful, label, source)
        found = {}
        judges: list[str | None] = list(scorer) if scorer else [None]
        for judge in judges:
            kept = report / f"{judge or 'run'}.jsonl" if report else run
            order = replace(_order(files, columns, kept, concurrency), is_streamed=streamed)
            one = found[judge or "run"] = _judged(_candidate(config, judge, route), order)
            if len(found) > 1 and not as_json:
                tell("")
            _show_run(one, as_json=as_json)
            if show_text:
                _show_mistakes(one, order)
        if len(found) > 1 and not as_json:
            _show_differences(found)
        if report:
            _write_page(report, found, compare or ())


def tune(
    files: o.Files,
    target: o.Targets,
    config: o.Config = None,
    scorer: o.Scorer = None,
    route: o.RouteName = None,
    text: o.Text = "text",
    response: o.Response = "response",
    harmful: o.Harmful = "harmful",
    label: o.Label = None,
    prior: o.Prior = None,
    out: o.Out = Path("tuned"),
    run: o.RunPath = None,
    concurrency: o.Concurrency = 16,
) -> None:
    """Propose bands, and a calibration if the judge has none, for review: no file is changed.

    They are chosen on one half of the rows and tried on the other.

    Example: gemma-guard tune mine.csv --target "fpr<=0.001" --target "log: recall>=0.95"
    """
    with in_words():
        from gemma_guard.evaluate import proposing

        columns = _columns(text, response, harmful, label, "source")
        targets = proposing.targets(target)
        candidate = _candidate(config, scorer, route, is_raw=True)
        _propose(candidate, _order(files, columns, run, concurrency), targets, prior, out)


def try_out(
    file: o.Texts,
    config: o.Config = None,
    scorer: o.Scorer = None,
    route: o.RouteName = None,
    text: o.Text = "text",
    response: o.Response = "response",
    concurrency: o.Concurrency = 16,
) -> None:
    """Say what would have been blocked of texts of your own; nothing is enforced or kept.

    Example: gemma-guard try last_week.txt
    """
    with in_words():
        from gemma_guard.evaluate import rows, surveying, trying

        candidate = _candidate(config, scorer, route)
        columns = rows.Columns(text, response)
        surveying.refuse_absent([file], columns)
        texts = rows.read([file], replace(columns, harmful=""))
        with watched("judging") as seen:
            tried = asyncio.run(trying.try_out(candidate, texts, seen, concurrency=concurrency))
        show(tried.report())
        for one in tried.caught:
            quote(one.heading, one.row.judged)


def accept(
    model: o.Model,
    files: o.Files,
    target: o.TargetsIfAny = None,
    dtype: o.Dtype = "bfloat16",
    device: o.Device = "cpu",
    text: o.Text = "text",
    response: o.Response = "response",
    harmful: o.Harmful = "harmful",
    label: o.Label = None,
    out: o.Accepted = Path("accepted"),
    concurrency: o.Concurrency = 16,
) -> None:
    """Try ShieldGemma's weights before they judge: the published example, templates, curves, bands.

    Example: gemma-guard accept ./shieldgemma-2b mine.csv --target "fpr<=0.001" --device cuda
    """
    with in_words():
        from gemma_guard.evaluate import accepting, proposing

        targets = proposing.targets(target or ())
        out.mkdir(parents=True, exist_ok=True)
        order = _order(files, _columns(text, response, harmful, label, "source"), None, concurrency)
        weights = accepting.Weights(model, dtype, device)
        with continued(out):
            found = accepting.accept(weights, order, out, watched, tell)
        tell(found.report())
        _write_page(out, {each.template: each.run for each in found.tried}, ())
        try:
            if targets:
                best = found.best.template
                judged = replace(order, kept=accepting.kept_at(out, best))
                _propose(accepting.configured(weights, best, out), judged, targets, None, out)
        finally:
            typer.echo(accepting.ENDING)


def _propose(
    candidate: Candidate, order: Order, targets: tuple[Target, ...], prior: float | None, out: Path
) -> None:
    from gemma_guard.evaluate import proposing, reviewing

    with watched("judging") as seen, continued(order.kept):
        proposed = asyncio.run(proposing.propose(candidate, order, targets, prior, seen))
    show(proposing.report(proposed))
    if not proposed.proposals:
        raise UsageError("nothing to propose")
    review = reviewing.write(candidate, proposed, folder=out)
    typer.echo(f"\n{review.difference}", nl=False)
    for warning in review.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"wrote {', '.join(map(str, review.written))}; nothing else changed", err=True)
    typer.echo(f"once reviewed: patch -p0 < {review.written[0]}", err=True)


def _refuse_odd(
    scorers: Sequence[str] | None,
    *,
    run: Path | None,
    report: Path | None,
    compare: Sequence[Path] | None,
) -> None:
    if run and (report or len(scorers or ()) > 1):
        raise UsageError("--run keeps one run; --report keeps each in its folder")
    if compare and not report:
        raise UsageError("--compare is for the page: give --report DIR too")
    if report:
        report.mkdir(parents=True, exist_ok=True)


def _candidate(
    config: Path | None, scorer: str | None, route: str | None, *, is_raw: bool = False
) -> Candidate:
    from gemma_guard.evaluate.candidates import candidate

    here = Path(o.CONFIG_NAME)
    found = config or (here if here.exists() else None)
    return candidate(found, scorer=scorer, route=route, is_raw=is_raw)


def _columns(
    text: str, response: str, harmful: str, label: Sequence[str] | None, source: str
) -> Columns:
    from gemma_guard.evaluate.rows import Columns

    labels = {}
    for given in label or ():
        policy, equals, column = given.partition("=")
        if not (policy and equals and column):
            raise UsageError(f"--label {given}: POLICY=COLUMN is needed")
        labels[policy] = column
    return Columns(text, response, harmful, labels, source)


def _order(files: Sequence[Path], columns: Columns, kept: Path | None, concurrency: int) -> Order:
    from gemma_guard.evaluate.evaluating import Order

    return Order(tuple(files), columns, kept, concurrency)


def _judged(candidate: Candidate, order: Order) -> Run:
    from gemma_guard.evaluate import evaluating

    with watched("judging") as seen, continued(order.kept):
        return asyncio.run(evaluating.evaluate(candidate, order, seen))


def _show_run(run: Run, *, as_json: bool) -> None:
    from gemma_guard.evaluate import plain, tables

    if as_json:
        typer.echo(json.dumps(plain.as_json(run)))
    else:
        show(tables.report(run))


def _show_mistakes(run: Run, order: Order) -> None:
    from gemma_guard.evaluate.mistakes import worst

    for mistake in worst(run, order.paths, order.columns):
        quote(mistake.heading, mistake.row.judged)


def _show_differences(runs: Mapping[str, Run]) -> None:
    from gemma_guard.evaluate import tables

    show(["", *tables.compared(runs)])


def _write_page(folder: Path, runs: Mapping[str, Run], others: Sequence[Path]) -> None:
    from gemma_guard.evaluate import runfile
    from gemma_guard.evaluate.page import Named, page

    named = [Named(name, run) for name, run in runs.items()]
    named += [Named(path.stem, runfile.read(path)) for path in others]
    path = folder / "report.html"
    path.write_text(page(named), encoding="utf-8")
    typer.echo(f"wrote {path}", err=True)
