"""What `explain` tells: what the judge was asked, what it found, and in its own words why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gemma_guard.errors import UsageError, unknown
from gemma_guard.guard import Guard
from gemma_guard.policy import Policy
from gemma_guard.reasoning import Inquiry
from gemma_guard.verdict import Score, Stage, Verdict


@dataclass(frozen=True, slots=True)
class Explained:
    """One policy in a verdict, and what the judge wrote where it was asked to."""

    policy: Policy
    verdict: Verdict
    score: Score | None
    words: str = ""


async def explained(
    guard: Guard, about: Inquiry, route: str | None, *, in_words: bool
) -> Explained:
    """Judge the text as the guard would, then ask for words."""
    chosen = guard.routes.named(route or "default")
    policies = {rule.policy.name: rule.policy for rule in chosen.rules}
    if about.policy not in policies:
        raise UsageError(unknown("policy", about.policy, policies))
    async with guard:
        verdict = await guard.check(about.text, stage=about.stage, prompt=about.prompt, route=route)
        words = await guard.reason(about, route=route) if in_words else ""
    score = next((s for s in verdict.scores if s.policy == about.policy), None)
    return Explained(policies[about.policy], verdict, score, words)


def stage(name: str) -> Stage:
    """The stage called `name`."""
    if name not in list(Stage):
        raise UsageError(unknown("stage", name, Stage))
    return Stage(name)


def lines(found: Explained, origin: str) -> Iterable[str]:
    """For a terminal."""
    policy, verdict = found.policy, found.verdict
    yield f"{policy.name} at the {verdict.stage} stage, {origin}"
    if policy.guideline:
        yield f"  asked      {policy.guideline.at(verdict.stage)}"
    yield from _score(found.score)
    for finding in verdict.findings:
        if finding.policy == policy.name:
            yield f"  {finding.action!s:<10} at {finding.threshold:g}, decided by {finding.key}"
    for gap in verdict.gaps:
        yield f"  not judged {gap.cause}: {gap.reason}"
    if found.words:
        yield "  in the model's own words, on which no verdict rests:"
        yield from (f"    {line}" for line in found.words.splitlines())


def _score(score: Score | None) -> Iterable[str]:
    if score is None:
        return
    margin = "" if score.margin is None else f", margin {score.margin:+.3f}"
    yield f"  violation  {score.violation:.4f}{margin}"
    if score.window:
        yield f"  window     characters {score.window.start} to {score.window.end}"
