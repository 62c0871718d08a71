"""What evaluation costs, and whether its intervals and bounds hold as often as they say.

    python benchmarks/evaluating.py [PART ...]

Measures everything, or the parts named and keeps the rest; prints the figures and writes them to
results/evaluating.json.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import machine
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from gemma_guard.evaluate import curves
from gemma_guard.evaluate.conformal import alarms_at_most, missing_at_most
from gemma_guard.evaluate.intervals import Interval, counted
from gemma_guard.evaluate.recalls import recall_at
from gemma_guard.evaluate.results import Codes, Floats
from gemma_guard.evaluate.tally import Tally

WORDS = ("tickets", "train", "weather", "museum", "what", "dinner", "rice", "idiot", "vermin")
SIZES = (10_000, 100_000, 400_000)
REPEATS = 3_000
DRAWS = 1_000

# rows, share of violations, distance between the two kinds in standard deviations
SHAPES = ((1_000, 0.15, 1.5), (2_000, 0.1, 2.0), (846, 0.3, 1.3), (10_000, 0.02, 2.0))

# by rate of false alarms: violations, rows without one, recall
RECALLS = {
    0.001: (
        (100, 5_000, 0.6),
        (1_000, 5_000, 0.3),
        (500, 5_500, 0.2),
        (2_000, 8_000, 0.85),
        (100, 10_000, 0.9),
        (300, 10_000, 0.6),
        (800, 30_000, 0.95),
    ),
    0.01: (
        (500, 500, 0.2),
        (100, 1_000, 0.6),
        (1_000, 1_000, 0.9),
        (150, 2_000, 0.7),
        (300, 3_000, 0.3),
        (100, 10_000, 0.9),
        (1_000, 10_000, 0.6),
    ),
    0.05: (
        (1_000, 150, 0.8),
        (400, 400, 0.7),
        (100, 1_000, 0.3),
        (1_000, 1_000, 0.9),
        (300, 3_000, 0.6),
        (300, 10_000, 0.3),
    ),
}

# the standard deviation of violations' scores, where that of other rows is 1
SPREADS = {"alike": 1.0, "wide": 2.0, "narrow": 0.5}


def rows(count: int) -> Iterator[str]:
    draw = random.Random(1)  # noqa: S311  texts, not secrets
    for number in range(count):
        text = " ".join(draw.choices(WORDS, k=draw.randint(5, 40)))
        harmful = int(("idiot" in text) != (draw.random() < 0.1))
        labels = {
            "harmful": harmful,
            "harassment": int("idiot" in text),
            "hate_speech": int("vermin" in text),
            "dangerous_content": 0,
            "sexually_explicit": 0,
        }
        yield json.dumps({"text": text, "labels": labels, "source": "abc"[number % 3]}) + "\n"


def one_evaluation(count: int) -> dict[str, float]:
    """`gemma-guard eval` with the keyword scorer, as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(rows(count))
        command = [
            str(Path(sys.executable).parent / "gemma-guard"),
            *("eval", str(path), "--scorer", "fake", "--json"),
        ]
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"eval failed: {status}")
    return {
        "s": round(time.perf_counter() - began, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mb": used.ru_maxrss // 1024,
    }


def costs() -> dict[str, Any]:
    found = {f"{size}_rows": one_evaluation(size) for size in SIZES}
    first, last = found[f"{SIZES[0]}_rows"], found[f"{SIZES[-1]}_rows"]
    grown = last["peak_rss_mb"] - first["peak_rss_mb"]
    return {**found, "bytes_a_row": round(grown * 2**20 / (SIZES[-1] - SIZES[0]))}


def drawn(
    draw: np.random.Generator, count: int, share: float, apart: float
) -> tuple[Codes, Floats]:
    label = (draw.random(count) < share).astype(np.int8)
    return label, draw.normal(size=count) + apart * label


def areas() -> dict[str, Any]:
    """How often an interval at 95 % holds the truth."""
    found: dict[str, Any] = {"simulations_each": REPEATS, "error": round(_error(REPEATS), 4)}
    kinds: tuple[tuple[str, Callable[[Tally], Interval], Any], ...] = (
        ("au_prc", curves.au_prc, average_precision_score),
        ("auroc", curves.auroc, roc_auc_score),
    )
    for name, figure, exact in kinds:
        held = {}
        for count, share, apart in SHAPES:
            draw = np.random.default_rng(1)
            truth = float(exact(*drawn(draw, 6_000_000, share, apart)))
            hits = (figure(Tally.of(*drawn(draw, count, share, apart))) for _ in range(REPEATS))
            inside = sum(hit.low <= truth <= hit.high for hit in hits)
            held[f"{count} rows, {share:g} violations, truth {truth:.3f}"] = inside / REPEATS
        found[name] = {**held, "mean": float(np.mean(list(held.values())))}
    return found


def shares() -> dict[str, float]:
    """Over truths from 0.2 % to 98 %, as many near each end as near the middle of a log scale."""
    draw, count = np.random.default_rng(2), 100_000
    odds = draw.uniform(math.log(0.002 / 0.998), math.log(0.98 / 0.02), count)
    truths, sizes = 1 / (1 + np.exp(-odds)), draw.integers(200, 5_000, count)
    hits = draw.binomial(sizes, truths)
    cases = zip(truths, sizes, hits, strict=True)
    inside = sum(_holds(counted(int(hit), int(size)), truth) for truth, size, hit in cases)
    return {"mean": inside / count}


def recalls() -> dict[str, Any]:
    """How often the recall at few false alarms lies in its interval."""
    found: dict[str, Any] = {"simulations_each": REPEATS, "error": round(_error(REPEATS), 4)}
    for rate, shapes in RECALLS.items():
        held = {
            f"{violations} violations, {clean} without, recall {truth:g}, {name}": round(
                _held_at(rate, violations, clean, truth, spread), 4
            )
            for violations, clean, truth in shapes
            for name, spread in SPREADS.items()
        }
        found[f"at {rate:.1%} false alarms"] = {
            **held,
            "mean": round(float(np.mean(list(held.values()))), 4),
        }
    return found


def _held_at(rate: float, violations: int, clean: int, truth: float, spread: float) -> float:
    draw, normal = np.random.default_rng([violations, clean, round(truth * 100)]), NormalDist()
    apart = spread * normal.inv_cdf(truth) - normal.inv_cdf(rate)
    label = (np.arange(violations + clean) < violations).astype(np.int8)
    scale = np.where(label, spread, 1.0)
    scores = (draw.normal(size=len(label)) * scale + apart * label for _ in range(REPEATS))
    found = (recall_at(Tally.of(label, score), rate) for score in scores)
    return sum(one is not None and _holds(one, truth) for one in found) / REPEATS


def bounds() -> dict[str, Any]:
    """Mean shares beyond the conformal thresholds; uniform scores, so that they are known."""
    draw, found = np.random.default_rng(4), {}
    for count, rate in ((40, 0.05), (199, 0.05), (99, 0.01), (999, 0.001)):
        missed = [missing_at_most(draw.random(count), rate).high for _ in range(DRAWS)]
        gaps = [alarms_at_most(draw.random(count), np.array([]), rate) for _ in range(DRAWS)]
        alarms = [1 - gap.low for gap in gaps if gap]
        found[f"{count} rows, at most {rate:g}"] = {
            "missed": round(float(np.mean(missed)), 5),
            "alarms": round(float(np.mean(alarms)), 5),
            "error": round(float(np.std(missed)) / math.sqrt(DRAWS), 5),
        }
    return {"draws_each": DRAWS, **found}


def _holds(found: Interval, truth: float) -> bool:
    return bool(found.low <= truth <= found.high)


def _error(count: int) -> float:
    return math.sqrt(0.95 * 0.05 / count)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "costs": costs,
    "coverage_of_areas": areas,
    "coverage_of_shares": shares,
    "coverage_of_recall": recalls,
    "conformal": bounds,
}


def main(names: list[str]) -> None:
    path = machine.RESULTS / "evaluating.json"
    known = json.loads(path.read_text(encoding="utf-8"))["figures"] if names else {}
    found = {name: PARTS[name]() for name in names or PARTS}
    figures = {name: {**known, **found}[name] for name in PARTS}
    machine.keep("evaluating", machine.describe(["gemma-guard", "numpy", "scikit-learn"]), figures)


if __name__ == "__main__":
    main(sys.argv[1:])
