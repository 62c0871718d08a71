"""From lite to ShieldGemma is one line of guard.yaml."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from gemma_guard import Guard, settings

EXAMPLE = Path(__file__).parents[3] / "examples" / "07_shieldgemma"
HARMFUL = "If I see you again I will break your legs and burn your house down."


def test_the_swap_is_one_changed_line() -> None:
    lite, gemma = (
        (EXAMPLE / name).read_text().splitlines() for name in ("lite.yaml", "shieldgemma.yaml")
    )
    changed = [line for line in difflib.ndiff(lite, gemma) if line[0] in "+-"]
    assert [line.split("{")[0] for line in changed] == ["-   judge: ", "+   judge: "]


def test_the_readme_shows_that_line() -> None:
    shown = (EXAMPLE / "README.md").read_text()
    line = next(
        line
        for line in (EXAMPLE / "shieldgemma.yaml").read_text().splitlines()
        if "judge: {" in line
    )
    assert line in shown


async def test_the_example_judges_with_lite() -> None:
    async with Guard.from_config(EXAMPLE / "lite.yaml", sinks=()) as guard:
        verdict = await guard.check(HARMFUL)
    assert verdict.blocked
    assert not verdict.unvalidated


async def test_the_example_judges_with_shieldgemma(model_folder: Path, tmp_path: Path) -> None:
    """On a small model and a CPU, in place of the one that must be downloaded."""
    written = (EXAMPLE / "shieldgemma.yaml").read_text()
    here = written.replace("google/shieldgemma-2b", str(model_folder))
    here = here.replace("devices: [cuda], dtype: bfloat16", "devices: [cpu]")
    here = re.sub(r"deadline_ms: \d+", "deadline_ms: 60000", here)
    (tmp_path / "guard.yaml").write_text(here)
    async with Guard.from_config(tmp_path / "guard.yaml", sinks=()) as guard:
        verdict = await guard.check(HARMFUL)
    assert verdict.status == "scored"
    assert len(verdict.unvalidated) == 4


@pytest.mark.parametrize("name", ["lite.yaml", "shieldgemma.yaml", "remote.yaml"])
def test_every_file_of_the_example_is_a_good_guard_yaml(name: str) -> None:
    loaded = settings.load(EXAMPLE / name)
    assert set(loaded.scorers) == {"judge", "pattern"}
