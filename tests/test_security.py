"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8").partition("| attack |")[2]


def test_every_attack_names_a_test_that_is_there() -> None:
    rows = [line for line in TABLE.splitlines()[2:] if line.startswith("| ")]
    for row in rows:
        held_by = row.rstrip(" |").rpartition("| ")[2]
        named = re.findall(r"`([\w/.]*)::(\w+)`", held_by)
        assert named, row
        file = ""
        for own, name in named:
            file = own or file
            assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8"), name
