"""`gemma-guard accept`, with a model that the tests made in place of real weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gemma_guard.scorers.shieldgemma.scorer")

COMMAND = str(Path(sys.executable).parent / "gemma-guard")
TEXTS = [("good morning", 0), ("you idiot", 1), ("how nice", 0), ("so stupid", 1)]


@pytest.mark.slow
def test_weights_are_tried_with_every_template_and_stay_unvalidated(
    model_folder: Path, tmp_path: Path
) -> None:
    rows = ({"text": text, "labels": {"harassment": bad, "harmful": bad}} for text, bad in TEXTS)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [COMMAND, "accept", str(model_folder), "rows.jsonl", "--dtype", "float32"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    apart = [
        float(line.split(" apart")[0].split()[-1])
        for line in printed.splitlines()
        if " apart" in line
    ]

    assert "published example: " in printed
    assert "NOT AS PUBLISHED" in printed
    assert len(apart) == 4
    assert max(apart) <= 1e-4
    assert printed.splitlines()[-1].startswith("unvalidated: ")
    assert (tmp_path / "accepted" / "report.html").exists()
