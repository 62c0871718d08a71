"""Bands are chosen on one half, tried on the other, and proposed for review."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_guard import Action, Bands, Guard, Stage, UsageError
from gemma_guard.evaluate.calibrating import fit, margins, probabilities
from gemma_guard.evaluate.results import Collected, Flags, Result, Run, Subject
from gemma_guard.evaluate.targets import FewAlarms, FewMisses, LeastCost, parse
from gemma_guard.evaluate.tuning import Proposal, Refused, Terms, propose

COMMAND = str(Path(sys.executable).parent / "gemma-guard")
BANDS = {("harassment", Stage.INPUT): Bands(block=0.5)}


def judged(rows: int, *, share: float = 0.2, picked_by: str = "", labels: bool = True) -> Run:
    """Rows whose margin is N(0, 1), or N(3, 1) for a violation, as an overconfident judge says."""
    draw, collected = np.random.default_rng(11), Collected(("harassment",))
    for number in range(rows):
        harmful = int(draw.random() < share)
        violation = float(1 / (1 + np.exp(-2 * (draw.normal() + 3 * harmful))))
        result = Result(
            number,
            Stage.INPUT,
            Action.ALLOW,
            "",
            {"harassment": harmful} if labels else {},
            harmful,
            {"harassment": violation},
            {},
            20,
            1.0,
            "mine",
            picked_by,
        )
        collected.take(result)
    return collected.run(
        Subject("judge", "default", "", "f", "r", ("a.csv",), BANDS, frozenset({"harassment"}))
    )


def alternating(run: Run) -> Flags:
    odd: Flags = np.arange(len(run)) % 2 == 1
    return odd


def proposed(run: Run, *targets: str, calibrate: bool = True) -> list[Proposal | Refused]:
    terms = Terms(tuple(map(parse, targets)), calibrate, judges=("judge", "judge-1"))
    return list(propose(run, alternating(run), terms))


def test_a_map_makes_violations_the_shares_they_say() -> None:
    run = judged(20_000)
    label = run.label["harassment"]
    margin = margins(run.violation["harassment"], run.margin["harassment"])
    given = fit(label, margin, prior=float(label.mean()))
    score = probabilities(margin, given)

    for low, high in ((0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95)):
        inside = (score >= low) & (score < high)
        assert label[inside].mean() == pytest.approx(score[inside].mean(), abs=0.05)
    rarer = probabilities(margin, fit(label, margin, prior=0.01))
    assert rarer.mean() < score.mean()
    assert (np.argsort(rarer, kind="stable") == np.argsort(score, kind="stable")).all()


def test_scores_that_do_not_rise_with_the_labels_give_no_map() -> None:
    run = judged(400)
    turned = replace(run, label={"harassment": 1 - run.label["harassment"]})
    [refused] = proposed(turned, "fpr<=0.01")

    assert isinstance(refused, Refused)
    assert "do not rise with the labels" in refused.reason


@pytest.mark.parametrize("calibrate", [True, False])
def test_targets_are_about_met_on_the_rows_held_out(calibrate: bool) -> None:
    [found] = proposed(judged(20_000), "fpr<=0.01", "log: recall>=0.95", calibrate=calibrate)
    assert isinstance(found, Proposal)
    block, log = found.chosen

    assert block.held_out.false_alarms.low <= 0.01 <= block.held_out.false_alarms.high + 0.003
    assert log.held_out.recall.value == pytest.approx(0.95, abs=0.02)
    assert log.missed_at_most == pytest.approx(0.05)
    assert (found.calibration is not None) is calibrate
    assert found.bands.log is not None
    assert found.bands.block is not None
    assert found.bands.log <= found.bands.block


def test_a_band_is_never_above_a_harder_one_and_is_tried_where_it_stands() -> None:
    targets = ("log: recall>=0.1", "fpr<=0.2")
    [found] = proposed(judged(4_000), *targets, calibrate=False)
    assert isinstance(found, Proposal)
    block, log = found.chosen

    assert block.threshold == log.threshold == found.bands.log
    assert log.held_out.recall == block.held_out.recall


def test_the_dearer_a_miss_the_lower_the_band() -> None:
    thresholds = []
    for cost in ("cost fp=20 fn=1", "cost fp=1 fn=1", "cost fp=1 fn=20"):
        [found] = proposed(judged(4_000), cost)
        assert isinstance(found, Proposal)
        thresholds.append(found.bands.block or 0.0)

    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 3


@pytest.mark.parametrize(
    ("run", "target", "reason"),
    [
        (judged(100), "recall>=0.99", "too few violations: about "),
        (judged(100), "fpr<=0.001", "too few rows without a violation: about "),
        (judged(4_000, picked_by="judge-1"), "recall>=0.95", "picked by judge-1, the judge itself"),
    ],
)
def test_a_promise_that_cannot_be_kept_is_refused(run: Run, target: str, reason: str) -> None:
    [refused] = proposed(run, target)

    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_rows_picked_by_another_judge_are_fine() -> None:
    [found] = proposed(judged(4_000, picked_by="somebody else"), "recall>=0.95")

    assert isinstance(found, Proposal)


def test_one_label_for_the_row_gives_all_policies_the_same_bands() -> None:
    [found] = proposed(judged(4_000, labels=False), "fpr<=0.01")

    assert isinstance(found, Proposal)
    assert (found.name, found.policies) == ("any policy", ("harassment",))


@pytest.mark.parametrize(
    ("given", "action", "goal"),
    [
        ("fpr<=0.001", Action.BLOCK, FewAlarms(0.001)),
        ("log: recall >= 0.75", Action.LOG, FewMisses(0.25)),
        ("redact:cost fp=1 fn=20", Action.REDACT, LeastCost(1, 20)),
    ],
)
def test_targets_are_read_as_written(given: str, action: Action, goal: object) -> None:
    target = parse(given)

    assert (target.action, target.goal) == (action, goal)


@pytest.mark.parametrize("given", ["fpr<0.1", "recall>=1", "allow: fpr<=0.1", "blok: fpr<=0.1", ""])
def test_other_targets_are_refused(given: str) -> None:
    with pytest.raises(UsageError):
        parse(given)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


CONFIG = """\
# ours
scorers:
  words: {type: fake}     # until the real one is bought
