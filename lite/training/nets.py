"""Small networks on frozen features, and their ONNX form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from graph import MS, Graph
from onnx import TensorProto, helper
from torch.nn import functional

BATCH = 256
SOFTNESS = 1.0
"""How far below a text's worst span another still teaches the net."""
_FAR_BELOW = -1e4


@dataclass(frozen=True, slots=True)
class Plan:
    """How one network is trained."""

    epochs: int = 8
    hidden: int = 256
    dropout: float = 0.5
    input_dropout: float = 0.1
    decay: float = 0.05
    rate: float = 1e-3
    seed: int = 0


class Net(torch.nn.Module):
    """Standardised features → one hidden layer → one margin per head."""

    def __init__(self, mean: np.ndarray, spread: np.ndarray, plan: Plan, *, heads: int = 5) -> None:
        super().__init__()
        self.mean, self.spread = torch.from_numpy(mean), torch.from_numpy(spread)
        self.first = torch.nn.Linear(len(mean), plan.hidden)
        self.second = torch.nn.Linear(plan.hidden, heads)
        self.input_dropout, self.dropout = plan.input_dropout, plan.dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Margins, one row per row."""
        scaled = (features - self.mean) / self.spread
        kept = functional.dropout(scaled, self.input_dropout, self.training)
        hidden = functional.gelu(self.first(kept))
        return self.second(functional.dropout(hidden, self.dropout, self.training))


@dataclass(frozen=True, slots=True)
class Spans:
    """Feature rows and, for each text, the range of its rows."""

    values: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def batch(self, texts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of `texts`, and for each row which of `texts` it belongs to."""
        pairs = zip(self.first[texts], self.last[texts], strict=True)
        rows = np.concatenate([np.arange(first, last) for first, last in pairs])
        owner = np.repeat(np.arange(len(texts)), self.last[texts] - self.first[texts])
        return torch.from_numpy(self.values[rows]), torch.from_numpy(owner)


def pooled(margins: torch.Tensor, owner: torch.Tensor, count: int) -> torch.Tensor:
    """Per text, head by head, the mean of its spans, in which one counts the more the worse it is.

    As the judge pools, but over all spans; by the worst alone, one span of each text would teach.
    """
    low = torch.full((count, margins.shape[1]), _FAR_BELOW)
    worst = low.scatter_reduce(0, owner[:, None].expand_as(margins), margins, "amax")
    share = torch.exp((margins - worst.detach()[owner]) / SOFTNESS)
    none = torch.zeros(count, margins.shape[1])
    weighed = none.index_add(0, owner, share * margins)
    return weighed / none.index_add(0, owner, share)


def trained(
    spans: Spans, labels: np.ndarray, weights: np.ndarray, rows: np.ndarray, plan: Plan
) -> Net:
    """A net fitted to `rows`; masked labels (NaN) do not count, heads count alike."""
    torch.manual_seed(plan.seed)
    draw = np.random.default_rng(plan.seed)
    sample = spans.values[spans.first[draw.permutation(rows)[:20_000]]]
    net = Net(sample.mean(0), sample.std(0) + 1e-3, plan)
    seen = ~np.isnan(labels) * weights[:, None]
    share = torch.from_numpy((seen / seen[rows].mean(0)).astype(np.float32))
    target = torch.from_numpy(np.nan_to_num(labels))
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=plan.decay)
    steps = plan.epochs * (len(rows) // BATCH + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=steps + 1, pct_start=0.1
    )
    for _ in range(plan.epochs):
        for chunk in _chunks(draw.permutation(rows)):
            values, owner = spans.batch(chunk)
            margins = pooled(net(values), owner, len(chunk))
            losses = functional.binary_cross_entropy_with_logits(
                margins, target[chunk], reduction="none"
            )
            loss = (losses * share[chunk]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def margins(net: Net, spans: Spans, rows: np.ndarray) -> list[np.ndarray]:
    """For each text one row per span, one column per head."""
    found: list[np.ndarray] = []
    for chunk in _chunks(rows):
        values, owner = spans.batch(chunk)
        ends = np.cumsum(np.bincount(owner.numpy(), minlength=len(chunk)))
        found += np.split(net(values).numpy(), ends[:-1])
    return found


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def add_net(graph: Graph, source: str, name: str, net: Net) -> str:
    """The net as nodes, its standardisation folded into the first layer."""
    first, second = net.first, net.second
    spread = net.spread.numpy()
    weight = first.weight.detach().numpy() / spread
    bias = first.bias.detach().numpy() - weight @ net.mean.numpy()
    hidden = _gemm(graph, source, f"{name}.hidden", weight, bias)
    bent = graph.node("Gelu", [hidden], f"{name}.bent", domain=MS)
    outer = (second.weight.detach().numpy(), second.bias.detach().numpy())
    return _gemm(graph, bent, name, *outer)


def _gemm(graph: Graph, source: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
    inputs = [
        source,
        graph.constant(f"{name}.weight", weight.astype(np.float32)),
        graph.constant(f"{name}.bias", bias.astype(np.float32)),
    ]
    return graph.node("Gemm", inputs, name, transB=1)


def save(graph: Graph, path: Path, *, inputs: dict[str, int], outputs: tuple[str, ...]) -> None:
    """Write `graph` with inputs of the given widths and outputs of five heads."""
    made = helper.make_graph(
        graph.nodes,
        path.stem,
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["n", w]) for k, w in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 5]) for name in outputs],
        graph.weights,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
