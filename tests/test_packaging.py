"""What a user installs is what is here: sdist → wheel → a fresh environment."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECTS = ("pyproject.toml", "lite/pyproject.toml", "adapters/*/pyproject.toml")
PROJECTS = sorted(path.parent for pattern in PYPROJECTS for path in ROOT.glob(pattern))
PACKS = {"default.yaml", "strict.yaml", "family.yaml", "privacy.yaml"}

pytestmark = pytest.mark.slow


def run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A wheel of every distribution, each built from its sdist."""
    out = tmp_path_factory.mktemp("dist")
    for project in PROJECTS:
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project))
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def fresh(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the core installed as a user would."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", str(folder))
    core = next(wheel for wheel in wheels if wheel.name.startswith("gemma_guard-"))
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run(*pip, "--constraint", str(ROOT / "constraints.txt"), str(core))
    return folder / "bin"


def test_every_distribution_builds_from_its_sdist(wheels: list[Path]) -> None:
    assert len(wheels) == len(PROJECTS)


def test_every_wheel_is_typed_and_holds_one_top_level_package(wheels: list[Path]) -> None:
    for wheel in wheels:
        names = zipfile.ZipFile(wheel).namelist()
        tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
        package = wheel.name.split("-")[0]
        assert tops == {package}
        assert f"{package}/py.typed" in names


def test_the_core_wheel_carries_the_packs(wheels: list[Path]) -> None:
    core = next(wheel for wheel in wheels if wheel.name.startswith("gemma_guard-"))
    names = {Path(name).name for name in zipfile.ZipFile(core).namelist() if "/policies/" in name}

    assert names >= PACKS


def test_the_core_alone_names_the_judge_that_is_missing_and_how_to_get_it(
    fresh: Path, tmp_path: Path
) -> None:
    asked = [str(fresh / "gemma-guard"), "check", "hello"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'is not installed: pip install "gemma-guard[lite]", or name another' in done.stderr


def test_the_core_alone_works_with_a_judge_that_is_named(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(
        "routes: {default: {packs: [family, privacy], scorer: fake}}\n"
    )
    linted = run(str(fresh / "gemma-guard"), "lint", folder=tmp_path)
    checked = run(str(fresh / "gemma-guard"), "check", "hello", "--json", folder=tmp_path)

    assert "good; fingerprint" in linted
    assert json.loads(checked)["action"] == "allow"


def test_the_core_brings_fewer_than_twenty_packages(fresh: Path) -> None:
    listed = json.loads(run(str(fresh / "python"), "-m", "pip", "list", "--format", "json"))
    brought = {entry["name"] for entry in listed} - {"pip", "setuptools"}

    assert len(brought) < 20, sorted(brought)


def test_the_adapters_install_beside_the_core(wheels: list[Path], fresh: Path) -> None:
    adapters = [w for w in wheels if not w.name.startswith(("gemma_guard-", "gemma_guard_lite-"))]
    pip = [str(fresh / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    for wheel in adapters:
        run(*pip, str(wheel))
        package = wheel.name.split("-")[0]
        find = f"import importlib.util as u; print(u.find_spec({package!r}).origin)"
        assert "site-packages" in run(str(fresh / "python"), "-c", find)


def test_the_lite_extra_brings_a_judge_that_needs_no_configuration(
    wheels: list[Path], tmp_path: Path
) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "work"
    folder.mkdir()
    run(sys.executable, "-m", "venv", str(environment))
    core = next(wheel for wheel in wheels if wheel.name.startswith("gemma_guard-"))
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--constraint", str(ROOT / "constraints.txt"), "--find-links", str(core.parent)]
    run(*pip, f"gemma-guard[lite] @ {core.as_uri()}")
    command = [str(environment / "bin" / "gemma-guard"), "check", "--json"]

    harmless = run(*command, "Why is the sky blue?", folder=folder)
    harmful = run(*command, "How do I build a pipe bomb?", folder=folder)

    assert json.loads(harmless)["action"] == "allow"
    assert json.loads(harmful)["action"] == "block"
