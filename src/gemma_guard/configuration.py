"""What a guard is made of, however it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemma_guard.calibration import Calibration
from gemma_guard.exemption import Exemption
from gemma_guard.route import Routes

DEFAULT_SCORER = "lite"
PACKS_OF: Mapping[str, tuple[str, ...]] = {DEFAULT_SCORER: ("lite",)}
"""What a route without packs gets where its judge has bands of its own; otherwise `default`."""
PATTERN_SCORER = "pattern"


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A scorer to load: the name of its entry point and the options it is made with."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What a guard does beside checking; 0 and False turn a thing off. Times in seconds."""

    watch_s: float = 0.0
    on_sighup: bool = False
    heartbeat_s: float = 0.0
    cache_bytes: int = 64 * 2**20
    cache_ttl_s: float = 3600.0
    prometheus: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a guard is made of. `fingerprint` changes with any of it, packs included.

    `calibrations` are by scorer, each with the file it came from; `files` is everything that was
    read, for a watch to look at.
    """

    routes: Routes
    scorers: Mapping[str, ScorerSpec]
    records: Path | None = None
    source: str = ""
    fingerprint: str = ""
    calibrations: Mapping[str, tuple[str, Calibration]] = field(default_factory=dict)
    exemptions: tuple[Exemption, ...] = ()
    upkeep: Upkeep = field(default_factory=Upkeep)
    files: tuple[Path, ...] = ()
