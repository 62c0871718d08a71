"""What each shipped pack does with the embedded judge: the table of policies/README.md.

    python benchmarks/packs.py DATA [SET ...]

DATA holds the sets as JSON lines. Runs `gemma-guard eval` on all of them or on those named, writes
results/packs.json and puts the table into policies/README.md. The sets are for reporting only.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import machine
import shipped

PACKS = ("lite", "default", "strict", "family")
POLICIES = shipped.ROOT / "policies" / "README.md"
_STAGES = {"input": "prompts", "output": "answers"}
_HEADS = ("harmful", "logged or worse", "blocked", "harmless", "logged or worse", "blocked")


def measured(data: Path, sets: Iterable[str]) -> dict[str, Any]:
    """The whole requests of each set, by pack."""
    names = {shipped.stem(data / f"{name}.jsonl.gz"): name for name in sets}
    with tempfile.TemporaryDirectory() as folder:
        return {
            pack: [
                {**each, "name": names[each["name"]]}
                for each in _judged(pack, data, names.values(), Path(folder))
                if each["name"] in names and each["rows"] >= shipped.FEWEST
            ]
            for pack in PACKS
        }


def _judged(pack: str, data: Path, sets: Iterable[str], folder: Path) -> list[dict[str, Any]]:
    config = folder / f"{pack}.yaml"
    config.write_text(f"routes: {{default: {{scorer: lite, packs: [{pack}]}}}}\n", encoding="utf-8")
    found = shipped.evaluated(data, sets, folder / f"{pack}.jsonl", "--config", str(config))
    return list(found["slices"])


def table(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """The Markdown of policies/README.md."""
    head = (shipped.row("set", "pack", *_HEADS), "|---|---|" + "--:|" * len(_HEADS))
    return "\n".join([*head, *_rows(found)]) + "\n"


def _rows(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[str]:
    places = {(each["name"], each["stage"]): None for sets in found.values() for each in sets}
    for name, stage in places:
        for pack, sets in found.items():
            for each in sets:
                if (each["name"], each["stage"]) == (name, stage):
                    title = f"{shipped.SETS[name].removesuffix(', answers')}, {_STAGES[stage]}"
                    yield shipped.row(title, f"`{pack}`", *_cells(each))


def _cells(each: Mapping[str, Any]) -> Iterator[str]:
    yield f"{each['violations']:,}"
    yield from (shipped.share(each[what]) for what in ("caught", "blocked"))
    yield f"{each['rows'] - each['violations']:,}"
    yield from (shipped.share(each[what]) for what in ("wrongly_caught", "wrongly_blocked"))


def put(text: str, into: str) -> str:
    """`into` with `text` between the two marks."""
    marks = r"(<!-- packs: begin -->\n).*?(<!-- packs: end -->)"
    return re.sub(marks, lambda found: found[1] + text + found[2], into, flags=re.DOTALL)


def main(data: str, *sets: str) -> None:
    found = measured(Path(data), sets or tuple(shipped.SETS))
    machine.keep("packs", machine.describe(["gemma-guard", "gemma-guard-lite"]), found)
    POLICIES.write_text(put(table(found), POLICIES.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
