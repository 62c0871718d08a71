"""The recommended bands, and what they cost and catch on held-out rows."""

from __future__ import annotations

import numpy as np
from calibrate import PRIOR, block_threshold, upper_bound
from gemma_guard_lite.model import HEADS

ANY = 4
ALIKE_LOGGED = 0.05
ALIKE_BLOCKED = 0.015
"""The shares of development look-alikes that each head may log and block."""
BENIGN_LOGGED = 0.0075
"""The share of held-out benign texts that each head may log."""
ANSWERS_LOGGED = 0.05
"""The share of harmless answers of models, many to provocations, that each head may log."""
SAID_LOGGED = 0.015
"""The share of harmless statements, as answers, that each head may log."""
Heads = dict[str, dict[str, float | None]]
GRID = np.arange(PRIOR, 1.0, 0.01)
"""Below the prior a violation is no suspicion."""


def input_bands(violation: np.ndarray, marks: np.ndarray, alike: np.ndarray) -> dict[str, object]:
    """Log thresholds by look-alikes and benign texts; block thresholds where earned."""
    benign = violation[marks[:, ANY] == 0.0]
    heads = {
        head: _head(
            violation[:, i],
            marks[:, i] == 1.0,
            benign[:, i],
            log=max(_lowest(alike[:, i], ALIKE_LOGGED), _lowest(benign[:, i], BENIGN_LOGGED)),
            block_from=_lowest(alike[:, i], ALIKE_BLOCKED),
        )
        for i, head in enumerate(HEADS)
    }
    return {
        "benign": len(benign),
        "lookalikes": len(alike),
        "lookalikes_logged": round(float(_logged(alike, heads).mean()), 4),
        "benign_logged": round(float(_logged(benign, heads).mean()), 5),
        "benign_blocked": round(float(_blocked(benign, heads).mean()), 5),
        "heads": heads,
    }


def _head(
    violation: np.ndarray,
    harmful: np.ndarray,
    benign: np.ndarray,
    *,
    log: float,
    block_from: float = 0.0,
) -> dict[str, float | None]:
    block = block_threshold(benign, at_least=max(log, block_from))
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


def _logged(violation: np.ndarray, heads: Heads) -> np.ndarray:
    return (violation >= np.array([heads[head]["log"] for head in HEADS])).any(1)


def _blocked(violation: np.ndarray, heads: Heads) -> np.ndarray:
    thresholds = [heads[head]["block"] or np.inf for head in HEADS]
    return (violation >= np.array(thresholds)).any(1)


def output_bands(violation: np.ndarray, marks: np.ndarray, said: np.ndarray) -> dict[str, object]:
    """Log thresholds by harmless answers of models and, where `said`, of people; blocks by both."""
    harmless = marks[:, ANY] == 0.0
    heads = {
        head: _head(
            violation[:, i],
            marks[:, i] == 1.0,
            violation[harmless, i],
            log=max(
                _lowest(violation[harmless & ~said, i], ANSWERS_LOGGED),
                _lowest(violation[harmless & said, i], SAID_LOGGED),
            ),
        )
        for i, head in enumerate(HEADS)
    }
    return {
        "harmless_answers": int(harmless.sum()),
        "of_models": int((harmless & ~said).sum()),
        "logged_of_models": round(float(_logged(violation[harmless & ~said], heads).mean()), 4),
        "logged_of_people": round(float(_logged(violation[harmless & said], heads).mean()), 4),
        "blocked": round(float(_blocked(violation[harmless], heads).mean()), 5),
        "heads": heads,
    }
