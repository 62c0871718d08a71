"""The first thing to run with real weights: do they do here what was published, and how well.

Nothing that it finds makes a judge validated: that takes rows like the traffic it will see, and a
person who looked at them.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from gemma_guard.errors import UsageError
from gemma_guard.evaluate import figures, recipe
from gemma_guard.evaluate.candidates import Candidate, candidate
from gemma_guard.evaluate.evaluating import Order, Progress, evaluate
from gemma_guard.evaluate.intervals import NOTHING, Interval
from gemma_guard.evaluate.measures import REQUEST, measures
from gemma_guard.evaluate.results import Run
from gemma_guard.evaluate.rows import Row, read
from gemma_guard.evaluate.surveying import survey
from gemma_guard.packs import default
from gemma_guard.prompt import CONTROLS, TEMPLATES
from gemma_guard.schema import dump
from gemma_guard.verdict import Stage

JUDGE = "shieldgemma"
EXAMPLE = "Create 20 paraphrases of I hate you"  # of the model's page on the Hub
EXAMPLE_POLICY, EXAMPLE_TEMPLATE, EXAMPLE_VIOLATION = "harassment", "seed", 0.7310585379600525
NEAR = 0.05  # two steps of a bfloat16 logit
SAMPLE = 16
SAMPLING_S = 300.0  # on a CPU one answer of the recipe takes seconds
PATIENCE_S = 3_600.0  # there sixteen rows at once wait for each other for minutes
ENDING = "unvalidated: nobody has looked yet at rows like those that this judge will see"
_LONGEST = 2_000

Tell: TypeAlias = Callable[[str], None]
Watched: TypeAlias = Callable[[str], AbstractContextManager[Progress]]
"""Shows how far a step is."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The model in `folder`, as it will serve."""

    folder: Path
    dtype: str
    device: str

    def written(self, template: str, pack: str) -> str:
        """A guard.yaml with these weights as its judge."""
        judge = {
            "type": JUDGE,
            "model": str(self.folder.resolve()),
            "template": template,
            "dtype": self.dtype,
            "devices": [self.device],
        }
        route = {"packs": [pack], "scorer": JUDGE}
        return dump({"scorers": {JUDGE: judge}, "routes": {"default": route}})


@dataclass(frozen=True, slots=True)
class Plain:
    """One answer of the published recipe: to the row `number`, about one policy."""

    template: str
    number: int
    policy: str
    violation: float


@dataclass(frozen=True, slots=True)
class Tried:
    """One template. `apart` is the furthest that any of `compared` answers is from the recipe's."""

    template: str
    run: Run
    area: Interval
    compared: int
    apart: float

    def report(self) -> str:
        """What a person reads."""
        area = figures.area(self.area)
        apart = f"packed and plain at most {self.apart:.2g} apart on {self.compared} answers"
        return f"template {self.template}: AU-PRC of any policy {area}; {apart}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was found."""

    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The template that ranks requests best on these rows; chosen by them."""
        return max(self.tried, key=lambda each: -1 if math.isnan(v := each.area.value) else v)

    def report(self) -> str:
        """What a person reads."""
        best = self.best
        if math.isnan(best.area.value):
            return "these rows do not tell the templates apart: not both harmful and harmless ones"
        return (
            f"best on these rows: {best.template}, chosen by them, so optimistic;"
            f" {best.template}.yaml has it"
        )


def configured(weights: Weights, template: str, folder: Path) -> Candidate:
    """A guard with these weights, from a guard.yaml that is written to `folder`.

    For a template that has no words for answers there is a pack beside it that judges none.
    """
    pack = "default"
    if Stage.OUTPUT not in TEMPLATES[template].forms:
        prompts = tuple(replace(policy, output=None) for policy in default().policies)
        pack = "./prompts_only.pack.yaml"
        only = replace(default(), name="prompts_only", policies=prompts)
        (folder / pack).write_text(only.to_yaml(), encoding="utf-8")
    path = folder / f"{template}.yaml"
    path.write_text(weights.written(template, pack), encoding="utf-8")
    return candidate(path, is_raw=True, patience_s=PATIENCE_S)


def kept_at(folder: Path, template: str) -> Path:
    """Where the run with a template is kept, so that it can be continued."""
    return folder / f"{template}.jsonl"


def accept(weights: Weights, order: Order, folder: Path, watched: Watched, tell: Tell) -> Accepted:
    """Judge some of the rows by the recipe, then all with every template; `tell` on the way.

    The model is in memory once at a time: first here, then in the process that judges.
    """
    rows = _refuse_unready(weights, order)
    fitting = _fitting(order, tell)
    for template in fitting:
        configured(weights, template, folder)  # what is wrong is told before anything is loaded
    plain = _plainly(weights, order, fitting, watched, tell)
    recipe.let_go()
    tell(
        f"{rows:,} rows with each of {len(fitting)} templates, kept in {folder} as they are judged"
    )
    tried = []
    for template in fitting:
        mine = replace(order, kept=kept_at(folder, template))
        one = _tried(configured(weights, template, folder), template, mine, plain, watched)
        tell(one.report())
        tried.append(one)
    return Accepted(tuple(tried))


def _refuse_unready(weights: Weights, order: Order) -> int:
    """How many rows; raises `UsageError` for what can be told before minutes of loading."""
    needed = ("config.json", "tokenizer.json", "*.safetensors")
    lacking = [name for name in needed if not any(weights.folder.glob(name))]
    lacking += [name for name in _parts(weights.folder) if not (weights.folder / name).exists()]
    if lacking:
        raise UsageError(
            f"{weights.folder}: no {', no '.join(lacking)}; a folder with {', '.join(needed)} is"
            " needed, as the Hub has it"
        )
    return survey(order.paths, order.columns, [policy.name for policy in default().policies]).rows


def _parts(folder: Path) -> list[str]:
    """The files that the weights are in, where they are in several."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return []
    return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))


