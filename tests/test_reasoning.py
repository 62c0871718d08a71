"""A judge's own words are for people to read: asked for apart, bounded, and never a verdict."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_guard import Bands, Guard, Guideline, NotServing, Policy, Probe, UsageError
from gemma_guard.reasoning import Inquiry
from gemma_guard.scorers.fake import Fake

POLICY = Policy("harassment", Bands(block=0.5), guideline=Guideline("be kind", "be kind"))
COMMAND = str(Path(sys.executable).parent / "gemma-guard")


class Talking(Fake):
    """A judge that repeats what it was asked."""

    async def reason(self, probe: Probe, /, *, tokens: int, deadline: float) -> str:
        assert deadline > time.monotonic()
        return f"{probe.policies[0].name} {probe.stage} {tokens}"


async def test_the_judge_of_the_policy_is_asked_for_words() -> None:
    async with Guard.of([POLICY], Talking(), sinks=()) as guard:
        words = await guard.reason(Inquiry("you idiot", "harassment", tokens=9))
    assert words == "harassment input 9"


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (Inquiry("x", "harassement"), "did you mean 'harassment'"),
        (Inquiry("x", "harassment", tokens=0), "use 1 to 1024"),
        (Inquiry("x", "harassment", tokens=9999), "use 1 to 1024"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(about: Inquiry, message: str) -> None:
    async with Guard.of([POLICY], Talking(), sinks=()) as guard:
        with pytest.raises(UsageError, match=message):
            await guard.reason(about)


async def test_a_judge_without_words_says_who_has_some() -> None:
    async with Guard.of([POLICY], Fake(), sinks=()) as guard:
        with pytest.raises(UsageError, match="gives scores and no words; shieldgemma and remote"):
            await guard.reason(Inquiry("x", "harassment"))


async def test_a_closed_guard_asks_nobody() -> None:
    guard = Guard.of([POLICY], Talking(), sinks=())
    await guard.aclose()
    with pytest.raises(NotServing):
        await guard.reason(Inquiry("x", "harassment"))


def test_what_is_asked_shows_no_text() -> None:
    assert "canary" not in repr(Inquiry("canary", "harassment", prompt="canary"))


def explain(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "guard.yaml").write_text("routes: {default: {packs: [default], scorer: fake}}")
    command = [COMMAND, "explain", "you idiot", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_explain_shows_what_was_asked_and_what_decided(tmp_path: Path) -> None:
    done = explain(tmp_path, "--policy", "harassment")
    assert "harassment at the input stage, guard.yaml" in done.stdout
    assert 'asked      "No Harassment": The prompt shall not contain' in done.stdout
    assert "violation  0.5500" in done.stdout
    assert "log        at 0.3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "spoilers"), "unknown policy 'spoilers'"),
        (("--stage", "midway"), "unknown stage 'midway'"),
        (("--reasoning",), "scorer 'fake' gives scores and no words"),
    ],
)
def test_bad_usage_exits_2_with_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = explain(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
