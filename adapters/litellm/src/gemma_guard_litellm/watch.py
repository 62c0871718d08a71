"""What guards this proxy, and the door in front of it."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from gemma_guard_litellm.door import App, Door
from gemma_guard_litellm.endpoints import FAMILIES, family, real_paths
from gemma_guard_litellm.listing import listing, treated
from gemma_guard_litellm.proof import Proof

_JUDGES = {
    "pre_call": "input",
    "during_call": "input",
    "post_call": "output",
    "logging_only": "both, for the record,",
}
_allowed: dict[str, tuple[str, ...]] = {}
"""What each guardrail that judges every call allows, by the guardrail's name."""
_proven = WeakSet[Any]()
"""The proxies whose answers name the decisions on them."""


def prove() -> None:
    """Have the answers of this process's proxy, if it is one, name the decisions on them."""
    app = _app()
    if app is not None and app not in _proven:
        _proven.add(app)
        _put_in_front(app, Proof)


def close(name: str, allows: tuple[str, ...]) -> str:
    """Turn away what reaches a model unjudged, but for what this guardrail allows.

    Answers with the routes of the proxy, the first time.
    """
    app = _app()
    if app is None:
        return ""
    is_first = not _allowed
    _allowed[name] = allows
    if not is_first:
        return ""
    listed = listing(app, allows)
    first = partial(_tell_more, app, listed)
    _put_in_front(app, partial(Door, allowed=allowed, first=first))
    return listed + "\n"


def allowed() -> Iterator[str]:
    """What may pass although nobody judges it."""
    return (one for names in _allowed.values() for one in names)


def _tell_more(app: Any, listed: str) -> None:
    """List what is new since: LiteLLM adds pass-throughs after the guardrails."""
    known = listed.splitlines()
    try:
        now = listing(app, tuple(allowed())).splitlines()
    except Exception as error:  # noqa: BLE001  whatever it is, the call is not to blame
        now = [f"  unknown: {type(error).__name__}"]
    new = [row for row in now if row not in known]
    if new:
        sys.stderr.write("\n".join(["gemma-guard: routes that came later", *new]) + "\n")


def _put_in_front(app: Any, made: Callable[[App], App]) -> None:
    """Outermost: what a router would make of a path does not matter here."""
    if app.middleware_stack is None:
        app.middleware_stack = app.build_middleware_stack()
    app.middleware_stack = made(app.middleware_stack)


def is_proxy() -> bool:
    """Whether this process is one, or stands in for one."""
    return _app() is not None


def _app() -> Any:
    return getattr(sys.modules.get("litellm.proxy.proxy_server"), "app", None)


def table(hooks: Sequence[str], allows: tuple[str, ...] = ()) -> str:
    """Every family of endpoints, as it is treated where `hooks` run."""
    rows = defaultdict(list)
    for one in FAMILIES:
        rows[treated(one.label, is_allowed=one.name in allows)].append(one.name)
    lines = [f"  {treated:<22}{' '.join(names)}" for treated, names in rows.items()]
    judged = ", ".join(f"{_JUDGES[hook]} at {hook}" for hook in hooks)
    paths = [f"  allowed unguarded     {one}" for one in allows if one.startswith("/")]
    return "\n".join([f"  judged                {judged}", *lines, *paths])


def unknown_paths() -> list[str]:
    """The proxy's own routes to a model that no family here knows: refused, and worth a look."""
    app = _app()
    found = () if app is None else real_paths(app)
    return sorted({path for method, path in found if family(method, path).name == "other"})
