"""The recommended bands, and what they cost and catch on held-out rows."""

from __future__ import annotations

import numpy as np
from calibrate import block_threshold, upper_bound
from gemma_guard_lite.model import HEADS

ANY = 4
ALIKE_LOGGED = 0.05
ALIKE_BLOCKED = 0.015
"""The shares of development look-alikes that each head may log and block."""
BENIGN_LOGGED = 0.0075
"""The share of held-out benign texts that each head may log."""
ANSWERS_LOGGED = 0.05
"""The share of harmless answers that each head may log."""
GRID = np.arange(0.05, 1.0, 0.01)


def input_bands(violation: np.ndarray, marks: np.ndarray, alike: np.ndarray) -> dict[str, object]:
    """Log thresholds by look-alikes and benign texts; block thresholds where earned."""
    benign = violation[marks[:, ANY] == 0.0]
    heads = {
        head: _head(violation[:, i], marks[:, i] == 1.0, benign[:, i], alike[:, i])
        for i, head in enumerate(HEADS)
    }
    logs = np.array([heads[head]["log"] for head in HEADS])
    return {
        "benign": len(benign),
        "lookalikes": len(alike),
        "lookalikes_logged": round(float((alike >= logs).any(1).mean()), 4),
        "benign_logged": round(float((benign >= logs).any(1).mean()), 5),
        "benign_blocked": round(float(_blocked(benign, heads).mean()), 5),
        "heads": heads,
    }


def _head(
    violation: np.ndarray, harmful: np.ndarray, benign: np.ndarray, alike: np.ndarray
) -> dict[str, float | None]:
    log = max(_lowest(alike, ALIKE_LOGGED), _lowest(benign, BENIGN_LOGGED))
    block = block_threshold(benign, at_least=max(log, _lowest(alike, ALIKE_BLOCKED)))
    told: dict[str, float | None] = {"log": round(log, 2), "block": block}
    told["recall_log"] = round(float((violation[harmful] >= log).mean()), 3)
    if block is not None:
        wrong = int((benign >= block).sum())
        told["recall_block"] = round(float((violation[harmful] >= block).mean()), 3)
        told["wrong_blocks_per_10000"] = round(wrong / len(benign) * 10_000, 1)
        told["upper_bound_per_10000"] = round(upper_bound(wrong, len(benign)) * 10_000, 1)
    return told


def _lowest(harmless: np.ndarray, share: float) -> float:
    """The lowest threshold that at most `share` of the harmless texts reach."""
    return next(float(at) for at in GRID if (harmless >= at).mean() <= share)


def _blocked(violation: np.ndarray, heads: dict[str, dict[str, float | None]]) -> np.ndarray:
    thresholds = [heads[head]["block"] or np.inf for head in HEADS]
    return (violation >= np.array(thresholds)).any(1)


def output_bands(violation: np.ndarray, marks: np.ndarray) -> dict[str, object]:
    """Log thresholds only: there are too few harmless answers to earn a block."""
    harmless = violation[marks[:, ANY] == 0.0]
    heads: dict[str, object] = {}
    for i, head in enumerate(HEADS):
        log = _lowest(harmless[:, i], ANSWERS_LOGGED)
        harmful = violation[marks[:, i] == 1.0, i]
        caught = round(float((harmful >= log).mean()), 3)
        heads[head] = {"log": round(log, 2), "block": None, "recall_log": caught}
    return {"harmless_answers": len(harmless), "heads": heads}
