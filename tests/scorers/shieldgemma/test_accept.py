"""`gemma-guard accept`, with a model that the tests made in place of real weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gemma_guard.cli import app

pytest.importorskip("gemma_guard.scorers.shieldgemma.scorer")

COMMAND = str(Path(sys.executable).parent / "gemma-guard")
TEXTS = [("good morning", 0), ("you idiot", 1), ("hello there", 0), ("so stupid", 1)]
"""In either half that tune makes there is one of each kind."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = ({"text": text, "labels": {"harassment": bad, "harmful": bad}} for text, bad in TEXTS)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def accept(folder: Path, model: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "accept", str(model), "rows.jsonl", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.slow
def test_weights_are_tried_with_every_template_and_stay_unvalidated(
    model_folder: Path, folder: Path
) -> None:
    done = accept(folder, model_folder, "--dtype", "float32", "--target", "cost fp=1 fn=20")
    printed = done.stdout
    apart = [
        float(line.split(" apart")[0].split()[-1])
        for line in printed.splitlines()
        if " apart" in line
    ]

    first, second, third, *_ = printed.splitlines()
    assert first == "no row is judged at the stage output: nothing is tried there"
    assert second.startswith("published example: ")
    assert third == "4 rows with each of 4 templates, kept in accepted as they are judged"
    assert "NOT AS PUBLISHED" in printed
    assert len(apart) == 4
    assert max(apart) <= 1e-4
    assert printed.splitlines()[-1].startswith("unvalidated: ")
    assert (folder / "accepted" / "report.html").exists()
    kept = (folder / "accepted").glob("*.jsonl")
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in kept] == [5] * 4
    assert "rows.jsonl: 4 rows, 4 judged" in printed  # what bands are proposed by,
    assert "rows a second" not in printed  # without judging it again


def halved(model: Path, folder: Path) -> Path:
    """The model, with one more file of weights than is there."""
    half = folder / "half"
    shutil.copytree(model, half)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (half / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return half


def test_weights_that_are_not_all_there_are_refused_at_once(
    model_folder: Path, folder: Path
) -> None:
    half = str(halved(model_folder, folder))
    done = CliRunner().invoke(app, ["accept", half, str(folder / "rows.jsonl")])

    assert done.exit_code == 2
    assert "half: no model-00002-of-00002.safetensors; a folder with config.json" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "fpr<0.1"], "--target 'fpr<0.1': use"),
        (["--target", "fpr<=0.1", "--target", "fpr<=0.2"], "--target: one for each action"),
        (["--harmful", "bad"], "--harmful: no row has anything in a column 'bad'"),
        (["--response", "answer"], "--response: no row has anything in a column 'answer'"),
        (["--dtype", "float16"], "dtype 'float16': use one of float32, bfloat16"),
        (["--device", "gpu"], "'gpu'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_judged(
    model_folder: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["accept", str(model_folder), "rows.jsonl", *options])

    assert done.exit_code == 2
    assert message in done.stderr
    assert "published example" not in done.stdout
