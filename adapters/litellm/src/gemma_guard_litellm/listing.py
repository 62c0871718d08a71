"""The routes that a proxy really has, and how each is treated."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from gemma_guard_litellm.endpoints import Label, family, is_allowed, real_paths

ALLOWED, REFUSED = "allowed unguarded", "refused"
_ORDER = (str(Label.GUARDED), str(Label.INPUT_ONLY), ALLOWED, REFUSED)


def listing(app: Any, allowed: Collection[str]) -> str:
    """Every route of `app` that can reach a model, by how it is treated; one family a line."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for method, path in real_paths(app):
        one = family(method, path)
        if one.label is not Label.QUIET:
            how = treated(one.label, is_allowed=is_allowed(method, path, allowed))
            found[how, one.name].add(re.sub(r"\{[^}]*\}", "{}", path))
    rows = sorted(found.items(), key=lambda row: _ORDER.index(row[0][0]))
    lines = (f"  {how:<22}{name}: {' '.join(_topmost(paths))}" for (how, name), paths in rows)
    return "\n".join(["gemma-guard: the routes of this proxy that can reach a model", *lines])


def treated(label: Label, *, is_allowed: bool) -> str:
    """What becomes of calls to a family with this label."""
    if label is Label.UNGUARDED:
        return ALLOWED if is_allowed else REFUSED
    return str(label)


def _topmost(paths: Iterable[str]) -> Iterator[str]:
    """`paths` in order; those below another are told by a star behind that."""
    top, below = "", ""
    for path in sorted(paths):
        if top and path.startswith(f"{top.rstrip('/')}/"):
            below = "*"
            continue
        if top:
            yield top + below
        top, below = path, ""
    yield top + below
