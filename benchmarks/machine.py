"""What a figure was measured on, and where it is kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe(packages: Iterable[str]) -> dict[str, str]:
    """The processor, its cores, Python and the versions of `packages`."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def keep(name: str, machine: Mapping[str, str], figures: Mapping[str, Any]) -> None:
    """Write `figures` to `results/NAME.json`, and print them."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine, "figures": figures}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
