"""`guard.stream`: nothing leaves before it was scored, whatever the chunks, the place and the mode.

With the real guard, the scorers `fake` and `pattern`, and real event loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from gemma_guard import (
    Action,
    Bands,
    Cause,
    Gap,
    Guard,
    Guideline,
    NotServing,
    Part,
    Piece,
    Policy,
    Priority,
    Probe,
    Release,
    Score,
    Scorer,
    Sink,
    Unreachable,
    UsageError,
    Verdict,
)
from gemma_guard.pacing import Pacing
from gemma_guard.route import Routes
from gemma_guard.scorers.fake import KEYWORDS, Fake
from gemma_guard.settings import loads

SETTINGS = loads(
    """
scorers: {spare: {type: fake}}
routes:
  default: {scorer: fake, packs: [default, privacy]}
  open: {extends: default, on_error: fail_open}
  spare: {extends: default, on_error: {fallback: spare}}
"""
)
EMAIL, CARD, KEY = "jane.doe@example.com", "4111 1111 1111 1111", "AKIA" + "IOSFODNN7EXAMPLE"
INSULT, BOMB = "idiot", "pipe bomb"
REDACTED, BLOCKED = (EMAIL, CARD, KEY, INSULT), (BOMB, "you are worthless", "vermin")
PLAIN = ("It rains.", "All is well today,", "and so", "on", "we walk.\n\n", "- one", "They say 12.")


class Watched(Fake):
    """The fake scorer; keeps what it has answered about."""

    def __init__(self, keywords: Any = KEYWORDS, *, pauses: Iterable[float] = ()) -> None:
        super().__init__(keywords)
        self.answered: list[str] = []
        self.pauses = iter(pauses)

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        if (pause := next(self.pauses, None)) is not None:
            await asyncio.sleep(pause)
        scores = await super().score(probes, deadline=deadline, priority=priority)
        self.answered += [probe.text for probe in probes]
        return scores


class Vague(Watched):
    """Says what it thinks of a text, and not where that is."""

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        found = await super().score(probes, deadline=deadline, priority=priority)
        return [tuple(replace(score, spans=()) for score in scores) for scores in found]


def made(
    scorer: Scorer, *, sinks: Sequence[Sink] = (), max_chars: int = 200_000, **pacing: Any
) -> Guard:
    routes = {
        name: replace(
            route,
            pacing=Pacing(**{"window_chars": 40, "max_hold_chars": 80} | pacing),
            max_chars=max_chars,
        )
        for name, route in SETTINGS.routes.routes.items()
    }
    settings = replace(SETTINGS, routes=replace(SETTINGS.routes, routes=routes))
    return Guard(settings, scorers={"fake": scorer}, sinks=sinks)


@dataclass
class Source:
    """An answer in chunks; tells whether it was closed."""

    chunks: Sequence[str]
    pauses: Iterator[float] = field(default_factory=lambda: iter(()))
    read: int = 0
    closed: bool = False

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            for chunk in self.chunks:
                if (pause := next(self.pauses, None)) is not None:
                    await asyncio.sleep(pause)
                self.read += 1
                yield chunk
        finally:
            self.closed = True


@st.composite
def chunkings(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=len(text))))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


answers = st.lists(
    st.sampled_from((*PLAIN, *PLAIN, *PLAIN, *REDACTED, *BLOCKED)), min_size=1, max_size=14
).map(" ".join)
pauses = st.lists(st.sampled_from((0.0, 0.0, 0.0, 0.001)), max_size=8)


@dataclass(frozen=True)
class Run:
    text: str
    chunks: list[str]
    mode: str
    window: int
    hold: int
    source_pauses: list[float]
    scorer_pauses: list[float]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    text = draw(answers)
    window = draw(st.integers(1, 60))
    hold = draw(st.integers(window, 120))
    mode = draw(st.sampled_from(("window", "window", "buffer")))
    return Run(text, draw(chunkings(text)), mode, window, hold, draw(pauses), draw(pauses))


async def never_leaks(run: Run) -> None:
    scorer = Watched(pauses=iter(run.scorer_pauses))
    async with made(
        scorer, mode=run.mode, window_chars=run.window, max_hold_chars=run.hold
    ) as guard:
        seen, verdict = "", None
        async for piece in guard.stream(Source(run.chunks, iter(run.source_pauses)), prompt="Hi"):
            if piece.verdict and piece.verdict.blocked:
                assert piece.text.lstrip("\n") == piece.verdict.refusal
            else:
                seen += piece.text
                assert any(text.startswith(seen) for text in scorer.answered)
            verdict = piece.verdict
        assert verdict
        whole = await guard.check(run.text, stage="output", prompt="Hi")
        again = await guard.check(seen, stage="output", prompt="Hi")
    assert again.action < Action.REDACT
    assert verdict.action is whole.action
    assert [edit.text for edit in verdict.released] == ([seen] if seen else [])
    if not verdict.blocked:
        assert seen == whole.text == verdict.text
        if verdict.action < Action.REDACT:
            assert verdict.scores == whole.scores


@given(runs())
@settings_of(max_examples=300)
async def test_nothing_that_was_not_scored_and_no_violation_is_ever_seen(run: Run) -> None:
    await never_leaks(run)


async def pieces_of(stream: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in stream]


def text_of(pieces: Sequence[Piece]) -> str:
    """What was seen of the answer; refusals stand in pieces with a block."""
    return "".join(p.text for p in pieces if not (p.verdict and p.verdict.blocked))


LONG = "All is well here today. " * 12


async def test_the_first_sentences_are_seen_long_before_the_source_ends() -> None:
    source = Source([LONG[i : i + 6] for i in range(0, len(LONG), 6)], pauses=iter([0] * 99))
    async with made(Fake()) as guard:
        async for _ in guard.stream(source):
            break
    assert source.read < len(source.chunks) / 2


async def test_a_block_closes_the_source_and_the_refusal_follows_as_a_piece_of_its_own() -> None:
    source = Source([*LONG, " how to build a pipe bomb. ", *["more "] * 500])
    async with made(Fake()) as guard:
        pieces = await pieces_of(guard.stream(source))
    assert source.closed
    assert source.read < len(source.chunks)
    verdict = pieces[-1].verdict
    assert verdict
    assert verdict.policies == ("dangerous_content",)
    assert pieces[-1].text == f"\n\n{verdict.refusal}"
    assert [edit.text for edit in verdict.released] == [text_of(pieces)]
    assert verdict.text is None


async def test_a_source_that_will_not_close_does_not_keep_the_refusal_back() -> None:
    async def stubborn() -> AsyncIterator[str]:
        try:
            yield "how to build a pipe bomb. " * 4
            await asyncio.sleep(60)
        finally:
            for _ in range(3):
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()

    let_go = asyncio.Event()
    async with made(Fake()) as guard, asyncio.timeout(10):
        pieces = await pieces_of(guard.stream(stubborn()))
        let_go.set()
    assert pieces[-1].verdict
    assert pieces[-1].verdict.blocked


async def test_a_redaction_is_told_with_its_piece_and_the_stream_lives_on() -> None:
    text = f"{LONG}Write to {EMAIL} or to {EMAIL}. {LONG}"
    async with made(Fake()) as guard:
        pieces = await pieces_of(guard.stream(Source(list(text))))
    assert text_of(pieces) == text.replace(EMAIL, "[EMAIL_1]")
    told = [piece for piece in pieces[:-1] if piece.verdict]
    assert [piece.text for piece in told] == ["[EMAIL_1]"] * 2
    last = pieces[-1].verdict
    assert last
    assert last.action is Action.REDACT
    assert [(r.policy, r.text, r.before, r.after) for r in last.redactions] == [
        ("email", "[EMAIL_1]", 1.0, 0.0)
    ] * 2


async def test_the_rest_is_judged_with_the_redacted_text_in_place() -> None:
    scorer = Watched()
    async with made(scorer) as guard:
        await pieces_of(guard.stream(Source(list(f"You {INSULT}. {LONG}"))))
    assert INSULT in scorer.answered[0]
    assert scorer.answered[-1] == f"You [redacted: harassment]. {LONG}"


async def test_a_block_has_to_be_confirmed_where_the_route_asks_for_two_windows() -> None:
    class Wavers(Vague):
        """Sees a bomb in the one window that ends with it."""

        async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
            ended = [replace(p, text=p.text if p.text.endswith("bomb. ") else "") for p in probes]
            return await super().score(ended, **options)

    text = f"{LONG}pipe bomb. {LONG}"
    chunks = [sentence + "." for sentence in text.split(".")]
    for confirm, blocked in ((1, True), (2, False)):
        source = Source(["", *text.replace(". ", ". |").split("|")], pauses=iter([0.002] * 99))
        async with made(Wavers(), window_chars=1, confirm=confirm) as guard:
            pieces = await pieces_of(guard.stream(source))
        assert pieces[-1].verdict
        assert pieces[-1].verdict.blocked is blocked, chunks


async def test_what_is_to_be_confirmed_is_held_and_then_blocked() -> None:
    text = f"{LONG}pipe bomb. {LONG}"
    async with made(Vague(), window_chars=1, confirm=2) as guard:
        source = Source(text.replace(". ", ". |").split("|"), pauses=iter([0.002] * 99))
        pieces = await pieces_of(guard.stream(source))
        ended = await pieces_of(guard.stream(Source(["All is well. ", "pipe bomb. "])))
    for each in (pieces, ended):
        assert each[-1].verdict
        assert each[-1].verdict.blocked
        assert "pipe" not in text_of(each)


async def test_a_source_that_falls_silent_does_not_keep_what_is_in_doubt_for_ever() -> None:
    async def hesitates() -> AsyncIterator[str]:
        yield "A pipe bomb. "
        await asyncio.Event().wait()

    scorer = Vague()
    async with made(scorer, confirm=3, max_hold_ms=10) as guard, asyncio.timeout(10):
        (piece,) = await pieces_of(guard.stream(hesitates()))
    assert piece.verdict
    assert piece.verdict.blocked


@dataclass
class Fickle(Fake):
    """Thinks of each text what chance says, and keeps what."""

    share: float
    seed: int
    told: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    async def score(self, probes: Any, /, **_options: Any) -> list[tuple[Score, ...]]:
        await asyncio.sleep(0)
        for probe in probes:
            is_bad = Random(f"{self.seed} {probe.text}").random() < self.share  # noqa: S311
            self.told.setdefault(probe.text, is_bad)
        return [(Score("harm", 0.9 if self.told[p.text] else 0.1),) for p in probes]


def harm_blocked(scorer: Scorer, **pacing: Any) -> Guard:
    harm = Policy("harm", Bands(block=0.5), Bands(block=0.5), Guideline("in", "out"))
    guard = Guard.of([harm], scorer, sinks=())
    route = replace(guard.routes.named("default"), pacing=Pacing(**pacing))
    service = replace(guard._service.settings, routes=Routes({"default": route}))  # noqa: SLF001
    return Guard(service, scorers={"given": scorer}, sinks=())


async def wavers(run: Run, judge: Fickle, confirm: int) -> None:
    pacing = {"window_chars": 1 + run.window // 9, "max_hold_chars": run.hold // 2 + 9}
    pacing["max_hold_ms"] = 10**6  # silence counts as a window, and told has each text once
    async with harm_blocked(judge, mode=run.mode, confirm=confirm, **pacing) as guard:
        seen, blocked = "", False
        async for piece in guard.stream(Source(run.chunks, repeat(0.0005))):
            blocked = bool(piece.verdict and piece.verdict.blocked)
            seen += "" if blocked else piece.text
            fine = [text for text, is_bad in judge.told.items() if not is_bad]
            assert not seen or any(text.startswith(seen) for text in fine)
    *_, (last, is_bad) = judge.told.items()
    assert is_bad is blocked
    if blocked:
        agreed = list(judge.told.values())[-confirm:]
        assert last == run.text or agreed == [True] * confirm
    else:
        assert seen == last == run.text


@given(runs(), st.integers(1, 4), st.sampled_from((0.2, 0.5, 0.8)), st.integers(0, 999))
def test_a_judge_that_wavers_is_believed_when_windows_agree_and_nothing_leaks_meanwhile(
    run: Run, confirm: int, share: float, seed: int
) -> None:
    asyncio.run(wavers(run, Fickle(share, seed), confirm))


async def test_what_is_to_be_redacted_is_held_until_windows_agree() -> None:
    text = f"{LONG}You are an {INSULT}. {LONG}"
    source = Source(text.replace(". ", ". |").split("|"), pauses=iter([0.002] * 99))
    scorer = Vague()
    async with made(scorer, window_chars=1, confirm=2) as guard:
        pieces = await pieces_of(guard.stream(source))
    assert INSULT not in text_of(pieces)
    assert "[redacted: harassment]" in text_of(pieces)
    assert pieces[-1].verdict
    assert pieces[-1].verdict.action is Action.REDACT
    first = next(i for i, each in enumerate(scorer.answered) if INSULT in each)
    assert scorer.answered[first + 1].startswith(scorer.answered[first])  # no search before that


async def test_with_a_buffer_nothing_is_seen_before_the_end() -> None:
    source = Source(list(LONG), pauses=iter([0] * 50))
    async with made(Fake()) as guard:
        async for _ in guard.stream(source, buffer=True):
            assert source.read == len(source.chunks)


async def test_a_route_that_only_logs_may_judge_afterwards() -> None:
    logs = Policy("insult", Bands(log=0.3), Bands(log=0.3), Guideline("in", "out"))
    scorer = Watched({"insult": {INSULT: 0.9}})
    guard = Guard.of([logs], scorer, sinks=())
    route = replace(guard.routes.named("default"), on_error="fail_open", pacing=Pacing("after"))
    service = replace(guard._service.settings, routes=Routes({"default": route}))  # noqa: SLF001
    async with Guard(service, scorers={"given": scorer}, sinks=()) as after:
        stream = after.stream(Source(["You ", INSULT], pauses=iter([0, 0.05])))
        assert (await anext(stream)).text == "You "
        assert not scorer.answered
        pieces = await pieces_of(stream)
    assert pieces[-1].verdict
    assert pieces[-1].verdict.action is Action.LOG
    assert pieces[-1].verdict.released[0].text == f"You {INSULT}"


async def test_a_source_that_keeps_silent_has_what_it_said_judged_in_time() -> None:
    async def hesitates() -> AsyncIterator[str]:
        yield "All is, "
        await silence.wait()
        yield "well."

    silence = asyncio.Event()
    async with made(Fake(), max_hold_ms=10) as guard, asyncio.timeout(10):
        stream = guard.stream(hesitates())
        assert (await anext(stream)).text == "All is, "
        silence.set()
        assert text_of(await pieces_of(stream)) == "well."


async def test_a_slow_consumer_stops_the_source() -> None:
    source = Source(["All is well. "] * 1000)
    async with made(Fake()) as guard:
        stream = guard.stream(source)
        await anext(stream)
        await asyncio.sleep(0.05)
        read = source.read
        await stream.aclose()
    assert read * 13 < 80 * 4
    assert source.closed


async def test_a_slow_scorer_stops_the_source_and_the_next_window_fills_meanwhile() -> None:
    class Waits(Fake):
        async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
            await go.wait()
            return await super().score(probes, **options)

    go, source = asyncio.Event(), Source(["All is well. "] * 1000)
    async with made(Waits()) as guard:
        reading = asyncio.create_task(pieces_of(guard.stream(source)))
        await asyncio.sleep(0.05)
        assert 80 <= source.read * 13 < 80 * 3
        go.set()
        assert text_of(await reading) == "All is well. " * 1000


async def test_a_source_that_breaks_is_told_after_what_it_said() -> None:
    async def breaks() -> AsyncIterator[str]:
        yield "All is well. And"
        raise ConnectionError("gone")

    async with made(Fake()) as guard:
        stream = guard.stream(breaks())
        assert (await anext(stream)).text == "All is well. And"
        with pytest.raises(ConnectionError, match="gone"):
            await anext(stream)


class Fails(Fake):
    """Answers `good` times."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
        self.good -= 1
        if self.good < 0:
            raise Unreachable("gone")
        return await super().score(probes, **options)


