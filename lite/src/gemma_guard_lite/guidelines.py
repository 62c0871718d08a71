"""Which head judges a policy: by the guideline it was trained for, or because the pack says so."""

from __future__ import annotations

import hashlib

from gemma_guard import Policy, Stage
from gemma_guard_lite.model import HEADS

TRAINED = {
    Stage.INPUT: {
        "567268efdd9a97d71681593ec2de203a37940391e9119a2b4f8f90fa2614932c": "dangerous_content",
        "c47ea9cb3af15e21238450f97a981edd74361b02bbcdd08fb6b073906c72f7db": "harassment",
        "a81e15a5175779f4d41058a32e08c39ff4508104770b5268dc7fb9024dd1f4e3": "hate_speech",
        "5484a3497712d87997ee4d1852ea428c673fc6602ddf0d49b5b77bf42ae67715": "sexually_explicit",
    },
    Stage.OUTPUT: {
        "ff9f9fc5e6127375e9dc31f871b016a92a8c83cf387ed6199581947f57d5b30c": "dangerous_content",
        "c6045f2bf2def2a0153edc6b396f7776a8ce33c9898234f2fbe82e49d0eaef99": "harassment",
        "e97bf985255e9a0ba10974c5b5b465de6cb53f00413175ed9a7ccfe0d37c998e": "hate_speech",
        "afe0dab71e10c73c3225d994d44a50517c3e31cec42e756f0cc92b5e87129733": "sexually_explicit",
    },
}
"""SHA-256 of ShieldGemma's published wording, white space collapsed → the head trained for it."""


def head_for(policy: Policy, stage: Stage) -> int | None:
    """The number of the head that judges `policy` at `stage`; None if none was trained for it."""
    if policy.head is not None:
        return HEADS.index(policy.head) if policy.head in HEADS else None
    if policy.guideline is None:
        return None
    name = TRAINED[stage].get(digest(policy.guideline.at(stage)))
    return None if name is None else HEADS.index(name)


def digest(guideline: str) -> str:
    """A hash that white space does not change."""
    return hashlib.sha256(" ".join(guideline.split()).encode()).hexdigest()
