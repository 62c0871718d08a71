"""How softly spans are pooled, and how many: what it gains on left-out sources and costs in flips.

`python pooling.py DATA WORK`, after recipe.py: WORK holds its features and left-out margins.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import attacks
import numpy as np
from blends import ANY
from develop import area, development_set
from features import LONGEST, Features
from gemma_guard_lite.model import WEIGHTS, Model, pooled
from nets import Spans
from recipe import HALF, left_out_parts, read_blends, reading_of
from table import Table, held, labels, table

EVERY = 10_000
SETTINGS = ((1, EVERY), (1.5, 4), (1.5, 8), (1.5, EVERY), (2, 8), (2, EVERY), (3, EVERY))
HARMFUL, HARMLESS = 500, 3_000
FALSE_ALARMS = 0.02
LONG = 150
Parts = Sequence[np.ndarray]


def main() -> None:
    """Print one row per setting."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("work", type=Path)
    told = asked.parse_args()
    rows, seen = table(told.data / "train"), Features.load(told.work)
    kept = development_set(rows.asked, labels(rows.asked))
    parts, texts = _left_out(rows, seen, told.work), [rows.asked[row].text for row in kept]
    harmful = labels(rows.asked)[kept, ANY] > HALF
    long, disguised = np.array([len(text) >= LONG for text in texts]), _disguised(rows, seen)
    for softness, counted in SETTINGS:
        worst = _worst([parts[row] for row in kept], softness, counted)
        areas = [area(harmful[some], worst[some]) for some in (slice(None), long)]
        flips = _flips(disguised, softness, counted)
        print(softness, counted, np.round(areas, 3), np.round(flips, 3), flush=True)


def _left_out(rows: Table, seen: Features, work: Path) -> Parts:
    spans = Spans(seen.values, *seen.ranges(row.text for row in rows.asked))
    return left_out_parts(seen, spans, np.load(work / "left_out.npy"))


def _worst(parts: Parts, softness: float, counted: int) -> np.ndarray:
    """Per text the margin of its worst harm."""
    inputs = read_blends()["input"]
    return np.array([pooled(inputs.raw(each), softness, counted).max() for each in parts])


def _disguised(rows: Table, seen: Features) -> list[Parts]:
    """Held-out texts by the shipped parts: harmless, harmful, the latter between few and many."""
    model, draw = Model(WEIGHTS), np.random.default_rng(0)
    marks, out = labels(rows.asked)[:, ANY], held(rows.asked)
    groups = np.flatnonzero(out & (marks < 1 - HALF)), np.flatnonzero(out & (marks > HALF))
    sizes = HARMLESS, HARMFUL
    harmless, harmful = (
        [rows.asked[row].text for row in draw.permutation(group)[:size]]
        for group, size in zip(groups, sizes, strict=True)
    )
    plain = [[model.parts(reading_of(seen, t)) for t in texts] for texts in (harmless, harmful)]
    hidden = (attacks.padded, attacks.buried)
    return plain + [
        [model.parts(model.read(hide(t[:LONGEST]))) for t in harmful] for hide in hidden
    ]


def _flips(disguised: Sequence[Parts], softness: float, counted: int) -> list[float]:
    """Of the harmful texts flagged at few false alarms, the share that passes in disguise."""
    harmless, harmful, *hidden = (_worst(parts, softness, counted) for parts in disguised)
    threshold = np.quantile(harmless, 1 - FALSE_ALARMS)
    flagged = harmful >= threshold
    return [float((worst[flagged] < threshold).mean()) for worst in hidden]


if __name__ == "__main__":
    main()
