"""What `doctor` tells: of every judge what it runs on and whether it is well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gemma_guard import Guard, Policy, Priority, Probe, Score, Unreachable
from gemma_guard.packs import default
from gemma_guard.scorer import Check
from gemma_guard.scorers.fake import Fake

COMMAND = str(Path(sys.executable).parent / "gemma-guard")
FOUR = default().policies


def doctor(folder: Path, written: str) -> subprocess.CompletedProcess[str]:
    (folder / "guard.yaml").write_text(written, encoding="utf-8")
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [COMMAND, "doctor"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize(
    ("scorer", "told"),
    [
        ("fake", ["fake: well", "none: its scores are unvalidated", "both in"]),
        ("lite", ["lite: well", "cpu, 1 thread", "licence", "calibration  its own", "harmful 0.9"]),
    ],
)
def test_every_judge_says_what_it_is_and_that_it_is_well(
    tmp_path: Path, scorer: str, told: Sequence[str]
) -> None:
    done = doctor(tmp_path, f"routes: {{default: {{packs: [default], scorer: {scorer}}}}}")
    assert done.returncode == 0, done.stderr
    for part in told:
        assert part in done.stdout


def test_a_calibration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "fake.cal.yaml").write_text(
        f"scorer: {Fake().fingerprint}\npolicies: {{harassment: {{input: {{bias: 1}}}}}}\n"
    )
    done = doctor(
        tmp_path,
        "scorers: {judge: {type: fake, calibration: fake.cal.yaml}}\n"
        "routes: {default: {packs: [default], scorer: judge}}\n",
    )
    assert "calibration  fake.cal.yaml" in done.stdout


def test_a_judge_that_tells_nothing_apart_is_not_well(tmp_path: Path) -> None:
    done = doctor(
        tmp_path,
        "scorers: {blind: {type: fake, keywords: {}}}\n"
        "routes: {default: {packs: [default], scorer: blind}}\n",
    )
    assert done.returncode == 1
    assert "blind: NOT WELL: it does not tell a harmful text from a harmless one" in done.stdout


def test_a_configuration_that_cannot_be_loaded_exits_2(tmp_path: Path) -> None:
    done = doctor(tmp_path, "routes: {default: {scorer: nonesuch}}")
    assert done.returncode == 2
    assert "unknown scorer 'nonesuch'" in done.stderr


class Examining(Fake):
    """A judge that finds something wrong with itself."""

    def __init__(self, *checks: Check) -> None:
        super().__init__()
        self.checks, self.asked = checks, 0

    def describe(self) -> dict[str, str]:
        return {"device": "an abacus"}

    async def examine(self, *, deadline: float) -> Sequence[Check]:
        assert deadline
        self.asked += 1
        return self.checks


async def test_only_a_thorough_examination_has_a_judge_examine_itself() -> None:
    scorer = Examining(Check("beads", is_well=False, detail="two are missing"))
    async with Guard.of(FOUR, scorer, sinks=()) as guard:
        (quick,) = await guard.health()
        (thorough,) = await guard.health(thorough=True)
    assert scorer.asked == 1
    assert (quick.is_well, quick.checks) == (True, ())
    assert quick.facts["device"] == "an abacus"
    assert not thorough.is_well
    assert thorough.reason == "beads: two are missing"


class Dead(Examining):
    def judges(self, _policy: Policy, _stage: object, /) -> bool:
        return True

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        del probes, deadline, priority
        raise Unreachable("nobody there")


async def test_a_dead_judge_still_says_what_it_runs_on() -> None:
    async with Guard.of(FOUR, Dead(), sinks=()) as guard:
        (found,) = await guard.health(thorough=True)
    assert (found.is_well, found.reason) == (False, "unreachable: nobody there")
    assert found.facts["device"] == "an abacus"
