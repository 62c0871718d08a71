"""guard.yaml as written: every key, checked where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from gemma_guard.calibration import Calibration, Platt
from gemma_guard.configuration import Upkeep
from gemma_guard.conversation import Scope
from gemma_guard.errors import ConfigError
from gemma_guard.exemption import Exemption, is_hash
from gemma_guard.pacing import Mode, Pacing
from gemma_guard.packs import StageActionsFile, StageBandsFile
from gemma_guard.route import (
    Fallback,
    History,
    Match,
    Media,
    OnError,
)
from gemma_guard.schema import (
    Amount,
    Count,
    Flag,
    Milliseconds,
    Number,
    Strict,
    either,
)
from gemma_guard.verdict import Stage

Globs: TypeAlias = Annotated[
    str | tuple[str, ...], either("use text, * and ? in it, or a list of texts")
]


class MatchFile(Strict):
    """Which traffic a route takes, as written."""

    trusted: dict[str, Globs] = {}
    claimed: dict[str, Globs] = {}

    def model_post_init(self, _context: Any, /) -> None:
        """Check now, so that the message carries the key."""
        self.build()

    def build(self) -> Match:
        """The match."""
        return Match(_patterns(self.trusted), _patterns(self.claimed))


class OverrideFile(Strict):
    """What a route changes of one policy, as written; `enabled: false` takes it off the route."""

    bands: StageBandsFile | None = None
    actions: StageActionsFile | None = None
    shadow: Flag | None = None
    enabled: Flag | None = None


class FallbackFile(Strict):
    """The scorer that is asked when the route's own cannot answer, as written."""

    fallback: str
    bands: dict[str, StageBandsFile] = {}

    def build(self) -> Fallback:
        """The fallback."""
        bands = {
            (policy, Stage(stage)): given
            for policy, stages in self.bands.items()
            for stage, given in stages.build().items()
        }
        return Fallback(self.fallback, bands)


OnErrorFile: TypeAlias = Annotated[
    OnError | FallbackFile, either("use fail_closed, fail_open or {fallback: SCORER}")
]


class StreamFile(Strict):
    """How the streams of a route are held back, as written."""

    mode: Mode | None = None
    window_chars: Count | None = None
    max_hold_chars: Count | None = None
    max_hold_ms: Count | None = None
    confirm: Count | None = None

    def model_post_init(self, _context: Any, /) -> None:
        """Check now, so that the message carries the key."""
        self.build()

    def build(self) -> Pacing:
        """The pacing."""
        return Pacing(**self.model_dump(exclude_none=True))


class RouteFile(Strict):
    """One route, as written.

    What is missing comes from the route it extends; its policies too, unless it gives packs.
    """

    extends: str | None = None
    match: MatchFile | None = None
    packs: tuple[str, ...] | None = None
    policies: dict[str, OverrideFile] = {}
    scorer: str | None = None
    on_error: OnErrorFile | None = None
    deadline_ms: Milliseconds | None = None
    refusal: str | None = None
    media: Media | None = None
    max_chars: Count | None = None
    judge_system: Flag | None = None
    scope: Scope | None = None
    history: History | None = None
    stream: StreamFile | None = None
    placeholder: str | None = None


class ScorerFile(BaseModel):
    """A scorer, as written: `type` is its entry point, unknown keys are options that go to it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    calibration: str | None = None


class PlattFile(Strict):
    """A calibration map, as written."""

    slope: Number = 1.0
    bias: Number = 0.0

    def model_post_init(self, _context: Any, /) -> None:
        """Check now, so that the message carries the key."""
        self.build()

    def build(self) -> Platt:
        """The map."""
        return Platt(self.slope, self.bias)


class StagePlattFile(Strict):
    """The maps of one policy, as written."""

    input: PlattFile | None = None
    output: PlattFile | None = None


class CalibrationFile(Strict):
    """A calibration, as written. `scorer` is the fingerprint it was made for."""

    version: Literal[1] = 1
    scorer: str
    made_with: str = ""
    policies: dict[str, StagePlattFile]

    def build(self) -> Calibration:
        """The calibration."""
        maps = {
            (policy, stage): given.build()
            for policy, stages in self.policies.items()
            for stage in Stage
            if (given := getattr(stages, stage)) is not None
        }
        return Calibration(self.scorer, maps)


class ExceptionFile(Strict):
    """What is let through for a while, as written."""

    reason: str
    owner: str
    expires: date
    policies: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    text: str = ""
    phrase: str = ""

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse one that is about everything, or about two things."""
        if self.text and self.phrase:
            raise ConfigError("give a text or a phrase, not both")
        if self.text and not is_hash(self.text):
            raise ConfigError("text: its hash is needed, not the text; see gemma-guard hash --help")
        if not (self.text or self.phrase or self.policies):
            raise ConfigError("give a text, a phrase or policies: it would let everything through")

    def build(self, key: str) -> Exemption:
        """The exemption."""
        about = frozenset(self.policies), frozenset(self.routes)
        return Exemption(
            key, self.reason, self.owner, self.expires, *about, self.text, self.phrase.strip()
        )


class ReloadFile(Strict):
    """When guard.yaml is read again, as written."""

    watch_s: Amount = 0.0
    sighup: Flag = False


class CacheFile(Strict):
    """How many scores are remembered, and how long, as written; `mb: 0` remembers none."""

    mb: Amount = 64.0
    ttl_s: Amount = 3600.0


class RecordsFile(Strict):
    """Where decisions are kept, as written."""

    jsonl: str | None = None
    prometheus: Flag = False


class GuardFile(Strict):
    """guard.yaml, as written."""

    version: Literal[1] = 1
    trust_claims: Flag = False
    scorers: dict[str, ScorerFile] = {}
    records: RecordsFile = RecordsFile()
    reload: ReloadFile = ReloadFile()
    cache: CacheFile = CacheFile()
    heartbeat_s: Amount = 0.0
    hash_key: str = ""
    exceptions: tuple[ExceptionFile, ...] = ()
    routes: dict[str, RouteFile]

    def upkeep(self) -> Upkeep:
        """What the guard does beside checking."""
        return Upkeep(
            self.reload.watch_s,
            self.reload.sighup,
            self.heartbeat_s,
            int(self.cache.mb * 2**20),
            self.cache.ttl_s,
            self.records.prometheus,
        )


def _patterns(
    fields: Mapping[str, str | tuple[str, ...]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((f, (p,) if isinstance(p, str) else tuple(p)) for f, p in fields.items())
