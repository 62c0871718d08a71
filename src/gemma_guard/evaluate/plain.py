"""Figures as plain JSON: what is not known is null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

from gemma_guard.evaluate.measures import latency, measures, slices
from gemma_guard.evaluate.results import Run


def as_json(run: Run) -> dict[str, Any]:
    """What `eval --json` prints of a run."""
    subject = run.subject
    found: dict[str, Any] = plain(
        {
            "judge": subject.judge,
            "route": subject.route,
            "fingerprint": subject.fingerprint,
            "unvalidated": subject.unvalidated,
            "files": subject.files,
            "labels_not_read": subject.unread,
            "rows": len(run),
            "judged": int(run.is_judged.sum()),
            "not_judged": run.causes,
            "latency": {**latency(run), "concurrency": run.concurrency},
            "policies": [
                {**asdict(each), "is_indicative": each.is_indicative} for each in measures(run)
            ],
            "slices": [asdict(each) for each in slices(run)],
        }
    )
    return found


def plain(value: Any) -> Any:
    """`value` with words for actions and stages, and null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Enum):
        return str(value)
    return None if isinstance(value, float) and math.isnan(value) else value
