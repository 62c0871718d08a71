"""Plugins of real distributions, installed into a folder on `sys.path`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from gemma_guard import plugins
from gemma_guard.errors import PluginError
from gemma_guard.scorers.fake import Fake


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, distribution: str, points: str, source: str = "") -> str:
    """Put a distribution with one module there; `{module}` in `points` stands for its name."""
    module = f"plugin_{uuid4().hex}"
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(points.format(module=module), encoding="utf-8")
    importlib.invalidate_caches()
    return module


def refusal(name: str) -> str:
    with pytest.raises(PluginError) as refused:
        plugins.load("scorers", name)
    return str(refused.value)


def test_the_shipped_ones_come_through_the_same_door() -> None:
    assert plugins.load("scorers", "fake") is Fake
    assert {"default", "strict", "family", "privacy"} <= set(plugins.available("packs"))


def test_a_plugin_is_imported_only_when_it_is_named(site: Path) -> None:
    module = install(
        site, "acme", "[gemma_guard.scorers]\nacme = {module}:Judge\n", "class Judge: ...\n"
    )
    assert "acme" in plugins.available("scorers")
    assert module not in sys.modules
    assert plugins.load("scorers", "acme").__name__ == "Judge"
    assert module in sys.modules


def test_a_name_nobody_has_is_answered_with_the_installed_ones(site: Path) -> None:
    install(site, "acme", "[gemma_guard.scorers]\nacme = {module}:Judge\n")
    message = refusal("acne")
    assert message.startswith("unknown scorer 'acne'; did you mean 'acme'? use one of: acme, fake")


def test_a_name_taken_by_two_distributions_is_refused_and_both_are_named(site: Path) -> None:
    one = install(site, "acme", "[gemma_guard.scorers]\njudge = {module}:A\n", "A = 1\n")
    two = install(site, "other", "[gemma_guard.scorers]\njudge = {module}:B\n", "B = 1\n")
    message = refusal("judge")
    assert message.startswith("scorers: the name 'judge' is taken more than once: ")
    assert f"'judge' ({one}:A, from acme)" in message
    assert f"'judge' ({two}:B, from other)" in message
    assert not {one, two} & set(sys.modules)


def test_a_shipped_name_cannot_be_taken_over(site: Path) -> None:
    install(site, "evil", "[gemma_guard.scorers]\nfake = {module}:A\n", "A = 1\n")
    assert "from evil" in refusal("fake")
    assert "from gemma-guard" in refusal("fake")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('no licence found')", "RuntimeError: no licence found"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "has no attribute 'Judge'"),
        ("def", "SyntaxError: "),
        ("from os import nothing_there", "ImportError: cannot import name 'nothing_there'"),
    ],
)
def test_a_plugin_that_fails_to_import_is_named_with_the_reason(
    site: Path, source: str, cause: str
) -> None:
    install(site, "acme", "[gemma_guard.scorers]\nacme = {module}:Judge\n", source)
    message = refusal("acme")
    assert "from acme) fails to import: " in message
    assert cause in message


def test_a_plugin_that_lacks_a_package_says_what_to_install(site: Path) -> None:
    source = "import nowhere_to_be_found\n"
    install(site, "acme", "[gemma_guard.scorers]\nacme = {module}:Judge\n", source)
    message = refusal("acme")
    assert "needs the package 'nowhere_to_be_found', which is not installed" in message
    assert message.endswith("try: pip install nowhere_to_be_found")


def test_an_error_of_a_plugin_keeps_its_cause(site: Path) -> None:
    install(site, "acme", "[gemma_guard.scorers]\nacme = {module}:Judge\n", "1 / 0")
    with pytest.raises(PluginError) as refused:
        plugins.load("scorers", "acme")
    assert isinstance(refused.value.__cause__, ZeroDivisionError)
