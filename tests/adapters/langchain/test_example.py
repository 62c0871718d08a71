"""The example shows a chain, two routes, a stream and an agent, without a network."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "04_langchain.py"


def test_the_example_runs_without_a_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")

    printed = re.sub(r"decision \w+", "decision ...", capsys.readouterr().out)
    assert printed.splitlines() == [
        "chain:    Eat fish.",
        "redacted: Only an [redacted: harassment] skips sleep.",
        "stream:   Eat fish.",
        "kids:     This was blocked by a content policy.",
        "tool:     [block: dangerous_content (decision ...)]",
        "ai:       I found nothing.",
    ]


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
