"""The output stage: whether an answer, in the light of its prompt, does harm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from graph import Graph
from nets import Net, Plan, Spans, add_net, margins, save, trained

RANK = 96
"""Directions kept of a prompt: few are distinct, and whole they would be learned by heart."""
CUTS = 3
PLAN = Plan(epochs=12, hidden=256, dropout=0.4, decay=0.05)


@dataclass(frozen=True, slots=True)
class Lens:
    """Prompts and answers in few directions."""

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, gists: np.ndarray) -> Lens:
        """The main directions of `gists`, scaled to unit variance on the whole."""
        mean, spread = gists.mean(0), gists.std(0) + 1e-3
        scaled = (gists - mean) / spread
        turned = np.linalg.svd(scaled, full_matrices=False)[2][:RANK]
        reach = (scaled @ turned.T).std() * 2
        return cls(mean.astype(np.float32), (turned / spread / reach).T.astype(np.float32))

    def seen(self, gists: np.ndarray) -> np.ndarray:
        """`gists` in the kept directions."""
        return (gists - self.mean) @ self.matrix


def together(lens: Lens, answers: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The answer, the prompt in few directions, and where the two agree."""
    asked, said = lens.seen(prompts), lens.seen(answers)
    return np.concatenate([answers, asked, asked * said], axis=1)


def agreed(lens: Lens, answers: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The answer, and where it agrees with the prompt."""
    return np.concatenate([answers, lens.seen(prompts) * lens.seen(answers)], axis=1)


def alone_spans(values: np.ndarray) -> Spans:
    """Every text as one span."""
    first = np.arange(len(values))
    return Spans(values, first, first + 1)


def cut_of(group: str) -> int:
    """Which of the cuts of cross-fitting a prompt falls in."""
    return hashlib.sha256(group.encode()).digest()[2] % CUTS


@dataclass(frozen=True, slots=True)
class Judge:
    """Three nets: one reads the answer, one the answer with its prompt, one where they agree.

    The last cannot tell which prompt it is, so it learns none by heart.
    """

    lens: Lens
    alone: Net
    paired: Net
    matched: Net

    @classmethod
    def fitted(
        cls,
        answers: np.ndarray,
        prompts: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        rows: np.ndarray,
    ) -> Judge:
        """All nets, on `rows`."""
        lens = Lens.of(prompts[rows])
        read = (answers, together(lens, answers, prompts), agreed(lens, answers, prompts))
        return cls(lens, *(trained(alone_spans(v), labels, weights, rows, PLAN) for v in read))

    def margins(
        self, answers: np.ndarray, prompts: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(by the answer alone, with its prompt), one row per row."""
        pairs = together(self.lens, answers, prompts)
        matches = agreed(self.lens, answers, prompts)
        read = ((self.alone, answers), (self.paired, pairs), (self.matched, matches))
        alone, paired, matched = (
            np.concatenate(margins(net, alone_spans(values), rows)) for net, values in read
        )
        return alone, (alone + paired + matched) / 3


def save_judge(judge: Judge, path: Path, *, width: int) -> None:
    """The judge as ONNX: inputs `answer` and `prompt`, outputs `alone` and `together`."""
    graph = Graph()
    graph.constant("lens.mean", judge.lens.mean)
    graph.constant("lens.matrix", judge.lens.matrix)
    graph.constant("third", np.array(1 / 3, np.float32))
    asked, said = (_through(graph, source) for source in ("prompt", "answer"))
    agreement = graph.node("Mul", [asked, said], "agreed")
    joined = graph.node("Concat", ["answer", asked, agreement], "joined", axis=-1)
    beside = graph.node("Concat", ["answer", agreement], "beside", axis=-1)
    alone = add_net(graph, "answer", "alone", judge.alone)
    paired = add_net(graph, joined, "paired", judge.paired)
    matched = add_net(graph, beside, "matched", judge.matched)
    every = graph.node("Sum", [alone, paired, matched], "every")
    graph.node("Mul", [every, "third"], "together")
    inputs = {"answer": width, "prompt": width}
    save(graph, path, inputs=inputs, outputs=("alone", "together"))


def _through(graph: Graph, source: str) -> str:
    centred = graph.node("Sub", [source, "lens.mean"], f"{source}.centred")
    return graph.node("MatMul", [centred, "lens.matrix"], f"{source}.seen")
