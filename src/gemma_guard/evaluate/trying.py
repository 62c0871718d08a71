"""What a guard would have done with texts of one's own; nothing is enforced, nothing kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gemma_guard.evaluate.candidates import Candidate
from gemma_guard.evaluate.evaluating import Progress, unseen
from gemma_guard.evaluate.judged import judge
from gemma_guard.evaluate.rows import Row
from gemma_guard.verdict import Action, Verdict

MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Caught:
    """A text that the guard would not have let pass in silence."""

    row: Row = field(repr=False)
    action: Action
    policies: tuple[str, ...]
    violation: float

    @property
    def heading(self) -> str:
        """What would have been done, without the text."""
        policies = ", ".join(self.policies) or "not judged"
        return f"{self.action}, {policies}, {self.violation:.2f}, row {self.row.number + 1}"


@dataclass(slots=True)
class Tried:
    """How many texts by action, how many not judged by cause, and the worst of those caught."""

    actions: Counter[Action] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    caught: list[Caught] = field(default_factory=list)

    def take(self, row: Row, verdict: Verdict) -> None:
        """Count `verdict`, and keep `row` if it is among the worst."""
        self.actions[verdict.action] += 1
        self.causes.update(dict.fromkeys((gap.cause.value for gap in verdict.gaps), 1))
        if verdict.action > Action.ALLOW:
            worst = max((finding.violation for finding in verdict.findings), default=0.0)
            self.caught.append(Caught(row, verdict.action, verdict.policies, worst))
            self.caught.sort(key=lambda one: (-one.action, -one.violation))
            del self.caught[MOST_SHOWN:]

    def report(self) -> Iterator[str]:
        """How many of each."""
        done = ", ".join(f"{action} {self.actions[action]}" for action in reversed(Action))
        yield f"of {sum(self.actions.values()):,} texts it would {done}"
        if (found := sum(self.actions.values()) - self.actions[Action.ALLOW]) > MOST_SHOWN:
            yield f"the worst {MOST_SHOWN} of these {found:,}:"
        for cause, texts in sorted(self.causes.items()):
            yield f"not judged, or not whole: {texts:,}: {cause}"


async def try_out(
    candidate: Candidate, rows: Iterable[Row], progress: Progress = unseen, *, concurrency: int
) -> Tried:
    """Judge every row and say what would have been done."""
    tried = Tried()

    def take(row: Row, verdict: Verdict) -> None:
        tried.take(row, verdict)
        progress(tried.actions.total(), None)

    await judge(candidate, rows, take, concurrency=concurrency)
    return tried
