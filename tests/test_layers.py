"""A module imports, at run time, only from the rows above its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
PACKAGE = Path(__file__).parents[1] / "src" / "gemma_guard"

ROWS = """
errors
verdict
policy
scorer handover
schema calibration jsontext exemption turns breaker cache deadline lookalikes prompt
plugins line records portal counters text windows segments pacing
batching packs conversation strand
route streaming
configuration ahead
guardfile redaction flow
settings locating seat
decision
forms panel
judging service
health reasoning settled verdicts
upkeep bench copying
guard
scorers/* evaluate/*
report starter doctor explain
demo_streams
demo
cli __init__
"""

ROW = {name: number for number, row in enumerate(ROWS.split("\n")) for name in row.split()}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def row(module: str) -> int | None:
    """The modules of a package share a row; a package is named by its `__init__`."""
    return ROW.get(f"{module.partition('.')[0]}/*", ROW.get(module))


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of this package that `tree` imports, those for type checkers left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(node)
        elif isinstance(node, ast.Import):
            found = (alias.name.removeprefix("gemma_guard.") for alias in node.names)
            yield from (name for name in found if name in MODULES)
        else:
            yield from imports(node)


def _from(node: ast.ImportFrom) -> Iterator[str]:
    module = node.module or ""
    if node.level:
        yield "a relative import"
    elif module == "gemma_guard":
        yield from (alias.name if alias.name in MODULES else "__init__" for alias in node.names)
    elif module.startswith("gemma_guard."):
        inner = module.removeprefix("gemma_guard.")
        below = (f"{inner}.{alias.name}" for alias in node.names)
        yield from (name if name in MODULES else inner for name in below)


def found(module: str) -> set[str]:
    return set(imports(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_row(module: str) -> None:
    assert row(module) is not None, (
        f"gemma_guard.{module} has no row: add it to ROWS in {Path(__file__).name}, as high as the"
        " modules it imports allow, and to the table of modules in CONTRIBUTING.md"
    )


@pytest.mark.parametrize("module", [name for name in MODULES if row(name) is not None])
def test_a_module_imports_only_from_rows_above_its_own(module: str) -> None:
    own = row(module) or 0
    for imported in found(module):
        above = row(imported)
        is_sibling = imported.partition(".")[0] == module.partition(".")[0]
        assert is_sibling or (above is not None and above < own), (
            f"gemma_guard.{module} imports {imported}, which is not in a row above it:"
            " move what both need up into a row of its own, or hand it in as an argument"
        )


@pytest.mark.parametrize("module", MODULES)
def test_only_scorers_import_scorers_everyone_else_names_them(module: str) -> None:
    named = {name for name in found(module) if name.partition(".")[0] == "scorers"}
    assert module.startswith("scorers.") or not named, (
        f"gemma_guard.{module} imports {', '.join(named)}: load it with plugins.load instead"
    )


def test_every_row_names_modules_that_exist() -> None:
    gone = {name for name in ROW if name not in MODULES and not name.endswith("/*")}
    assert not gone, f"ROWS names modules that are gone: {', '.join(sorted(gone))}"


def test_contributing_shows_the_same_rows() -> None:
    told: list[set[str]] = []
    for line in CONTRIBUTING.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| ?(\d*) ?\| ((?:`[\w/*]+` ?)+)\|", line):
            told += [set()] * bool(found[1])
            told[-1].update(re.findall(r"`(.+?)`", found[2]))
    assert told == [set(names.split()) for names in ROWS.split("\n") if names]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import gemma_guard.errors", {"errors"}),
        ("from gemma_guard import errors, settings", {"errors", "settings"}),
        ("from gemma_guard import Guard", {"__init__"}),
        ("from gemma_guard.scorers.fake import Fake", {"scorers.fake"}),
        ("from gemma_guard.scorers import fake", {"scorers.fake"}),
        ("def f():\n    from gemma_guard.guard import Guard", {"guard"}),
        ("if TYPE_CHECKING:\n    from gemma_guard.guard import Guard", set()),
        ("if typing.TYPE_CHECKING:\n    import gemma_guard.guard\nelse:\n    import json", set()),
        ("from . import errors", {"a relative import"}),
        ("import gemma_guard_lite, json", set()),
    ],
)
def test_imports_are_seen_however_they_are_written(source: str, names: set[str]) -> None:
    assert set(imports(ast.parse(source))) == names
