"""The encoder tuned a little, with one linear head: one pass at a low rate, most of the way kept.

A head is fitted to the encoder as it comes, so that the first steps do not bend it; then both learn
together; then their weights are drawn back towards where they began, which costs little on texts
like those it saw and gains on others (Wortsman et al. 2022, arXiv:2109.01903).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from nets import worst
from parts import LAYERS, wheel
from torch.nn import functional
from transformers import AutoModel

Ids = list[int]
Units = list[Ids]
"""What a text is read in; the worst counts."""
MARK = 101
"""Stands before every text, sees only itself, and is seen: as in the graph that ships."""
EMPTY = [102]
_WIDTH = 384 * len(LAYERS)
_SORTED = 40
_SIDE_BY_SIDE = 96


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the encoder is tuned."""

    draws: int = 14_000
    batch: int = 32
    rate: float = 3e-5
    kept: float = 0.8
    probed: int = 12_000
    epochs: int = 12
    seed: int = 0


class Tuned(torch.nn.Module):
    """Mean states of some layers, standardised, one linear margin per head."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(wheel(), local_files_only=True)
        self.encoder.embeddings.requires_grad_(requires_grad=False)
        self.register_buffer("mean", torch.zeros(_WIDTH))
        self.register_buffer("spread", torch.ones(_WIDTH))
        self.head = torch.nn.Linear(_WIDTH, heads)

    def features(self, units: Units) -> torch.Tensor:
        """One row per unit."""
        ids, read = padded(units)
        seen = read[:, None, None, :].expand(-1, 1, ids.shape[1], -1).clone()
        seen[:, :, 0, 1:] = False
        with torch.autocast("cpu", dtype=torch.bfloat16):
            told = self.encoder(input_ids=ids, attention_mask=seen, output_hidden_states=True)
        read[:, 0] = False
        share = (read / read.sum(1, keepdim=True))[..., None]
        return torch.cat([(told.hidden_states[n] * share).sum(1).float() for n in LAYERS], 1)

    def judged(self, features: torch.Tensor) -> torch.Tensor:
        """One row per row, one column per head."""
        return self.head((features - self.mean) / self.spread)

    def weights(self) -> dict[str, np.ndarray]:
        """Those of the encoder."""
        return {name: value.detach().numpy() for name, value in self.encoder.state_dict().items()}

    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of the head on features as they are."""
        weight = (self.head.weight / self.spread).detach()
        bias = self.head.bias.detach() - weight @ self.mean
        return weight.numpy(), bias.numpy()


def padded(units: Units) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids behind a mark, and which of them are no padding."""
    length = max(map(len, units)) + 1
    ids, read = torch.zeros(len(units), length, dtype=torch.long), torch.zeros(len(units), length)
    for row, unit in enumerate(units):
        ids[row, : len(unit) + 1] = torch.tensor([MARK, *unit])
        read[row, : len(unit) + 1] = 1
    return ids, read.bool()


@dataclass(frozen=True, slots=True)
class Lessons:
    """Texts as units, their labels (NaN where masked) and how much each draw counts."""

    units: list[Units]
    labels: torch.Tensor
    share: torch.Tensor

    @classmethod
    def of(cls, units: list[Units], labels: np.ndarray) -> Lessons:
        """Heads count alike, however many of the texts have a label for them."""
        known = ~np.isnan(labels)
        share = (known / known.mean(0)).astype(np.float32)
        return cls(units, torch.from_numpy(np.nan_to_num(labels)), torch.from_numpy(share))

    def batches(
        self, rows: np.ndarray, size: int, draw: np.random.Generator
    ) -> Iterator[list[int]]:
        """Texts of like length together, in a drawn order."""
        for start in range(0, len(rows), size * _SORTED):
            near = sorted(rows[start : start + size * _SORTED].tolist(), key=self._longest)
            found = [near[first : first + size] for first in range(0, len(near), size)]
            yield from (found[number] for number in draw.permutation(len(found)))

    def loss(self, margins: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Cross entropy, masked."""
        surprise = functional.binary_cross_entropy_with_logits(
            margins, self.labels[rows], reduction="none"
        )
        return (surprise * self.share[rows]).mean()

    def _longest(self, row: int) -> int:
        return max(map(len, self.units[row]))


def tuned(units: list[Units], labels: np.ndarray, plan: Tuning) -> Tuned:
    """An encoder and a head fitted to texts, each as often in `units` as it was drawn."""
    torch.manual_seed(plan.seed)
    lessons, model = Lessons.of(units, labels), Tuned(labels.shape[1])
    _probe(model, lessons, plan)
    began = {name: value.clone() for name, value in model.state_dict().items()}
    _tune(model, lessons, plan)
    state = {
        name: torch.lerp(began[name], value, plan.kept) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model.eval()


def _probe(model: Tuned, lessons: Lessons, plan: Tuning) -> None:
    """Fit the head to the encoder as it comes."""
    rows = range(min(plan.probed, len(lessons.units)))
    values, owner = _read(model.eval(), [lessons.units[row] for row in rows])
    model.mean.copy_(values.mean(0))
    model.spread.copy_(values.std(0) + 1e-3)
    ends = np.append(np.searchsorted(owner, np.arange(len(rows))), len(owner))
    optimiser = torch.optim.AdamW(model.head.parameters(), lr=2e-3, weight_decay=0.5)
    for epoch in range(plan.epochs):
        order = np.random.default_rng(plan.seed + epoch).permutation(len(rows))
        for chunk in np.array_split(order, max(1, len(rows) // 256)):
            inside = np.concatenate([np.arange(ends[row], ends[row + 1]) for row in chunk])
            whose = np.repeat(np.arange(len(chunk)), ends[chunk + 1] - ends[chunk])
            margins = worst(model.judged(values[inside]), torch.from_numpy(whose), len(chunk))
            _step(lessons.loss(margins, chunk), optimiser)


def _tune(model: Tuned, lessons: Lessons, plan: Tuning) -> None:
    draw = np.random.default_rng(plan.seed)
    steps = list(lessons.batches(np.arange(len(lessons.units)), plan.batch, draw))
    trained = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=plan.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=len(steps) + 1, pct_start=0.1
    )
    model.train()
    for rows in steps:
        units = [unit for row in rows for unit in lessons.units[row]]
        owner = torch.tensor([n for n, row in enumerate(rows) for _ in lessons.units[row]])
        margins = worst(model.judged(model.features(units)), owner, len(rows))
        loss = lessons.loss(margins, rows)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()


def _step(loss: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _read(model: Tuned, texts: list[Units]) -> tuple[torch.Tensor, np.ndarray]:
    """Features of every unit, and which text it is of; short ones are read together."""
    flat = [unit for units in texts for unit in units]
    owner = np.repeat(np.arange(len(texts)), [len(units) for units in texts])
    order = sorted(range(len(flat)), key=lambda number: len(flat[number]))
    found = torch.zeros(len(flat), _WIDTH)
    with torch.no_grad():
        for start in range(0, len(order), _SIDE_BY_SIDE):
            chunk = order[start : start + _SIDE_BY_SIDE]
            found[chunk] = model.features([flat[number] for number in chunk])
    return found, owner


def margins(model: Tuned, texts: list[Units]) -> np.ndarray:
    """Per text the margins of its worst unit."""
    values, owner = _read(model, texts)
    with torch.no_grad():
        judged = model.judged(values)
    return worst(judged, torch.from_numpy(owner), len(texts)).numpy()
