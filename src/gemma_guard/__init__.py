"""The guardrail for LLM gateways, around ShieldGemma.

Policies are data. A scorer turns a text into violation scores. The guard turns scores into a
verdict. An adapter enforces it.
"""

from typing import TYPE_CHECKING, Any

from gemma_guard.batching import Batcher
from gemma_guard.errors import (
    Blocked,
    Cause,
    ConfigError,
    DeadlineExceeded,
    GuardError,
    NotServing,
    Overloaded,
    PluginError,
    ScoringError,
    ScoringFailed,
    TextRefused,
    Unreachable,
    UsageError,
)
from gemma_guard.guard import Guard
from gemma_guard.policy import Bands, Guideline, Patterns, Policy
from gemma_guard.records import Sink
from gemma_guard.route import Fields, Route
from gemma_guard.scorer import Batch, Priority, Probe, Scorer
from gemma_guard.streaming import Part, Piece, Release
from gemma_guard.turns import Job, Limits
from gemma_guard.verdict import (
    Action,
    Edit,
    Finding,
    Gap,
    Judged,
    Place,
    Redaction,
    Score,
    Span,
    Stage,
    Verdict,
)

if TYPE_CHECKING:
    from gemma_guard.packs import PolicyPack

__all__ = [
    "Action",
    "Bands",
    "Batch",
    "Batcher",
    "Blocked",
    "Cause",
    "ConfigError",
    "DeadlineExceeded",
    "Edit",
    "Fields",
    "Finding",
    "Gap",
    "Guard",
    "GuardError",
    "Guideline",
    "Job",
    "Judged",
    "Limits",
    "NotServing",
    "Overloaded",
    "Part",
    "Patterns",
    "Piece",
    "Place",
    "PluginError",
    "Policy",
    "PolicyPack",
    "Priority",
    "Probe",
    "Redaction",
    "Release",
    "Route",
    "Score",
    "Scorer",
    "ScoringError",
    "ScoringFailed",
    "Sink",
    "Span",
    "Stage",
    "TextRefused",
    "Unreachable",
    "UsageError",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    """Import `PolicyPack` when it is asked for: it brings pydantic and YAML."""
    if name == "PolicyPack":
        from gemma_guard.packs import PolicyPack  # noqa: PLC0415

        return PolicyPack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
