"""MiniLM in whole numbers, every product fitted to what it gives in floats.

Layer by layer, on sentences of the training texts, with inputs as the int8 encoder will have them.
In GELU's place stands x sigmoid(x), for which the runtime has a faster kernel: x is made so much
steeper that it comes near, and the way back is fitted to give what it gave with GELU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from floats import Sentences, Weights, attended, batches, embedded, linear, normed
from gptq import rounded, steps_of
from graph import LAYERS, Mark, Product, Scale, Whole
from torch.nn import functional

BEYOND = 0.001
"""Per cent of the values, on either side, that may be cut off."""
STEEPNESS = 1.702
"""Where x sigmoid(a x) is nearest to GELU: Hendrycks and Gimpel, arXiv 1606.08415."""
LEANING = 0.003
"""How much the fitted way back leans to the weights as they come."""
_STEPS = 255
_EVERY = 5
"""Every fifth word is looked at for how far an activation reaches."""
_PARTS = ("query", "key", "value")
States = list[torch.Tensor]
"""One tensor per batch of sentences."""


@torch.no_grad()
def fitted(w: Weights, sentences: Sequence[Sequence[int]], mark: int) -> Whole:
    """The products, scales and marks of the int8 encoder."""
    fit = _Fit(w, batches(sentences, mark))
    exact = [embedded(w, each.ids) for each in fit.sentences]
    near = exact
    for number in range(LAYERS):
        exact, near = fit.layer(number, exact, near)
    return Whole(fit.products, fit.scales, tuple(fit.marks))


@dataclass(slots=True)
class _Fit:
    """What was fitted so far. `exact` is what MiniLM has there, `near` what the encoder has."""

    w: Weights
    sentences: list[Sentences]
    products: dict[str, Product] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)

    def layer(self, number: int, exact: States, near: States) -> tuple[States, States]:
        """Both kinds of states after one more layer."""
        key, name = f"encoder.layer.{number}", f"layer{number}"
        source = f"layer{number - 1}" if number else "embedded"
        mixed = self._mixed(f"{key}.attention.self", source, exact, near)
        given = self._bytes(f"{name}.mixed", *mixed)
        out = f"{key}.attention.output.dense"
        told = [linear(self.w, out, each) for each in mixed[0]]
        made = self._through(out, given)
        norm = f"{key}.attention.output.LayerNorm"
        exact, near = self._summed(norm, told, exact), self._summed(norm, made, near)
        told, made = self._bent(key, name, exact, near)
        norm = f"{key}.output.LayerNorm"
        return self._summed(norm, told, exact), self._summed(norm, made, near)

    def _mixed(self, key: str, source: str, exact: States, near: States) -> tuple[States, States]:
        given = self._bytes(source, exact, near)
        told = [[linear(self.w, f"{key}.{part}", each) for part in _PARTS] for each in exact]
        made = list(zip(*(self._through(f"{key}.{part}", given) for part in _PARTS), strict=True))
        mark = [each[0, 0].clone() for each in told[0]]
        for parts in made:
            parts[1][:, 0], parts[2][:, 0] = mark[1:]
        self.marks.append(Mark(mark[1].numpy(), mark[2].numpy()))
        pairs = zip(self.sentences, told, made, strict=True)
        both = [(attended(each, *here), attended(each, *there)) for each, here, there in pairs]
        return [here for here, _ in both], [there for _, there in both]

    def _bent(self, key: str, name: str, exact: States, near: States) -> tuple[States, States]:
        """The feed-forward part. Its way back also makes good what went astray before."""
        out, back = f"{key}.intermediate.dense", f"{key}.output.dense"
        told = [linear(self.w, back, functional.gelu(linear(self.w, out, each))) for each in exact]
        weight, bias = self.w[f"{out}.weight"] * STEEPNESS, self.w[f"{out}.bias"] * STEEPNESS
        given = self._bytes(f"{name}.attended", exact, near)
        made = [functional.silu(each) for each in self._rounded(out, given, weight, bias)]
        given = self._bytes(f"{name}.bent", made, made)
        wanted = [a + b - c for a, b, c in zip(told, exact, near, strict=True)]
        start = _joined(self.w[f"{back}.weight"] / STEEPNESS, self.w[f"{back}.bias"])
        return told, self._rounded(back, given, *self._least_squares(given, wanted, start))

    def _through(self, key: str, given: States) -> States:
        return self._rounded(key, given, self.w[f"{key}.weight"], self.w[f"{key}.bias"])

    def _rounded(self, key: str, given: States, weight: torch.Tensor, bias: torch.Tensor) -> States:
        """What a product gives once its weights are whole numbers of steps."""
        pairs = zip(self.sentences, given, strict=True)
        gram = torch.stack([_gram(each.words(values)) for each, values in pairs]).sum(0)
        steps = steps_of(weight)
        whole = rounded(weight.double(), steps.double(), gram)
        self.products[key] = Product(
            whole.numpy().astype(np.int8), steps.float().numpy(), bias.float().numpy()
        )
        near = (whole * steps[:, None]).float()
        return [functional.linear(each, near, bias.float()) for each in given]

    def _least_squares(
        self, given: States, wanted: States, start: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias that give what is `wanted`, leaning to those they `start` from."""
        gram = torch.zeros(start.shape[1], start.shape[1], dtype=torch.float64)
        cross = torch.zeros(start.shape[1], start.shape[0], dtype=torch.float64)
        for each, inputs, outputs in zip(self.sentences, given, wanted, strict=True):
            words = each.words(inputs).double()
            ones = torch.cat([words, torch.ones(len(words), 1, dtype=torch.float64)], 1)
            gram += _gram(ones)
            cross += ones.T @ each.words(outputs).double()
        lean = LEANING * gram.diagonal().mean()
        damped = gram + lean * torch.eye(len(gram), dtype=torch.float64)
        found = torch.linalg.solve(damped, cross + lean * start.double().T).T
        return found[:, :-1], found[:, -1]

    def _bytes(self, name: str, measured: States, given: States) -> States:
        """`given` at the 256 values that an activation may have."""
        pairs = zip(self.sentences, measured, strict=True)
        words = [each.words(values)[::_EVERY] for each, values in pairs]
        step, zero = self.scales[name] = scale(torch.cat(words).numpy())
        return [((each / step).round() + zero).clamp(0, _STEPS).sub(zero) * step for each in given]

    def _summed(self, norm: str, parts: States, before: States) -> States:
        pairs = zip(parts, before, strict=True)
        return [normed(self.w, norm, part + state) for part, state in pairs]


def scale(values: np.ndarray) -> Scale:
    """From the lowest to the highest value but for a few, zero exactly met."""
    low, high = np.percentile(values, (BEYOND, 100 - BEYOND))
    step = float(max(high, 0.0) - min(low, 0.0)) / _STEPS
    return step, round(-min(low, 0.0) / step)


def _gram(rows: torch.Tensor) -> torch.Tensor:
    wide = rows.double()
    return wide.T @ wide


def _joined(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.cat([weight, bias[:, None]], 1)
