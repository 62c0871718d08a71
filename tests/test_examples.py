"""Every example runs, is short, and a third party's plugin works once installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
LONGEST = 40


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_an_example_runs_and_is_short(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert len(script.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_a_plugin_of_another_distribution_is_found_once_it_is_installed(tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    plugin = str(EXAMPLES / "06_plugin")
    subprocess.run([sys.executable, *install, "--target", str(target), plugin], check=True)
    (tmp_path / "guard.yaml").write_text(
        "scorers: {doses: {type: doses, limit: 2}}\n"
        "routes: {default: {packs: [medical], scorer: doses}}\n"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "from gemma_guard import Guard\n"
        "guard = Guard.from_config('guard.yaml')\n"
        "print(guard.check_sync('take 2 mg, then 4 mg', stage='output').policies)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout == "('medical_advice',)\n"
