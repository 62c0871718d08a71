"""YAML packs: policies with a name and a version, for people who do not write Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import regex

from gemma_guard import plugins
from gemma_guard.errors import ConfigError, PluginError
from gemma_guard.policy import Bands, Detector, Guideline, Patterns, Policy
from gemma_guard.schema import Strict, Threshold, dump, parse, read_text
from gemma_guard.verdict import Action, Stage

MAX_POLICIES = 1_000

ActionWord = Literal["allow", "log", "redact", "block"]


@dataclass(frozen=True, slots=True)
class PolicyPack:
    """A named, versioned set of policies.

    `source` is the file it came from, if any; `files` are that and those it extends.
    """

    name: str
    version: str
    policies: tuple[Policy, ...]
    description: str = ""
    source: str = ""
    files: tuple[Path, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Refuse two policies with one name."""
        seen: set[str] = set()
        for policy in self.policies:
            if policy.name in seen:
                raise ConfigError(f"pack {self.name!r}: two policies are called {policy.name!r}")
            seen.add(policy.name)

    @classmethod
    def from_yaml(cls, path: str | Path) -> PolicyPack:
        """The pack in the file at `path`; raises `ConfigError` with file and key."""
        return _read(Path(path), seen=())

    def to_yaml(self) -> str:
        """The pack as a file that loads to an equal pack, `source` aside.

        Raises `ConfigError` for bands that only Python can say.
        """
        written = {policy.name: _written(policy) for policy in self.policies}
        return dump(
            {
                "name": self.name,
                "version": self.version,
                "description": self.description,
                "policies": written,
            }
        )


class BandsFile(Strict):
    """Thresholds of one stage, as written."""

    log: Threshold | None = None
    redact: Threshold | None = None
    block: Threshold | None = None

    def model_post_init(self, _context: Any, /) -> None:
        """Check now, so that the message carries the key."""
        self.build()

    def build(self) -> Bands:
        """The bands; at least one is needed."""
        bands = Bands(self.log, self.redact, self.block)
        if not bands.thresholds:
            raise ConfigError("give at least one of log, redact, block")
        return bands


class StageBandsFile(Strict):
    """Thresholds of both stages, as written; a missing stage is not checked."""

    input: BandsFile | None = None
    output: BandsFile | None = None

    def build(self) -> dict[str, Bands]:
        """The bands of the stages given."""
        given = {stage: getattr(self, stage) for stage in Stage}
        return {str(stage): bands.build() for stage, bands in given.items() if bands}


class StageActionsFile(Strict):
    """What a pattern policy does on a match, as written; a missing stage is not checked."""

    input: ActionWord | None = None
    output: ActionWord | None = None

    def build(self) -> dict[str, Bands]:
        """The same as bands: a match has violation 1."""
        given = {stage: getattr(self, stage) for stage in Stage}
        return {str(s): Bands.of(Action.parse(word)) for s, word in given.items() if word}


class GuidelineFile(Strict):
    """The judge's wording at both stages, as written."""

    input: str
    output: str


