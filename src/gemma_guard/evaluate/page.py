"""Runs as one page of HTML: nothing loaded, no script, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import NamedTuple

from gemma_guard.evaluate import grids
from gemma_guard.evaluate.charts import Line, charts
from gemma_guard.evaluate.comparing import differences, refuse_others
from gemma_guard.evaluate.figures import gathered
from gemma_guard.evaluate.grids import Grid
from gemma_guard.evaluate.measures import REQUEST, groups
from gemma_guard.evaluate.results import Run
from gemma_guard.verdict import Stage

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 74rem; color: #1f2328;
  background: #fff; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid #d0d7de;
  padding-bottom: .25rem; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { max-width: 46rem; margin: .4rem 0; }
.quiet { color: #59636e; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .75rem .28rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #eaeef2; }
th { font-weight: 600; color: #59636e; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
figure { margin: 0; }
svg { width: 100%; height: auto; display: block; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: inherit; }
nav a { margin-right: 1rem; color: #0969da; }
@media print { .scroll { overflow: visible; } figure { break-inside: avoid; } }
"""


class Html(NamedTuple):
    """Text that is markup already; any other text is escaped on its way in."""

    markup: str


class Named(NamedTuple):
    """A run under the name it has on the page."""

    name: str
    run: Run


def page(runs: Sequence[Named]) -> str:
    """The whole page; raises `UsageError` where the runs are about different rows."""
    refuse_others(tuple(named.run for named in runs))
    body = Html("".join(part.markup for part in _body(runs)))
    return (
        f"<!doctype html>\n{_element('html', _head(), _element('body', body), lang='en').markup}\n"
    )


def _head() -> Html:
    return _element(
        "head",
        _element("meta", charset="utf-8"),
        _element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _element("meta", name="referrer", content="no-referrer"),
        _element("title", "gemma-guard evaluation"),
        Html(f"<style>{STYLE}</style>"),
    )


def _policy() -> str:
    """Only the style above, by its hash."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _body(runs: Sequence[Named]) -> Iterator[Html]:
    today = datetime.now(UTC).date().isoformat()
    yield _element("h1", "Evaluation of a guard")
    yield _element("p", f"gemma-guard {version('gemma-guard')}, {today}", class_="quiet")
    for named in runs:
        yield from _summary(named, is_alone=len(runs) == 1)
    yield from _compared(runs)
    for stage in Stage:
        yield from _stage(stage, runs)
    yield from _reading()
    unvalidated = dict.fromkeys(name for named in runs for name in named.run.subject.unvalidated)
    if unvalidated:
        yield _element("p", f"unvalidated, for want of a calibration: {gathered(unvalidated)}")


def _summary(named: Named, *, is_alone: bool) -> Iterator[Html]:
    if not is_alone:
        yield _element("h3", named.name)
    for line in (*grids.headline(named.run), *grids.warnings(named.run)):
        yield _element("p", line)


def _compared(runs: Sequence[Named]) -> Iterator[Html]:
    if len(runs) < 2:  # noqa: PLR2004  a comparison needs two
        return
    first, *others = runs
    yield _element("h2", f"Against {first.name}")
    for other in others:
        name = f"{other.name} minus {first.name}"
        yield _table(grids.differences(name, differences(first.run, other.run)))
    yield _element("p", grids.PAIRED, class_="quiet")


def _stage(stage: Stage, runs: Sequence[Named]) -> Iterator[Html]:
    found = {named.name: tuple(grids.at_stage(named.run, stage)) for named in runs}
    if not any(found.values()):
        return
    yield _element("h2", "What goes in" if stage is Stage.INPUT else "What comes out")
    for name, tables in found.items():
        if tables and len(runs) > 1:
            yield _element("h3", name)
        yield from (_table(grid) for grid in tables)
    for policy in (REQUEST, *runs[0].run.policies):
        yield from _policy_charts(policy, stage, runs)


def _policy_charts(policy: str, stage: Stage, runs: Sequence[Named]) -> Iterator[Html]:
    lines = [
        Line(named.name, group, named.run.subject.bands.get((policy, stage)))
        for named in runs
        for group in groups(named.run)
        if (group.policy, group.stage) == (policy, stage)
    ]
    if lines:
        yield _element("h3", policy)
        drawn = (
            _element("figure", Html(chart.svg), role="img", aria_label=f"{policy}: {chart.title}")
            for chart in charts(lines)
        )
        yield _element("div", *drawn, class_="charts")


def _reading() -> Iterator[Html]:
    yield _element("h2", "How to read this")
    for sentence in _SENTENCES:
        yield _element("p", sentence)


_SENTENCES = (
    (
        "Every row was judged by the route named above, with its scope, windows, policies and"
        " bands, as live traffic is; nothing was enforced and no text was kept. Of a whole request"
        " the score is the worst violation of any judged policy, and the action is what the guard"
        " decided."
    ),
    grids.NOTES,
    (
        "Intervals are Wilson's for shares, the same at the effective number of rows for areas"
        " under curves. They say how far other rows of the same kind might differ. They say nothing"
        " of traffic of another kind, and nothing of labels that are wrong."
    ),
    (
        "Expected numbers take the rates seen here to a traffic in which so many requests are"
        " violations like those in these rows. Where your violations are harder, more are missed."
    ),
)


def _table(grid: Grid) -> Html:
    head = _row("th", grid.head)
    rows = (_row("td", row) for row in grid.rows)
    table = _element("table", _element("thead", head), _element("tbody", *rows))
    return _element("div", table, class_="scroll", tabindex="0")


def _row(kind: str, cells: Iterable[str]) -> Html:
    return _element("tr", *(_element(kind, cell) for cell in cells))


def _element(tag: str, /, *children: str | Html, **attributes: str) -> Html:
    """One element; `class_` and `http_equiv` are written as HTML writes them."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    if tag == "meta":
        return Html(f"<{tag}{written}>")
    inside = "".join(c.markup if isinstance(c, Html) else escape(c) for c in children)
    return Html(f"<{tag}{written}>{inside}</{tag}>")