@pytest.mark.parametrize("good", [0, 1, 3])
async def test_a_scorer_that_fails_half_way_lets_out_nothing_unscored(good: int) -> None:
    scorer = Watched()
    async with made(Fails(good)) as guard, made(scorer) as working:
        pieces = await pieces_of(guard.stream(Source(list(LONG))))
        await pieces_of(working.stream(Source(list(LONG))))
    verdict = pieces[-1].verdict
    assert verdict
    assert verdict.blocked
    assert verdict.fault == "judge"
    scored = scorer.answered[good - 1] if good else ""
    assert scored.startswith(text_of(pieces))
    assert len(scored) - len(text_of(pieces)) < len(" today")


@pytest.mark.parametrize("good", [0, 1, 3])
async def test_where_a_route_fails_open_all_goes_on_and_the_verdict_has_the_gap(good: int) -> None:
    async with made(Fails(good)) as guard:
        pieces = await pieces_of(guard.stream(Source([*LONG, EMAIL, "."]), route="open"))
    assert text_of(pieces) == f"{LONG}[EMAIL_1]."
    verdict = pieces[-1].verdict
    assert verdict
    assert {gap.cause for gap in verdict.gaps} == {Cause.UNREACHABLE}
    assert verdict.status != "scored"


async def test_where_a_route_has_a_fallback_it_judges_the_rest() -> None:
    async with made(Fails(1)) as guard:
        pieces = await pieces_of(guard.stream(Source([*LONG, "pipe bomb. "]), route="spare"))
    assert pieces[-1].verdict
    assert pieces[-1].verdict.policies == ("dangerous_content",)
    assert {gap.judged_by for gap in pieces[-1].verdict.gaps} == {"spare"}


