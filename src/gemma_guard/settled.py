"""One text of which all is known and nothing found: settled at once, as `judge` would.

In a gateway a check finds the processor's caches cold: what it costs is the code that has to be
fetched, and this is less of it.
"""

from __future__ import annotations

from operator import attrgetter, ge
from typing import Any, TypeAlias

from gemma_guard.conversation import LISTS
from gemma_guard.decision import encodes
from gemma_guard.judging import Case, Outcome, Source
from gemma_guard.panel import Panel
from gemma_guard.scorer import Probe
from gemma_guard.text import plain
from gemma_guard.verdict import Action, Judged, Place, Stage

_MOST_CHARS = 20_000  # more would hold an event loop
_VIOLATION, _HELD = attrgetter("violation"), attrgetter("hold_from")
_NOWHERE = {None}

_Said: TypeAlias = tuple[str, Place, str]
"""A text, where it stands, and who says it."""


def settled(case: Case, panel: Panel) -> Outcome | None:
    """What became of the only text of `case`; None where there is more to it."""
    route, plan = case.route, case.route.plans[case.stage]
    if not plan.lowest or route.exemptions or case.stream is not None:
        return None
    said, prompt = _only(case.source, case.stage)
    if said is None:
        return None
    text, place, role = said
    prompt = prompt if case.prompt is None else case.prompt
    whole = f"{prompt or ''}{text}"
    if len(whole) > min(route.max_chars, _MOST_CHARS) or not encodes(whole) or plain(text):
        return None
    ask = plan.asks[0]
    probe = Probe(text, ask.policies, case.stage, prompt, tenant=case.tenant)
    scores = panel.known(ask.scorer, probe)
    if scores is None:
        return None
    if any(map(ge, map(_VIOLATION, scores), plan.lowest)) or {*map(_HELD, scores)} != _NOWHERE:
        panel.unused(scores)
        return None
    return Outcome((Judged(place, role, case.stage, Action.ALLOW, scores),))


def _only(source: Source, stage: Stage) -> tuple[_Said | None, str | None]:
    """The only text, and what it answers: a text, a question, or an answer with its question."""
    if isinstance(source, str):
        return (source, (), "") if source else None, None
    if stage is Stage.INPUT:
        said = _said(source, ("user", "tool"))
        return said[0] if len(said) == 1 and said[0][2] == "user" else None, None
    said = _said(source, ("user", "assistant"))
    if len(said) == len(source) and [role for _, _, role in said] == ["user", "assistant"]:
        return said[1], said[0][0]
    return None, None


def _said(messages: Any, roles: tuple[str, ...]) -> list[_Said]:
    """Every text of `messages`; none where any is more than one of `roles` and a text."""
    found: list[_Said] = []
    for index, message in enumerate(messages if isinstance(messages, LISTS) else ()):
        if type(message) is not dict or len(message) != 2:  # noqa: PLR2004
            return []
        role, content = message.get("role"), message.get("content")
        if role not in roles or type(content) is not str:
            return []
        if content:
            found.append((content, (index, "content"), role))
    return found
