"""`gemma_guard.__all__` is the public API: small, sorted, explained, and light to import."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gemma_guard
from gemma_guard import errors

HEAVY = {
    "torch",
    "transformers",
    "onnxruntime",
    "litellm",
    "langchain",
    "langchain_core",
    "starlette",
    "httpx",
    "typer",
    "rich",
    "phonenumbers",
    "numpy",
}


def test_all_is_what_the_package_imports_no_more_and_no_less() -> None:
    tree = ast.parse(Path(gemma_guard.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gemma_guard")
        for alias in node.names
    }
    assert set(gemma_guard.__all__) == imported


def test_all_is_sorted_and_has_no_name_twice() -> None:
    assert gemma_guard.__all__ == sorted(set(gemma_guard.__all__))


def test_every_error_is_public() -> None:
    tree = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.GuardError)
    }
    assert tree <= set(gemma_guard.__all__)


@pytest.mark.parametrize("name", gemma_guard.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    written = vars(getattr(gemma_guard, name)).get("__doc__") or ""
    assert written.strip().endswith((".", "`", "```"))
    assert not written.startswith(f"{name}(")  # what dataclasses write of themselves


@pytest.mark.parametrize("name", gemma_guard.__all__)
def test_every_public_method_says_what_it_does(name: str) -> None:
    thing = getattr(gemma_guard, name)
    for method, value in vars(thing).items():
        if not method.startswith("_") and isinstance(
            value, classmethod | staticmethod | property | type(lambda: 0)
        ):
            assert inspect.getdoc(getattr(thing, method)), f"{name}.{method} has no docstring"


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Guards'"):
        gemma_guard.Guards  # noqa: B018  asking is the test


def test_importing_it_loads_nothing_heavy() -> None:
    script = "import sys, gemma_guard; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "gemma_guard" in done.stdout.split()
    assert not HEAVY & set(done.stdout.split())