def running_threads() -> set[str]:
    """Those of the event loop, which stay for its next work, left out."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("asyncio_")}


async def test_two_hundred_streams_left_at_random_leave_nothing_behind() -> None:
    sources = [Source(list(LONG), pauses=iter([0.0] * 99)) for _ in range(200)]
    random = Random(5)  # noqa: S311  not for secrets
    threads = running_threads()
    async with made(Watched(pauses=iter([0.001] * 9999))) as guard:

        async def consume(source: Source) -> None:
            async for _ in guard.stream(source):
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(consume(source)) for source in sources]
        for task in random.sample(tasks, 150):
            await asyncio.sleep(random.random() / 200)
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in done} <= {asyncio.CancelledError, type(None)}
    assert all(source.closed for source in sources if source.read)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert running_threads() == threads


async def test_a_stream_that_is_left_closes_its_source_and_is_recorded() -> None:
    kept: list[Verdict] = []
    source = Source(list(LONG))

    class Keeps:
        def write(self, verdict: Verdict, /) -> None:
            kept.append(verdict)

    async with made(Fake(), sinks=[Keeps()]) as guard:
        stream = guard.stream(source)
        seen = (await anext(stream)).text
        await stream.aclose()
    assert source.closed
    assert [verdict.released[0].text[: len(seen)] for verdict in kept] == [seen]


async def test_a_guard_that_closes_ends_its_streams() -> None:
    guard = made(Fake())
    stream = guard.stream(Source(list(LONG)))
    await anext(stream)
    await guard.aclose()
    with pytest.raises(NotServing):
        await pieces_of(stream)


async def test_a_wrong_call_is_told_at_once() -> None:
    async with made(Fake()) as guard:
        with pytest.raises(UsageError, match="unknown route"):
            guard.stream(Source([]), route="nowhere")


async def test_an_empty_stream_has_a_verdict_that_says_so() -> None:
    async with made(Fake()) as guard:
        (piece,) = await pieces_of(guard.stream(Source(["", ""])))
    assert piece.verdict
    assert [gap.cause for gap in piece.verdict.gaps] == [Cause.EMPTY]


@pytest.mark.parametrize("buffer", [False, True])
async def test_a_stream_without_end_is_refused_when_it_is_too_long(buffer: bool) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "All is well. "

    async with made(Fake(), max_chars=1000) as guard:
        pieces = await pieces_of(guard.stream(endless(), buffer=buffer))
    verdict = pieces[-1].verdict
    assert verdict
    assert (verdict.blocked, verdict.fault) == (True, "request")
    assert [gap.cause for gap in verdict.gaps] == [Cause.TOO_LONG]


async def test_the_prompt_is_the_newest_turn_of_the_user() -> None:
    prompts: set[str | None] = set()

    class Sees(Fake):
        async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
            prompts.update(probe.prompt for probe in probes)
            return await super().score(probes, **options)

    messages = [{"role": "user", "content": "Before."}, {"role": "assistant", "content": "Yes."}]
    async with made(Sees()) as guard:
        asked = [*messages, {"role": "user", "content": "Now?"}]
        await pieces_of(guard.stream(Source(["Well."]), messages=asked))
    assert prompts == {"Now?"}


def test_sync_code_sees_the_same() -> None:
    text = f"{LONG}Write to {EMAIL}. {LONG}"
    guard = made(Fake())
    pieces = list(guard.stream_sync(list(text)))
    assert text_of(pieces) == text.replace(EMAIL, "[EMAIL_1]")
    blocked = list(guard.stream_sync(iter([LONG, "pipe bomb. ", LONG])))
    assert blocked[-1].verdict
    assert blocked[-1].verdict.blocked
    assert "pipe" not in text_of(blocked)


@given(runs())
@settings_of(max_examples=60)
def test_nor_is_anything_seen_in_sync_code_that_is_not_seen_in_async_code(run: Run) -> None:
    pacing: dict[str, Any] = {
        "mode": run.mode,
        "window_chars": run.window,
        "max_hold_chars": run.hold,
    }
    guard = made(Fake(), **pacing)
    pieces = list(guard.stream_sync(run.chunks, prompt="Hi"))
    whole = guard.check_sync(run.text, stage="output", prompt="Hi")
    again = guard.check_sync(text_of(pieces), stage="output", prompt="Hi")
    assert again.action < Action.REDACT
    assert pieces[-1].verdict
    assert pieces[-1].verdict.action is whole.action
    assert pieces[-1].verdict.text == whole.text


def test_a_sync_source_is_closed_where_its_consumer_leaves() -> None:
    closed = []

    def source() -> Iterator[str]:
        try:
            yield from LONG
        finally:
            closed.append(True)

    stream = made(Fake()).stream_sync(source())
    next(stream)
    stream.close()
    assert closed


# ------------------------------------------------------------------------------ chunks of adapters

Delta = tuple[str, str]


def parts(delta: Delta) -> list[Part | Gap]:
    kind, text = delta
    if kind == "picture":
        return [Gap(Cause.MEDIA, (0, "picture"))]
    if kind == "usage":
        return []
    call = "send_mail" if kind == "call" else None
    return [Part((0, kind), text, call=call, ends=not text)]


async def deltas(*each: Delta) -> AsyncIterator[Delta]:
    for delta in each:
        yield delta


async def released(*each: Delta, **options: Any) -> list[Release[Delta]]:
    async with made(Fake()) as guard:
        return [r async for r in guard.stream_chunks(deltas(*each), parts, **options)]


async def test_chunks_go_on_in_the_order_they_came_and_as_they_came() -> None:
    sent = (("reasoning", "Let me see. "), ("content", "It"), ("usage", ""), ("content", " rains."))
    *gone, last = await released(*sent)
    assert [release.chunk for release in gone] == list(sent)
    assert all(release.is_whole for release in gone)
    assert last.verdict
    assert {edit.place: edit.text for edit in last.verdict.released} == {
        (0, "reasoning"): "Let me see. ",
        (0, "content"): "It rains.",
    }


async def test_a_chunk_that_goes_in_parts_says_which_is_the_last() -> None:
    sentence = "All is well and it will remain so for long. "
    *gone, _ = await released(("content", sentence + "And th"), ("content", "en."))
    halves = [release for release in gone if release.chunk == ("content", sentence + "And th")]
    assert "".join("".join(r.texts) for r in halves) == sentence + "And th"
    assert [release.is_last for release in halves] == [False] * (len(halves) - 1) + [True]


async def test_arguments_are_held_until_they_are_complete_and_judged_with_the_name() -> None:
    sent = (("call", '{"to": "jane.doe@'), ("call", 'example.com"}'), ("content", "Done."))
    *gone, last = await released(*sent)
    assert [release.texts for release in gone] == [('{"to": "[EMAIL_1]"}',), ("",), ("Done.",)]
    assert last.verdict
    assert last.verdict.redactions[0].place == (0, "call")


def nothing_but_a_name(name: str) -> list[Part | Gap]:
    return [Part((0, "call"), call=name)]


async def test_the_name_of_a_call_is_held_until_it_was_judged() -> None:
    async def source(name: str) -> AsyncIterator[str]:
        yield name

    async with made(Fake()) as guard:
        fine = [r async for r in guard.stream_chunks(source("send"), nothing_but_a_name)]
        bad = [r async for r in guard.stream_chunks(source(BOMB), nothing_but_a_name)]

    assert [release.chunk for release in fine] == ["send", None]
    assert [release.chunk for release in bad] == [None]
    assert bad[-1].verdict
    assert bad[-1].verdict.blocked


async def test_arguments_that_are_blocked_never_leave() -> None:
    *gone, last = await released(
        ("content", "I will. "), ("content", ""), ("call", '{"q": "pipe '), ("call", 'bomb"}')
    )
    assert [release.chunk for release in gone] == [("content", "I will. "), ("content", "")]
    assert last.verdict
    assert last.verdict.blocked


async def test_a_text_that_ends_lets_what_is_behind_it_go() -> None:
    async with made(Fake()) as guard:
        waiting = asyncio.Event()

        async def source() -> AsyncIterator[Delta]:
            yield ("reasoning", "So")
            yield ("reasoning", "")
            yield ("usage", "")
            await waiting.wait()

        stream = guard.stream_chunks(source(), parts)
        async with asyncio.timeout(10):
            assert [(await anext(stream)).chunk for _ in range(3)]
        await stream.aclose()


@pytest.mark.parametrize(("media", "blocked"), [("refuse", True), ("gap", False)])
async def test_a_picture_in_an_answer_goes_on_where_the_route_lets_it(
    media: Literal["refuse", "gap"], blocked: bool
) -> None:
    guard = made(Fake())
    routes = {n: replace(r, media=media) for n, r in guard.routes.routes.items()}
    settings = replace(SETTINGS, routes=Routes(routes))
    async with Guard(settings, scorers={"fake": Fake()}, sinks=()) as other:
        source = deltas(("content", "Look. "), ("content", ""), ("picture", ""))
        *gone, last = [r async for r in other.stream_chunks(source, parts)]
    assert (("picture", "") in [release.chunk for release in gone]) is not blocked
    assert last.verdict
    assert last.verdict.blocked is blocked
    assert [gap.cause for gap in last.verdict.gaps] == [Cause.MEDIA]


@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning", "call"]), answers), max_size=8))
@settings_of(max_examples=60)
async def test_each_of_several_texts_is_what_it_would_be_alone(each: list[Delta]) -> None:
    async with made(Fake()) as guard:
        gone = [r async for r in guard.stream_chunks(deltas(*each), parts)]
        seen: dict[str, str] = {}
        for release in gone[:-1]:
            assert release.chunk
            seen[release.chunk[0]] = seen.get(release.chunk[0], "") + release.texts[0]
        texts = {kind: "".join(t for k, t in each if k == kind) for kind, _ in each}
        verdicts = [await guard.check(text, stage="output") for text in texts.values()]
    worst = max((verdict.action for verdict in verdicts), default=Action.ALLOW)
    assert gone[-1].verdict
    assert gone[-1].verdict.action is worst
    if worst < Action.REDACT:
        assert seen == texts