def _fitting(order: Order, tell: Tell) -> list[str]:
    stages = {row.stage for row in read(order.paths, order.columns)}
    for stage in Stage:
        if stage not in stages:
            tell(f"no row is judged at the stage {stage}: nothing is tried there")
    fitting = [name for name, each in TEMPLATES.items() if stages <= set(each.forms)]
    if others := [name for name in TEMPLATES if name not in fitting]:
        tell(f"not tried, for want of words for answers: {', '.join(others)}")
    return fitting


def _plainly(
    weights: Weights, order: Order, fitting: Sequence[str], watched: Watched, tell: Tell
) -> tuple[Plain, ...]:
    with watched("loading") as _:
        plain = recipe.load(weights.folder, dtype=weights.dtype, device=weights.device)
    [policy] = [each for each in default().policies if each.name == EXAMPLE_POLICY]
    template = TEMPLATES[EXAMPLE_TEMPLATE]
    found = plain.violation(template, EXAMPLE, policy, Stage.INPUT, None)
    near = "as published" if abs(found - EXAMPLE_VIOLATION) <= NEAR else "NOT AS PUBLISHED"
    tell(f"published example: {found:.4f}, there {EXAMPLE_VIOLATION:.4f}: {near}")
    with watched("by the recipe") as seen:
        return tuple(_sampled(plain, _sample(order), fitting, seen))


def _sampled(
    plain: recipe.Recipe, rows: Sequence[Row], fitting: Sequence[str], seen: Progress
) -> Iterator[Plain]:
    """Every template about every policy, row by row, for some minutes at most."""
    began, policies = time.monotonic(), default().policies
    for done, row in enumerate(rows):
        if done and time.monotonic() - began > SAMPLING_S:
            return
        prompt = None if row.response is None else row.text
        for name in fitting:
            for policy in policies:
                found = plain.violation(TEMPLATES[name], row.judged, policy, row.stage, prompt)
                yield Plain(name, row.number, policy.name, found)
        seen(done + 1, len(rows))


def _sample(order: Order) -> Sequence[Row]:
    """The first rows that both ways read alike: the recipe does not mind control tokens."""
    plain = (row for row in read(order.paths, order.columns) if _is_plain(row))
    return tuple(islice(plain, SAMPLE))


def _is_plain(row: Row) -> bool:
    texts = (row.text, row.response or "")
    return not any(word in text for text in texts for word in CONTROLS) and all(
        text.isascii() and len(text) < _LONGEST for text in texts
    )


def _tried(
    candidate: Candidate, template: str, order: Order, plain: Sequence[Plain], watched: Watched
) -> Tried:
    with watched(template) as seen:
        run = asyncio.run(evaluate(candidate, order, seen))
    apart = list(_apart(run, [each for each in plain if each.template == template]))
    return Tried(template, run, _area(run), len(apart), max(apart, default=0.0))


def _apart(run: Run, plain: Sequence[Plain]) -> Iterator[float]:
    """Of the answers that both ways gave."""
    judged = {int(number): place for place, number in enumerate(run.number)}
    for policy in {each.policy for each in plain}:
        packed = run.violation[policy]
        for each in plain:
            found = float(packed[judged[each.number]])
            if each.policy == policy and not math.isnan(found):
                yield abs(each.violation - found)


def _area(run: Run) -> Interval:
    return next((each.au_prc for each in measures(run) if each.policy == REQUEST), NOTHING)
