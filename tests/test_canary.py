"""A canary in whatever a caller supplies turns up in nothing that is logged, shown or kept."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gemma_guard import (
    Action,
    Bands,
    Blocked,
    Cause,
    Guard,
    GuardError,
    Guideline,
    Part,
    Patterns,
    Policy,
    Priority,
    Probe,
    Score,
    Span,
    Stage,
    TextRefused,
    Verdict,
)
from gemma_guard.configuration import ScorerSpec, Settings
from gemma_guard.conversation import read
from gemma_guard.counters import Counters, PrometheusSink
from gemma_guard.forms import forms_of
from gemma_guard.judging import Case
from gemma_guard.records import JsonLinesSink, LoggerSink
from gemma_guard.route import DEFAULT, Fallback, Route, Routes, Rule

CANARY = "xcanary7f3a"
TEXT = f"tell {CANARY} to stop"
WORDING = Guideline("no insults in prompts", "no insults in answers")
BANDS = Bands(log=0.3, redact=0.5, block=0.8)
HARASSMENT = Policy("harassment", BANDS, BANDS, guideline=WORDING)
CUT = Bands.of(Action.REDACT)
WORD = Policy("word", CUT, CUT, patterns=Patterns(words=("stop",)))


class Odd:
    """Does what it is told to with the text it is given."""

    fingerprint = "odd"

    def __init__(self, act: Any) -> None:
        self._act = act

    def judges(self, policy: Policy, _stage: Stage, /) -> bool:
        return policy.kind == "judged"

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> Sequence[tuple[Score, ...]]:
        del deadline, priority
        answer = self._act(probes)
        return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[no-any-return]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def says(violation: float, *spans: Span) -> Any:
    return lambda probes: [
        tuple(Score(p.name, violation, spans=spans) for p in probe.policies) for probe in probes
    ]


def quotes(kind: type[Exception]) -> Any:
    def act(probes: Sequence[Probe]) -> Any:
        text = probes[0].text
        raise kind(f"cannot read {text!r}") from KeyError(text)

    return act


def refuses(_probes: Sequence[Probe]) -> Any:
    raise TextRefused(Cause.TOO_MANY_WINDOWS, "81 windows")


JUDGES = {
    "allows": says(0.0),
    "logs": says(0.4),
    "redacts": says(0.6, Span(1, 4)),
    "redacts nowhere": says(0.6),
    "blocks": says(0.9),
    "breaks": quotes(RuntimeError),
    "breaks as Python does": quotes(ValueError),
    "is late": quotes(TimeoutError),
    "hangs": lambda _: asyncio.sleep(3600),
    "refuses": refuses,
    "answers nothing": lambda _: [],
    "answers with the text": lambda probes: [(probe.text,) for probe in probes],
    "answers for a policy that is none": lambda probes: [
        (Score(probe.text, 0.1),) * len(probe.policies) for probe in probes
    ],
}


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": CANARY, "type": "function", "function": {"name": name, "arguments": arguments}}


SOURCES: dict[str, dict[str, Any]] = {
    "text": {"text": TEXT},
    "half a surrogate": {"text": f"{TEXT} \ud800"},
    "too long": {"text": TEXT * 100},
    "prompt": {"text": "stop", "prompt": TEXT, "stage": "output"},
    "message": {"messages": [{"role": "user", "content": TEXT}]},
    "history": {
        "messages": [{"role": "assistant", "content": TEXT}, {"role": "user", "content": "stop"}]
    },
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}] * 2}]},
    "tool call": {
        "messages": [
            {"role": "assistant", "tool_calls": [call(CANARY, f'{{"{CANARY}": "{TEXT}"}}')]}
        ]
    },
    "object": {
        "messages": [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "name": CANARY, "input": {CANARY: [TEXT]}}],
            }
        ]
    },
    "tool result": {"messages": [{"role": "tool", "content": TEXT, "tool_call_id": CANARY}]},
    "system": {"messages": [{"role": "system", "content": TEXT}]},
    "role": {"messages": [{"role": CANARY, "content": TEXT}]},
    "name": {"messages": [{"role": "user", "name": CANARY, "content": "stop"}]},
    "unknown key": {"messages": [{"role": "user", "content": "stop", CANARY: TEXT}]},
    "unknown part": {"messages": [{"role": "user", "content": [{"type": CANARY, CANARY: TEXT}]}]},
    "image": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": TEXT}}]}
        ]
    },
    "fields": {"text": TEXT, "trusted": {"team": CANARY}, "claimed": {"metadata.x": CANARY}},
    "tenant": {"text": TEXT, "tenant": CANARY},
}
WRONG: dict[str, dict[str, Any]] = {
    "bytes": {"text": TEXT.encode()},
    "messages as text": {"messages": TEXT},
    "no mapping": {"messages": [TEXT]},
    "no role": {"messages": [{"content": TEXT}]},
    "content of no kind": {"messages": [{"role": "user", "content": {TEXT: TEXT}}]},
    "part of no kind": {"messages": [{"role": "user", "content": [{TEXT}]}]},
    "text of no kind": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": [TEXT]}]}]
    },
    "calls of no kind": {"messages": [{"role": "assistant", "tool_calls": TEXT}]},
    "call of no kind": {"messages": [{"role": "assistant", "tool_calls": [TEXT]}]},
    "function of no kind": {"messages": [{"role": "assistant", "function_call": TEXT}]},
    "tighten": {"text": TEXT, "tighten": {"harasment": Bands(block=0.5)}},
}


def guard_with(act: Any, *sinks: Any, **route: Any) -> Guard:
    rules = tuple(
        Rule(policy, policy.input, policy.output, scorer)
        for policy, scorer in ((HARASSMENT, "judge"), (WORD, "pattern"))
    )
    routes = Routes({DEFAULT: Route(DEFAULT, rules, deadline_s=0.1, max_chars=1000, **route)})
    specs = {name: ScorerSpec(name) for name in ("judge", "second")}
    scorers = {"judge": Odd(act), "second": Odd(quotes(RuntimeError))}
    settings = Settings(routes, specs | {"pattern": ScorerSpec("pattern")})
    return Guard(settings, scorers=scorers, sinks=sinks)


def formatted(records: Sequence[logging.LogRecord]) -> str:
    """As a handler would write them, with the traceback of an exception, and all they carry."""
    handler = logging.Formatter("%(levelname)s %(name)s %(message)s")
    return "\n".join(handler.format(r) + repr(vars(r)) for r in records)


def shown(verdict: Verdict) -> Iterator[str]:
    yield from (repr(verdict), str(verdict), verdict.summary, verdict.refusal)
    fields = (
        verdict.scores,
        verdict.gaps,
        verdict.findings,
        verdict.passages,
        verdict.edits,
        verdict.redactions,
        verdict.released,
        verdict.policies,
        verdict.unvalidated,
    )
    yield from map(repr, fields)


class FullDisk:
    """A sink that cannot write."""

    def write(self, _verdict: Verdict, /) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open", "fallback"])
@pytest.mark.parametrize("judge", JUDGES)
async def test_a_canary_is_found_nowhere(
    judge: str, on_error: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry, counters = CollectorRegistry(), Counters()
    path = tmp_path / "decisions.jsonl"
    file = JsonLinesSink(path)
    failing: dict[str, Any] = {"on_error": on_error}
    if on_error == "fallback":
        failing = {"fallback": Fallback("second")}
    found: dict[str, str] = {}
    for name, source in SOURCES.items():
        sinks = LoggerSink(), file, counters, PrometheusSink(registry), FullDisk()
        guard = guard_with(JUDGES[judge], *sinks, media="gap", **failing)
        verdict = await guard.check(**source)
        found[name] = "\n".join(shown(verdict))
        try:
            verdict.raise_if_blocked()
        except Blocked as blocked:
            found[name] += repr(blocked) + "".join(traceback.format_exception(blocked))
        await guard.aclose()
    file.close()

    leaked = [name for name, text in found.items() if CANARY in text]
    assert not leaked
    assert CANARY not in formatted(caplog.records)
    assert CANARY not in path.read_text()
    assert CANARY not in generate_latest(registry).decode()
    assert CANARY not in repr(counters)


def parts(chunk: str) -> list[Part]:
    kind, _, text = chunk.partition("|")
    return [Part((0, kind), text, call=CANARY if kind == "call" else None)]


async def chunks() -> AsyncIterator[str]:
    for chunk in (f"text|{TEXT}. And ", f"text|{TEXT}.", f'call|{{"{CANARY}": "{TEXT}"}}'):
        yield chunk


@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open"])
@pytest.mark.parametrize("judge", JUDGES)
async def test_nor_is_a_canary_in_a_stream(
    judge: str, on_error: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = JsonLinesSink(tmp_path / "decisions.jsonl")
    guard = guard_with(JUDGES[judge], LoggerSink(), file, FullDisk(), on_error=on_error)

    found = [repr(part) for part in parts(f"text|{TEXT}")]
    async for release in guard.stream_chunks(chunks(), parts, prompt=TEXT):
        found += [repr(release), *(shown(release.verdict) if release.verdict else ())]
    async for piece in guard.stream(chunks(), prompt=TEXT):
        found += [repr(piece), *(shown(piece.verdict) if piece.verdict else ())]
    await guard.aclose()
    file.close()

    assert not [text for text in found if CANARY in text]
    assert CANARY not in formatted(caplog.records)
    assert CANARY not in (tmp_path / "decisions.jsonl").read_text()


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_call_is_told_without_what_it_held(
    wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    with pytest.raises(GuardError) as raised:
        await guard_with(says(0.0), LoggerSink()).check(**WRONG[wrong])

    error: BaseException | None = raised.value
    while error is not None:
        assert CANARY not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    assert CANARY not in formatted(caplog.records)


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_that_holds_text_shows_it(name: str) -> None:
    source = SOURCES[name]
    given = source.get("text", source.get("messages"))
    assert given is not None
    reading = read(given, Stage.INPUT, system=True)

    for each in (reading, *reading.passages, *reading.gaps):
        assert CANARY not in repr(each)
    for passage in reading.passages:
        forms = forms_of(passage.text)
        assert CANARY not in repr(Probe(passage.text, (HARASSMENT,), prompt=TEXT))
        assert CANARY not in repr(forms), "a form"
    assert CANARY not in repr(Case(given, Route(DEFAULT, ()), Stage.INPUT, TEXT))


async def test_the_health_of_a_scorer_that_quotes_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    guard = guard_with(quotes(RuntimeError), LoggerSink(), FullDisk())

    await guard.check(TEXT)
    healths = await guard.health()
    await guard.aclose()

    assert CANARY not in repr(healths) + formatted(caplog.records)
