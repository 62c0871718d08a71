"""Every block of the documentation runs, and prints what it says it prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gemma_guard.settings import loads

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DOCUMENTS = (
    "README.md",
    "lite/README.md",
    "adapters/langchain/README.md",
    "adapters/litellm/README.md",
)
NOT_HERE = ("git clone", "make ", "pip install", "curl", "litellm ")


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(*found)
        for found in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


def run(command: list[str] | str, folder: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def assert_prints(expected: str, printed: str) -> None:
    """Line by line; `...` stands for anything."""
    given = [line.rstrip() for line in printed.strip().splitlines()]
    wanted = [line.rstrip() for line in expected.strip().splitlines()]
    for wish, line in zip(wanted, given, strict=True):
        assert re.fullmatch(re.escape(wish).replace(r"\.\.\.", ".*"), line), (wish, line)


def run_console(block: Block, folder: Path) -> None:
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        if not command.startswith(NOT_HERE):
            assert_prints(expected, run(command, folder))


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if (ROOT / d).exists()])
def test_every_block_runs_and_prints_what_it_says(document: str, tmp_path: Path) -> None:
    printed = ""
    for block in blocks(document):
        if block.language == "console":
            run_console(block, tmp_path)
        elif block.language == "python":
            printed = run([sys.executable, "-c", block.text], tmp_path)
        elif block.language == "text":
            assert_prints(block.text, printed)
        elif block.language == "yaml" and "routes:" in block.text:
            loads(block.text, beside=tmp_path)


def test_every_make_target_the_documents_name_is_there() -> None:
    named = {
        target
        for document in ("README.md", "CONTRIBUTING.md")
        for target in re.findall(r"make (\w+)", (ROOT / document).read_text(encoding="utf-8"))
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert named >= {"demo", "test"}
    for target in named - {"needs"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), shlex.quote(target)
