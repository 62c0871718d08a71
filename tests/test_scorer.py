"""The seam: anything with its four members is a scorer, and a probe shows no text."""

from __future__ import annotations

import pytest

from gemma_guard.policy import Guideline, Policy
from gemma_guard.scorer import Priority, Probe, Scorer
from gemma_guard.scorers.fake import Fake

POLICY = Policy("p", guideline=Guideline("in", "out"))


def test_a_scorer_needs_no_base_class() -> None:
    assert isinstance(Fake(), Scorer)
    assert Scorer not in Fake.__mro__


@pytest.mark.parametrize("stranger", [object(), lambda: None, "fake", 7])
def test_what_cannot_score_is_no_scorer(stranger: object) -> None:
    assert not isinstance(stranger, Scorer)


def test_a_probe_shows_neither_its_text_nor_its_prompt() -> None:
    probe = Probe("canary-text", (POLICY,), prompt="canary-prompt")
    assert "canary" not in repr(probe)


def test_live_traffic_is_served_before_the_background() -> None:
    assert min(Priority) is Priority.LIVE