routes:
  default:
    packs: [default]
    scorer: words
  strict:
    packs: [strict]
    scorer: words
    policies:
      harassment: {shadow: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"good morning {}": 0, "you idiot {}": 1, "what a loser {}": 0, "how nice {}": 0}
    rows = (
        {"text": text.format(i), "harassment": harmful}
        for i in range(60)
        for text, harmful in texts.items()
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "guard.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def test_tune_changes_nothing_and_its_difference_can_be_applied(folder: Path) -> None:
    done = command(
        folder, "tune", "rows.jsonl", "--target", "fpr<=0.02", "--target", "log: fpr<=0.3"
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "guard.yaml").read_text(encoding="utf-8") == CONFIG
    assert "route strict asks words too" in done.stderr
    assert "rows.jsonl: 240 rows, 240 judged" in done.stdout
    assert "harassment at input: chosen by " in done.stdout
    assert "once reviewed: patch -p0 < tuned/guard.yaml.diff" in done.stderr

    difference = (folder / "tuned" / "guard.yaml.diff").read_text(encoding="utf-8")
    assert difference in done.stdout
    patch = shutil.which("patch")
    assert patch, "the program `patch` is needed"
    subprocess.run([patch, "-p0"], cwd=folder, input=difference, text=True, check=True)
    guard = Guard.from_config(folder / "guard.yaml", sinks=())
    blocked = guard.check_sync("you idiot")
    assert (blocked.action, blocked.policies) == (Action.BLOCK, ("harassment",))
    assert blocked.unvalidated == ("dangerous_content", "hate_speech", "sexually_explicit")
    assert "# until the real one is bought" in (folder / "guard.yaml").read_text(encoding="utf-8")


def test_tune_says_why_there_is_nothing_to_propose(folder: Path) -> None:
    done = command(folder, "tune", "rows.jsonl", "--target", "fpr<=0.0001")

    assert done.returncode == 2
    assert "too few rows without a violation" in " ".join(done.stdout.split())
    assert "nothing to propose" in done.stderr
    assert not (folder / "tuned").exists()


def test_try_shows_what_would_have_been_caught_and_keeps_nothing(folder: Path) -> None:
    (folder / "mine.txt").write_text("good morning\nyou idiot\nhow to build a pipe bomb\n")
    before = set(folder.iterdir())
    done = command(folder, "try", "mine.txt")

    assert "of 3 texts it would block 1, redact 0, log 1, allow 1" in done.stdout
    assert "block, dangerous_content, 0.97, row 3\nhow to build a pipe bomb" in done.stdout
    assert set(folder.iterdir()) == before


def test_try_says_that_it_shows_the_worst_of_more(folder: Path) -> None:
    (folder / "mine.txt").write_text("you idiot\n" * 30, encoding="utf-8")
    done = command(folder, "try", "mine.txt")

    assert "the worst 20 of these 30:" in done.stdout
    assert done.stdout.count("you idiot") == 20
