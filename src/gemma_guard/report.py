"""Verdicts, policies and records as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from gemma_guard.health import Health
from gemma_guard.policy import Bands
from gemma_guard.route import Route
from gemma_guard.verdict import Action, Score, Stage, Verdict

_STYLES = {
    Action.ALLOW: "green",
    Action.LOG: "cyan",
    Action.REDACT: "yellow",
    Action.BLOCK: "bold red",
}
_BAR = 20


def as_json(verdict: Verdict) -> dict[str, Any]:
    """What `check --json` prints."""
    return {
        "id": verdict.id,
        "action": str(verdict.action),
        "scores": [
            {"policy": s.policy, "violation": s.violation, "spans": [asdict(x) for x in s.spans]}
            for s in verdict.scores
        ],
        "gaps": [asdict(gap) for gap in verdict.gaps],
        "text": verdict.text,
        "route": verdict.route,
        "fingerprint": verdict.fingerprint,
        "status": verdict.status,
        "ms": round(verdict.ms, 3),
    }


def action_word(action: Action) -> Text:
    """The action in its colour."""
    return Text(str(action).upper(), style=_STYLES[action])


def bar(violation: float, bands: Bands) -> Text:
    """A violation on a line from 0 to 1 that shows where each band begins.

    The marks are `l`, `r` and `b` for log, redact and block.
    """
    cells = ["█" if i < round(violation * _BAR) else "·" for i in range(_BAR)]
    for action, threshold in bands.thresholds:
        cells[min(_BAR - 1, int(threshold * _BAR))] = str(action)[0]
    return Text("".join(cells), style=_STYLES[bands.judge(violation)[0]])


def scores(verdict: Verdict, route: Route, *, only: frozenset[str] | None = None) -> Table:
    """One line per policy: its violation against its bands, and what it asks for."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    bands = _bands(route, verdict.stage)
    for score in verdict.scores:
        if score.policy in bands and (only is None or score.policy in only):
            table.add_row(*_row(score, bands[score.policy], verdict))
    return table


def policies(route: Route) -> Table:
    """The policies of a route with their bands."""
    table = Table("policy", "kind", "scorer", "input", "output", title=f"route {route.name}")
    for rule in route.rules:
        bands = [str(b) if (b := rule.bands(stage)) is not None else "-" for stage in Stage]
        shadow = " (shadow)" if rule.shadow else ""
        table.add_row(rule.policy.name + shadow, rule.policy.kind, rule.scorer, *bands)
    return table


def decision(record: Mapping[str, Any]) -> Iterable[str]:
    """What `show` prints of a record."""
    yield f"decision {record['id']}: {record['action']} ({record['status']})"
    yield f"  route {record['route']}, stage {record['stage']}, {record['ms']} ms"
    yield f"  fingerprint {record['fingerprint']}"
    for finding in record["findings"]:
        shadow = " (shadow: not enforced)" if finding["shadow"] else ""
        exempt = f" (let through by {finding['exempt']})" if finding.get("exempt") else ""
        yield f"  {finding['policy']}: {finding['action']}{shadow}{exempt}"
        yield f"    violation {finding['violation']:.4f} >= {finding['threshold']:g}"
        yield f"    decided by {finding['key']}"
        yield f"    at {_place(finding['place'])}{_spans(finding['spans'])}"
    for gap in record["gaps"]:
        instead = f", judged by {gap['judged_by']} instead" if gap["judged_by"] else ""
        yield f"  not judged: {gap['policy'] or 'everything'}: {gap['cause']}{instead}"
        yield f"    at {_place(gap['place'])}: {gap['reason']}"


def health(one: Health) -> Iterable[str]:
    """What `doctor` prints of a scorer."""
    yield f"{one.scorer}: {'well' if one.is_well else f'NOT WELL: {one.reason}'}"
    yield from (f"  {name:<12} {fact}" for name, fact in one.facts.items())
    yield f"  {'fingerprint':<12} {one.fingerprint}"
    if one.harmless is not None and one.harmful is not None:
        violations = f"harmless {one.harmless:.2f}, harmful {one.harmful:.2f}"
        yield f"  {'check':<12} {violations}, both in {one.ms:.0f} ms"
    for check in one.checks:
        yield f"  {check.name:<12} {'ok' if check.is_well else 'NOT OK'}: {check.detail}"


def _bands(route: Route, stage: Stage) -> dict[str, Bands]:
    found = ((rule.policy.name, rule.bands(stage)) for rule in route.rules)
    return {name: bands for name, bands in found if bands is not None}


def _row(score: Score, bands: Bands, verdict: Verdict) -> tuple[Text | str, ...]:
    mine = [f for f in verdict.findings if f.policy == score.policy]
    action = max((f.action for f in mine), default=Action.ALLOW)
    word = action_word(action)
    if mine and not any(finding.is_enforced for finding in mine):
        why = "shadow" if all(finding.shadow for finding in mine) else "exception"
        word = Text(f"{action} ({why})", style="dim")
    where = f"characters {score.window.start}-{score.window.end}" if score.window else ""
    return score.policy, bar(score.violation, bands), f"{score.violation:.2f}", word, where


def _place(place: Iterable[str | int]) -> str:
    steps = list(place)
    return "messages" + "".join(f"[{step!r}]" for step in steps) if steps else "the text"


def _spans(spans: Iterable[Mapping[str, Any]]) -> str:
    written = [f"{s['start']}-{s['end']} {s['kind']}".strip() for s in spans]
    return f", characters {', '.join(written)}" if written else ""
