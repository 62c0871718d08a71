"""Scorers and packs of other distributions, by entry point, loaded only when named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from gemma_guard.errors import PluginError, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

Kind = Literal["scorers", "packs"]
EXTRAS = frozenset({"lite"})
"""Names that come with an extra of gemma-guard called the same."""


def available(kind: Kind) -> tuple[str, ...]:
    """The names of what is installed, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in _points(kind)}))


def missing(kind: Kind, name: str, *, beside: Iterable[str] = ()) -> str:
    """A sentence for a name that is neither installed nor one of `beside`, with what to do."""
    noun = kind.removesuffix("s")
    if name not in EXTRAS:
        return unknown(noun, name, (*beside, *available(kind)))
    return (
        f'{noun} {name!r} is not installed: pip install "gemma-guard[{name}]", '
        "or name another `scorer:` and packs for it"
    )


def load(kind: Kind, name: str) -> Any:
    """The object registered as `name`; raises `PluginError` with what to do."""
    point = _only(kind, name)
    try:
        return point.load()
    except ModuleNotFoundError as missing:
        raise PluginError(_how_to_install(point, missing)) from missing
    except Exception as error:  # a plugin's import may raise anything
        cause = f"{type(error).__name__}: {error}"
        raise PluginError(f"{_title(point)} fails to import: {cause}") from error


def _only(kind: Kind, name: str) -> EntryPoint:
    points = tuple(_points(kind).select(name=name))
    values = {point.value for point in points}
    if not points:
        raise PluginError(missing(kind, name))
    if len(values) > 1:
        owners = ", ".join(sorted(_title(point) for point in points))
        raise PluginError(f"{kind}: the name {name!r} is taken more than once: {owners}")
    return points[0]


def _points(kind: Kind) -> EntryPoints:
    # Only here: it takes as long to import as the rest of the core.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return entry_points(group=f"gemma_guard.{kind}")


def _title(point: EntryPoint) -> str:
    owner = point.dist.name if point.dist else "an unknown distribution"
    return f"{point.name!r} ({point.value}, from {owner})"


def _how_to_install(point: EntryPoint, missing: ModuleNotFoundError) -> str:
    is_ours = point.dist is not None and point.dist.name == "gemma-guard"
    extra = (*point.extras, point.name)[0]
    wanted = f"'gemma-guard[{extra}]'" if is_ours else missing.name
    return (
        f"{_title(point)} needs the package {missing.name!r}, which is not installed; "
        f"try: pip install {wanted}"
    )
