"""A proposal as a change of guard.yaml for somebody to review: never made in silence."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from gemma_guard import settings
from gemma_guard.errors import UsageError
from gemma_guard.evaluate.candidates import Candidate
from gemma_guard.evaluate.proposing import Proposed
from gemma_guard.evaluate.tuning import Proposal
from gemma_guard.evaluate.yamledit import set_at
from gemma_guard.schema import dump, read_text


@dataclass(frozen=True, slots=True)
class Review:
    """What was written: the difference of guard.yaml, and warnings about what else it changes."""

    difference: str
    written: tuple[Path, ...]
    warnings: tuple[str, ...]


def write(candidate: Candidate, proposed: Proposed, *, folder: Path) -> Review:
    """Write the difference, and the calibration it names, to `folder`; guard.yaml stays as it is.

    Raises `ConfigError` where guard.yaml would not load with it.
    """
    proposals = proposed.proposals
    folder.mkdir(parents=True, exist_ok=True)
    place, text = candidate.file or Path("guard.yaml"), candidate.text
    written: list[Path] = []
    warnings: list[str] = []
    if any(proposal.calibration for proposal in proposals):
        file = folder / f"{_judge(candidate)}.calibration.yaml"
        file.write_text(_calibration(proposed), encoding="utf-8")
        named = os.path.relpath(file.resolve(), place.resolve().parent)
        text = _with_calibration(text, candidate, named)
        written.append(file)
        warnings += _others(candidate, place)
    text = _with_bands(text, candidate, proposals)
    settings.loads(text, source=f"{place} as proposed", beside=place.parent)
    difference = _difference(candidate.file, text, place)
    (folder / "guard.yaml.diff").write_text(difference, encoding="utf-8")
    return Review(difference, (folder / "guard.yaml.diff", *written), tuple(warnings))


def _judge(candidate: Candidate) -> str:
    if len(candidate.judges) != 1:
        raise UsageError("the route asks several judges; give one with --scorer")
    return candidate.judges[0]


def _with_calibration(text: str, candidate: Candidate, file: str) -> str:
    judge = _judge(candidate)
    if judge not in (yaml.safe_load(text).get("scorers") or {}):
        text = set_at(text, ("scorers", judge, "type"), judge)
    return set_at(text, ("scorers", judge, "calibration"), file)


def _with_bands(text: str, candidate: Candidate, proposals: Sequence[Proposal]) -> str:
    for proposal in proposals:
        for policy in proposal.policies:
            path = (
                "routes",
                candidate.route.name,
                "policies",
                policy,
                "bands",
                str(proposal.stage),
            )
            text = set_at(text, path, str(proposal.bands))
    return text


def _calibration(proposed: Proposed) -> str:
    maps: dict[str, dict[str, Mapping[str, float]]] = {}
    for proposal in proposed.proposals:
        for policy in proposal.policies:
            if (given := proposal.calibration) is not None:
                stages = maps.setdefault(policy, {})
                stages[str(proposal.stage)] = {"slope": given.slope, "bias": given.bias}
    today = datetime.now(UTC).date().isoformat()
    made_with = f"gemma-guard tune, {today}, rows {proposed.rows}, prior {proposed.prior}"
    head = {"version": 1, "scorer": proposed.fingerprint, "made_with": made_with}
    return dump({**head, "policies": maps})


def _others(candidate: Candidate, place: Path) -> list[str]:
    """Routes whose bands were chosen for what the judge said before it had this calibration."""
    loaded = settings.loads(candidate.text, source=candidate.origin, beside=place.parent)
    return [
        f"route {route.name} asks {_judge(candidate)} too: its bands now mean calibrated"
        " probabilities; tune it as well"
        for route in loaded.routes.routes.values()
        if route.name != candidate.route.name
        and any(rule.scorer == _judge(candidate) for rule in route.rules)
    ]


def _difference(file: Path | None, after: str, place: Path) -> str:
    before, old = (read_text(file), str(file)) if file else ("", "/dev/null")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), old, str(place)
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