class PolicyFile(Strict):
    """One policy, as written. In a pack that extends another, only what differs."""

    kind: Literal["judged", "pattern"] | None = None
    guideline: GuidelineFile | None = None
    head: str | None = None
    bands: StageBandsFile | None = None
    patterns: tuple[Detector, ...] = ()
    words: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    actions: StageActionsFile | None = None

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse keys of the other kind, and expressions that cannot be searched for."""
        if self.kind == "judged" and (self.looks_for or self.actions):
            raise ConfigError("a judged policy has a guideline and bands, no patterns or actions")
        if self.kind == "pattern" and (self.guideline or self.head or self.bands):
            raise ConfigError("a pattern policy has patterns and actions, no guideline or bands")
        for expression in self.expressions:
            check_expression(expression)
        if not all(word.strip() for word in self.words):
            raise ConfigError("words: an empty word would be found everywhere")

    @property
    def looks_for(self) -> Patterns:
        """What a pattern policy looks for."""
        return Patterns(self.patterns, self.words, self.expressions, self.regions)

    def build(self, name: str, base: Policy | None) -> Policy:
        """The policy, started from `base` where a pack extends another."""
        changes: dict[str, Any] = {**stage_bands(self.bands, self.actions)}
        if self.guideline:
            changes["guideline"] = Guideline(self.guideline.input, self.guideline.output)
        if self.head:
            changes["head"] = self.head
        if self.looks_for:
            changes["patterns"] = self.looks_for
        policy = replace(base, **changes) if base else Policy(name, **changes)
        if self.kind and self.kind != policy.kind:
            raise ConfigError(f"kind: {self.kind}: this is a {policy.kind} policy")
        return policy


def stage_bands(bands: StageBandsFile | None, actions: StageActionsFile | None) -> dict[str, Bands]:
    """Bands by stage, from whichever way they were written."""
    return {**(bands.build() if bands else {}), **(actions.build() if actions else {})}


class PackFile(Strict):
    """A pack, as written."""

    name: str
    version: str
    description: str = ""
    extends: tuple[str, ...] = ()
    policies: dict[str, PolicyFile]


def check_expression(expression: str) -> None:
    """Refuse what is not a regular expression, or finds nothing everywhere."""
    try:
        found = regex.compile(expression).fullmatch("")
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        raise ConfigError(f"expression {expression!r}: {error}") from error
    if found:
        raise ConfigError(f"expression {expression!r} matches the empty text")


def find(name: str, *, beside: Path, seen: tuple[Path, ...] = ()) -> PolicyPack:
    """The pack called `name`: a file (`.yaml`, relative to `beside`) or an installed pack."""
    if name.endswith((".yaml", ".yml")):
        return _read(beside / name, seen=seen)
    try:
        return _checked(plugins.load("packs", name)(), name)
    except PluginError as error:
        own = "" if name in plugins.EXTRAS else "; a pack of your own is a file that ends in .yaml"
        raise ConfigError(f"{error}{own}") from error


def _read(path: Path, *, seen: tuple[Path, ...]) -> PolicyPack:
    real = path.resolve()
    if real in seen:
        raise ConfigError(f"{path}: extends: {' -> '.join(map(str, (*seen, real)))} is a circle")
    return parsed(read_text(path), source=str(path), beside=path.parent, seen=(*seen, real))


def shipped(name: str) -> PolicyPack:
    """One of the packs of this distribution."""
    text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return parsed(text, source=f"gemma_guard/policies/{name}.yaml", beside=Path())


def _folder() -> Traversable:
    """Where the shipped packs are: inside the wheel, or beside `src` in a checkout."""
    packed = files("gemma_guard") / "policies"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "policies"


default, strict, family, privacy = (
    partial(shipped, name) for name in ("default", "strict", "family", "privacy")
)


def parsed(text: str, *, source: str, beside: Path, seen: tuple[Path, ...] = ()) -> PolicyPack:
    """The pack that `text` describes; packs it extends are looked for `beside` it."""
    written = parse(PackFile, text, source=source)
    if len(written.policies) > MAX_POLICIES:
        raise ConfigError(
            f"{source}: policies: {len(written.policies):,}; a pack holds at most {MAX_POLICIES:,}"
        )
    try:
        extended = [find(name, beside=beside, seen=seen) for name in written.extends]
        bases = _merged(extended)
        policies = {**bases, **_built(written.policies, bases)}
        return PolicyPack(
            written.name,
            written.version,
            tuple(policies.values()),
            written.description,
            source,
            (*map(Path, seen[-1:]), *(file for pack in extended for file in pack.files)),
        )
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _checked(pack: object, name: str) -> PolicyPack:
    if not isinstance(pack, PolicyPack):
        raise PluginError(f"pack {name!r}: its entry point gave {type(pack).__name__}, not a pack")
    return pack


def _merged(packs: Iterable[PolicyPack]) -> dict[str, Policy]:
    policies: dict[str, Policy] = {}
    for pack in packs:
        for policy in pack.policies:
            if policies.setdefault(policy.name, policy) != policy:
                raise ConfigError(f"extends: two packs have a policy called {policy.name!r}")
    return policies


def _built(written: Mapping[str, PolicyFile], bases: Mapping[str, Policy]) -> dict[str, Policy]:
    policies = {}
    for name, entry in written.items():
        try:
            policies[name] = entry.build(name, bases.get(name))
        except ConfigError as error:
            raise ConfigError(f"policies.{name}: {error}") from error
    return policies


def _written(policy: Policy) -> dict[str, Any]:
    stages = {str(s): bands for s in Stage if (bands := policy.bands(s)) is not None}
    kept = _written_patterns if policy.patterns else _written_judged
    return {"kind": policy.kind, **kept(policy, stages)}


def _written_judged(policy: Policy, stages: Mapping[str, Bands]) -> dict[str, Any]:
    guideline = policy.guideline and {str(s): policy.guideline.at(s) for s in Stage}
    bands = {stage: {str(a): at for a, at in b.thresholds} for stage, b in stages.items()}
    if not all(bands.values()):
        raise ConfigError(f"policy {policy.name!r}: bands without a threshold are not YAML")
    entry = {"guideline": guideline, "head": policy.head, "bands": bands}
    return {key: value for key, value in entry.items() if value}


def _written_patterns(policy: Policy, stages: Mapping[str, Bands]) -> dict[str, Any]:
    looks_for = asdict(policy.patterns or Patterns())
    entry: dict[str, Any] = {key: list(value) for key, value in looks_for.items()}
    entry["patterns"] = entry.pop("detectors")
    actions = {stage: bands.judge(1.0)[0] for stage, bands in stages.items()}
    if any(bands != Bands.of(actions[stage]) for stage, bands in stages.items()):
        raise ConfigError(f"policy {policy.name!r}: in YAML, patterns have one action per stage")
    entry["actions"] = {stage: str(action) for stage, action in actions.items()}
    return {key: value for key, value in entry.items() if value}
