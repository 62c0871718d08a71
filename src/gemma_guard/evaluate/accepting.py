"""The first thing to run with real weights: do they do here what was published, and how well.

Nothing that it finds makes a judge validated: that takes rows like the traffic it will see, and a
person who looked at them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from gemma_guard.errors import UsageError
from gemma_guard.evaluate import recipe
from gemma_guard.evaluate.candidates import Candidate, candidate
from gemma_guard.evaluate.evaluating import Order, Progress, evaluate
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
ENDING = "unvalidated: nobody has looked yet at rows like those that this judge will see"
_LONGEST = 2_000

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
class Tried:
    """One template. `apart` is the furthest that any of `compared` answers is from the recipe's."""

    template: str
    run: Run
    compared: int
    apart: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was found. `example` is what these weights say of the published example."""

    example: float
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The template that ranks requests best on these rows; chosen by them."""
        return max(self.tried, key=lambda each: _area(each.run))

    def report(self) -> Iterator[str]:
        """What a person reads."""
        near = (
            "as published" if abs(self.example - EXAMPLE_VIOLATION) <= NEAR else "NOT AS PUBLISHED"
        )
        yield f"published example: {self.example:.4f}, there {EXAMPLE_VIOLATION:.4f}: {near}"
        for each in self.tried:
            yield (
                f"template {each.template}: AU-PRC of any policy {_area(each.run):.3f};"
                f" packed and plain at most {each.apart:.2g} apart on {each.compared} answers"
            )
        best = self.best.template
        yield f"best on these rows: {best}, chosen by them, so optimistic; {best}.yaml has it"


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
    return candidate(path, is_raw=True)


def accept(
    weights: Weights,
    order: Order,
    folder: Path,
    watched: Watched,
) -> Accepted:
    """Judge the rows with every template, and some of them by the recipe too."""
    _refuse_unready(weights, order)
    example = _example(weights)
    stages = {row.stage for row in read(order.paths, order.columns)}
    fitting = [name for name, each in TEMPLATES.items() if stages <= set(each.forms)]
    return Accepted(example, tuple(_tried(weights, n, order, folder, watched) for n in fitting))


def _refuse_unready(weights: Weights, order: Order) -> None:
    """Raise `UsageError` for what can be told before minutes of loading."""
    needed = ("config.json", "tokenizer.json", "*.safetensors")
    if lacking := [name for name in needed if not any(weights.folder.glob(name))]:
        raise UsageError(
            f"{weights.folder}: no {', no '.join(lacking)}; a folder with {', '.join(needed)} is"
            " needed, as the Hub has it"
        )
    policies = [policy.name for policy in default().policies]
    survey(order.paths, order.columns, policies)


def _example(weights: Weights) -> float:
    plain = recipe.load(
        weights.folder, TEMPLATES[EXAMPLE_TEMPLATE], dtype=weights.dtype, device=weights.device
    )
    [policy] = [each for each in default().policies if each.name == EXAMPLE_POLICY]
    return plain.violation(EXAMPLE, policy, Stage.INPUT, None)


def _tried(weights: Weights, template: str, order: Order, folder: Path, watched: Watched) -> Tried:
    mine = replace(order, kept=folder / f"{template}.jsonl")
    with watched(template) as seen:
        run = asyncio.run(evaluate(configured(weights, template, folder), mine, seen))
    apart = list(_apart(weights, template, run, _sample(order)))
    return Tried(template, run, len(apart), max(apart, default=0.0))


def _sample(order: Order) -> Sequence[Row]:
    """The first rows that both ways read alike: the recipe does not mind control tokens."""
    plain = (row for row in read(order.paths, order.columns) if _is_plain(row))
    return tuple(islice(plain, SAMPLE))


def _is_plain(row: Row) -> bool:
    texts = (row.text, row.response or "")
    return not any(word in text for text in texts for word in CONTROLS) and all(
        text.isascii() and len(text) < _LONGEST for text in texts
    )


def _apart(weights: Weights, template: str, run: Run, rows: Sequence[Row]) -> Iterator[float]:
    plain = recipe.load(
        weights.folder, TEMPLATES[template], dtype=weights.dtype, device=weights.device
    )
    judged: Mapping[int, int] = {int(number): place for place, number in enumerate(run.number)}
    for row in rows:
        prompt = None if row.response is None else row.text
        for policy in default().policies:
            packed = float(run.violation[policy.name][judged[row.number]])
            yield abs(plain.violation(row.judged, policy, row.stage, prompt) - packed)


def _area(run: Run) -> float:
    found = [each.au_prc.value for each in measures(run) if each.policy == REQUEST]
    return found[0] if found else float("nan")
