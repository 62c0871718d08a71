"""The example shows an allowed, a redacted and a blocked call, without a network."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "04_langchain.py"


def test_the_example_allows_redacts_and_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")

    assert capsys.readouterr().out.splitlines() == [
        "allowed:  Sleep well and eat fish.",
        "redacted: Only an [redacted: harassment] skips sleep.",
        "blocked:  This was blocked by a content policy. ['harassment']",
    ]


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
