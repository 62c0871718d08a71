"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_guard import Guard

FAKE = "routes: {default: {scorer: fake}}\n"
COMMAND = str(Path(sys.executable).parent / "gemma-guard")


def run(
    folder: Path, *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", **environment},
        encoding="utf-8",
    )


def test_check_json_prints_one_object_with_these_keys(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "You are useless.", "--json")
    verdict = json.loads(done.stdout)

    assert done.returncode == 0
    assert list(verdict) == [
        "id", "action", "scores", "gaps", "text", "route", "fingerprint", "status", "ms",
    ]  # fmt: skip
    assert verdict["action"] == "log"
    assert verdict["text"] == "You are useless."
    assert {"policy", "violation", "spans"} == set(verdict["scores"][0])
    assert (verdict["route"], verdict["status"], verdict["gaps"]) == ("default", "scored", [])
    assert verdict["ms"] > 0


@pytest.mark.parametrize(
    ("text", "limit", "code"),
    [
        ("good morning", "log", 0),
        ("You are useless.", "log", 1),
        ("You are useless.", "block", 0),
        ("how to build a pipe bomb", "log", 1),
        ("how to build a pipe bomb", "block", 1),
    ],
)
def test_fail_on_exits_1_at_that_action_or_a_harder_one(
    tmp_path: Path, text: str, limit: str, code: int
) -> None:
    assert run(tmp_path, "check", text, "--fail-on", limit).returncode == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "x", "--fail-on", "blok"), "unknown action 'blok'"),
        (("check", "x", "--stage", "midway"), "unknown stage 'midway'"),
        (("check", "x", "--route", "kids"), "unknown route 'kids'"),
        (("check", "x", "--config", "none.yaml"), "none.yaml: cannot be read"),
        (("check", "x", "--nonsense"), "No such option"),
        (("check", ""), "there is no text to check"),
        (("check",), "there is no text to check"),
        (("lint",), "guard.yaml: cannot be read"),
        (("show", "abc"), "set records.jsonl"),
        (("show", "abc", "--records", "none.jsonl"), "no decisions are recorded there"),
    ],
)
def test_bad_usage_exits_2_with_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run(tmp_path, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_comes_from_standard_input_too(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(FAKE)
    done = run(tmp_path, "check", "-", "--json", "--stage", "output", given="you idiot\n")

    assert json.loads(done.stdout)["text"] == "you [redacted: harassment]\n"


def test_odd_bytes_on_standard_input_are_refused_by_the_verdict(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "check", "--json"], cwd=tmp_path, input=b"\xff\xfe", capture_output=True,
        check=False, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip

    verdict = json.loads(done.stdout)
    assert (verdict["action"], verdict["gaps"][0]["cause"]) == ("block", "undecodable")


def test_what_init_writes_is_accepted_by_lint_and_not_written_over(tmp_path: Path) -> None:
    assert run(tmp_path, "init").returncode == 0
    linted = run(tmp_path, "lint")
    again = run(tmp_path, "init")

    assert linted.returncode == 0, linted.stderr
    assert "route kids" in linted.stdout
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert run(tmp_path, "init", "--force").returncode == 0


def test_lint_names_file_key_and_allowed_values(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text("routes: {default: {on_eror: fail_open}}\n")
    done = run(tmp_path, "lint")

    assert done.returncode == 2
    assert "guard.yaml: routes.default: unknown key 'on_eror'" in done.stderr
    assert "did you mean 'on_error'" in done.stderr


def test_show_says_which_key_of_guard_yaml_decided(tmp_path: Path) -> None:
    run(tmp_path, "init")
    checked = run(tmp_path, "check", "You are an idiot.", "--json")
    decision = json.loads(checked.stdout)["id"]

    shown = run(tmp_path, "show", decision)

    assert shown.returncode == 0
    assert f"decision {decision}: log" in shown.stdout
    assert "decided by routes.default.policies.harassment.bands.input.log" in shown.stdout
    assert "idiot" not in (tmp_path / "decisions.jsonl").read_text()
    assert run(tmp_path, "show", "0000").returncode == 2


def test_policies_lists_bands_packs_and_scorers(tmp_path: Path) -> None:
    done = run(tmp_path, "policies")

    bands = Guard.default().routes.resolve(None).rules[0].input
    assert bands is not None
    for word in ("dangerous_content", f"log: {bands.log}", "privacy", "pattern"):
        assert word in done.stdout


def test_hash_prints_what_an_exception_names_a_text_by(tmp_path: Path) -> None:
    text = FAKE + 'hash_key: "k1"\nexceptions: [%s]\n'
    (tmp_path / "guard.yaml").write_text(text % "")
    mark = run(tmp_path, "hash", "you idiot").stdout.strip()
    entry = f"{{text: {mark}, reason: a joke, owner: Ana, expires: 2999-01-01}}"
    (tmp_path / "guard.yaml").write_text(text % entry)

    assert json.loads(run(tmp_path, "check", "you idiot", "--json").stdout)["action"] == "allow"
    assert json.loads(run(tmp_path, "check", "You idiot", "--json").stdout)["action"] == "log"
    assert "log (exception)" in run(tmp_path, "check", "you idiot").stdout


def test_show_names_the_exception_that_let_a_text_through(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(
        f"records: {{jsonl: decisions.jsonl}}\n{FAKE}exceptions:\n"
        "  - {phrase: you idiot, reason: a joke, owner: Ana, expires: 2999-01-01}\n"
    )
    decision = json.loads(run(tmp_path, "check", "you idiot", "--json").stdout)["id"]

    shown = run(tmp_path, "show", decision).stdout
    assert "harassment: log (let through by exceptions.0)" in shown
    assert "characters 4-9" in shown


def test_check_says_what_it_found_once(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "How do I build a pipe bomb?")

    assert (done.stdout.count("BLOCK ("), done.stderr) == (1, "")


def test_a_text_that_was_not_judged_has_no_table_of_scores(tmp_path: Path) -> None:
    lines = run(tmp_path, "check", given="a" * 200_001).stdout.splitlines()

    assert lines[1].startswith("not judged: everything: too_long")


def test_lint_warns_of_a_route_without_a_policy_and_names_fallbacks(tmp_path: Path) -> None:
    routes = "routes: {default: {scorer: lite, on_error: {fallback: fake}}, bare: {packs: []}}"
    (tmp_path / "guard.yaml").write_text(routes)

    done = run(tmp_path, "lint")

    assert "warning: route bare lets everything pass, as a gap" in done.stdout
    assert "route default: 4 policies, fallback fake" in done.stdout


def test_hash_without_a_key_says_how_to_set_one(tmp_path: Path) -> None:
    done = run(tmp_path, "hash", "x")

    assert done.returncode == 2
    assert "set hash_key in guard.yaml first" in done.stderr


def test_lint_warns_of_exceptions_that_have_run_out(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(
        f"{FAKE}"
        "exceptions: [{policies: [harassment], reason: r, owner: o, expires: 2020-01-01}]\n"
    )
    done = run(tmp_path, "lint")

    assert done.returncode == 0
    assert "warning: exceptions.0 (r, o) expired on 2020-01-01" in done.stdout


def test_help_teaches_every_command(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")

    for command in ("check", "demo", "init", "lint", "policies", "show"):
        assert command in done.stdout


def test_the_configuration_comes_from_the_environment_too(tmp_path: Path) -> None:
    (tmp_path / "strict.yaml").write_text("routes: {default: {packs: [strict], scorer: fake}}\n")
    done = run(tmp_path, "check", "you idiot", "--json", GEMMA_GUARD_CONFIG="strict.yaml")

    assert json.loads(done.stdout)["action"] == "block"


def test_the_demo_allows_logs_redacts_and_blocks_without_colour_when_piped(tmp_path: Path) -> None:
    done = run(tmp_path, "demo")

    assert done.returncode == 0, done.stderr
    assert "\x1b[" not in done.stdout
    for word in ("characters were let out", "This was blocked", "[PAYMENT_CARD_1], valid"):
        assert word in done.stdout.partition("a streamed answer")[2]
    for word in ("ALLOW", "LOG", "REDACT", "BLOCK", "[EMAIL_1]", "[redacted: dangerous", "ms"):
        assert word in done.stdout
    assert len(re.findall(r"^ ?\d+  ", done.stdout, re.MULTILINE)) >= 12


def test_the_demo_has_colour_on_a_terminal(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", FORCE_COLOR="1", TERM="xterm-256color")

    assert "\x1b[1;31mBLOCK" in done.stdout
