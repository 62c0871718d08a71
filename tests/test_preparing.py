"""A scorer may read the prompt while the first window fills; no verdict and no stream shows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gemma_guard import (
    Cause,
    Gap,
    Guard,
    NotServing,
    Part,
    Piece,
    Priority,
    Probe,
    Score,
    Scorer,
    Stage,
    Unreachable,
)
from gemma_guard.ahead import Ahead
from gemma_guard.counters import Counters
from gemma_guard.scorers.fake import Fake, Foreseeing
from gemma_guard.settings import loads

SETTINGS = loads(
    """
routes:
  default: {scorer: fake, packs: [default, privacy], stream: {window_chars: 40, confirm: 1}}
  words: {packs: [privacy]}
"""
)
SENTENCE = "It rains and we stay at home. "
CALM = SENTENCE * 4
ANSWERS = (CALM, f"{CALM}You idiot. {CALM}", f"{CALM}A pipe bomb. {CALM}", "")
WHY = "Why?"


def made(scorer: Scorer, **options: Any) -> Guard:
    return Guard(SETTINGS, scorers={"fake": scorer}, **({"sinks": ()} | options))


async def letters(text: str) -> AsyncIterator[str]:
    for letter in text:
        await asyncio.sleep(0)
        yield letter


def summed(pieces: Sequence[Piece]) -> tuple[str | None, object]:
    """What was let through, and why; before a block more or less of it may have been."""
    verdict = pieces[-1].verdict
    assert verdict
    return verdict.text, (verdict.action, verdict.gaps)


async def told(guard: Guard, text: str, **options: Any) -> tuple[str | None, object]:
    return summed([piece async for piece in guard.stream(letters(text), **options)])


@pytest.mark.parametrize("prompt", ["x" * 200_001, "half a pair: \ud83d"])
async def test_a_prompt_that_no_judge_is_asked_about_is_not_foreseen(prompt: str) -> None:
    fake = Foreseeing()
    async with made(fake) as guard:
        await told(guard, CALM, prompt=prompt)

    assert fake.foreseen == []


async def test_the_prompt_then_each_sentence_is_foreseen_before_the_first_window() -> None:
    order: list[Probe] = []

    class Ordered(Foreseeing):
        async def prepare(self, probe: Probe, /, *, deadline: float) -> None:
            await super().prepare(probe, deadline=deadline)
            order.append(probe)

        async def score(
            self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
        ) -> list[tuple[Score, ...]]:
            order.extend(probes)
            return await super().score(probes, deadline=deadline, priority=priority)

    scorer = Ordered()
    async with made(scorer) as guard:
        await told(guard, CALM, prompt=WHY, tenant="a")
    first, second, window, *_ = order
    assert scorer.foreseen == [first, second]
    assert (first.text, first.prompt, first.stage, first.tenant) == ("", WHY, Stage.OUTPUT, "a")
    assert second == replace(first, text=SENTENCE)
    assert window == replace(first, text=SENTENCE * 2)


async def test_without_a_prompt_there_are_sentences_to_foresee() -> None:
    scorer = Foreseeing()
    async with made(scorer) as guard:
        await told(guard, CALM)
    assert [probe.text for probe in scorer.foreseen] == [SENTENCE]


async def test_nothing_is_foreseen_on_a_route_that_does_not_ask_that_scorer() -> None:
    scorer = Foreseeing()
    async with made(scorer) as guard:
        await told(guard, CALM, prompt=WHY, route="words")
    assert scorer.foreseen == []


async def test_of_a_long_first_window_only_the_beginning_is_foreseen() -> None:
    scorer = Foreseeing()
    async with made(scorer) as guard:
        await told(guard, SENTENCE * 100, buffer=True)
    texts = [probe.text for probe in scorer.foreseen]
    assert texts == [SENTENCE * count for count in range(1, 2_000 // len(SENTENCE) + 1)]


def test_what_is_foreseen_is_of_the_first_text_alone_and_no_argument_of_a_call() -> None:
    foreseen = list[str]()

    def begin(work: Coroutine[Any, Any, None]) -> Future[None]:
        work.close()
        return Future()

    async def prepare(_text: str) -> None:
        """Is never run here."""

    def noted(text: str) -> Coroutine[Any, Any, None]:
        foreseen.append(text)
        return prepare(text)

    ahead = Ahead(noted, begin)
    gap = Gap(Cause.OUT_OF_SCOPE)
    for place, text, call in (
        ("call", "One. Two. ", "f"),
        ("a", "It is. ", None),
        ("b", "No. N", None),
    ):
        ahead.see([gap, Part((place,), text, call)])
    ahead.see([Part(("a",), "And"), Part(("a",), " so on. O")])
    ahead.end()
    ahead.see([Part(("a",), "n. On.")])
    assert foreseen == ["", "It is. ", "It is. And so on. "]


async def test_a_scorer_that_is_not_open_yet_foresees_nothing() -> None:
    scorer = Foreseeing()
    guard = made(scorer)
    await told(guard, CALM, prompt=WHY)
    assert scorer.foreseen == []
    await told(guard, CALM, prompt=WHY)
    await guard.aclose()
    assert scorer.foreseen


async def test_nor_does_one_that_keeps_failing() -> None:
    class Gone(Foreseeing):
        async def score(self, probes: Sequence[Probe], /, **_options: Any) -> Any:
            del probes
            raise Unreachable("gone")

    scorer = Gone()
    async with made(scorer) as guard:
        for number in range(8):
            await guard.check(f"{CALM}{number}")
        await told(guard, CALM, prompt=WHY)
    assert scorer.foreseen == []


# ---------------------------------------------------------------------------------- going wrong


async def raises(_probe: Probe) -> None:
    raise KeyError("a canary")


async def is_gone(_probe: Probe) -> None:
    raise NotServing("gone")


async def hangs(_probe: Probe) -> None:
    await asyncio.Event().wait()


async def breaks_when_it_is_ended(_probe: Probe) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("a canary")


async def gives_up(_probe: Probe) -> None:
    raise asyncio.CancelledError


Wrong = Callable[[Probe], Coroutine[Any, Any, None]]
WRONG = (raises, is_gone, hangs, breaks_when_it_is_ended, gives_up)


class Going(Fake):
    """Is prepared in this way."""

    def __init__(self, wrong: Wrong) -> None:
        super().__init__()
        self.wrong = wrong

    async def prepare(self, probe: Probe, /, *, deadline: float) -> None:
        del deadline
        await self.wrong(probe)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("text", ANSWERS)
@pytest.mark.parametrize("buffer", [False, True])
async def test_however_it_goes_wrong_the_same_is_seen_and_nothing_is_left(
    wrong: Wrong, text: str, buffer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with made(Fake()) as plain, made(Going(wrong)) as guard:
        expected = await told(plain, text, prompt=WHY, buffer=buffer)
        assert await told(guard, text, prompt=WHY, buffer=buffer) == expected
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert "canary" not in caplog.text
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("text", ANSWERS)
def test_nor_is_anything_else_seen_in_sync_code(wrong: Wrong, text: str) -> None:
    plain, guard = made(Fake()), made(Going(wrong))
    for each in (plain, guard):
        each.check_sync(CALM)  # opens it
    seen = [summed(list(each.stream_sync(iter(text), prompt=WHY))) for each in (plain, guard)]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("wrong", WRONG)
async def test_streams_left_at_random_leave_no_preparing_behind(wrong: Wrong) -> None:
    async with made(Going(wrong)) as guard:
        tasks = [asyncio.create_task(told(guard, CALM, prompt=WHY)) for _ in range(50)]
        random = Random(3)  # noqa: S311  not for secrets
        for task in random.sample(tasks, 40):
            await asyncio.sleep(random.random() / 500)
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in done} <= {asyncio.CancelledError, tuple}
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_guard_can_close_while_a_stream_prepares() -> None:
    guard = made(Going(hangs))
    await guard.open()
    stream = guard.stream(letters(CALM), prompt=WHY)
    await anext(stream)  # the first window, which ends it
    async with asyncio.timeout(5):
        await guard.aclose()
    with pytest.raises(NotServing):
        [piece async for piece in stream]


async def test_it_is_no_check() -> None:
    counters = Counters()
    async with made(Foreseeing(), sinks=[counters]) as guard:
        await told(guard, CALM, prompt=WHY)
    assert sum(counters.checks.values()) == 1
