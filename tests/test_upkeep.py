"""A guard looks after itself: reload on a change or on SIGHUP, a heartbeat, and an end to it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from gemma_guard import (
    Action,
    Guard,
    NotServing,
    Policy,
    Priority,
    Probe,
    Score,
    Stage,
    Unreachable,
)

TEXT = "you are worthless"  # 0.88 with the fake scorer


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():  # noqa: ASYNC110  it happens on another thread
            await asyncio.sleep(0.01)


def write(path: Path, block: float, upkeep: str) -> Path:
    fresh = path.with_suffix(".new")
    fresh.write_text(
        f"{upkeep}\nroutes: {{default: {{scorer: fake, policies: {{harassment:"
        f" {{bands: {{input: {{log: 0.3, block: {block}}}}}}}}}}}}}\n"
    )
    fresh.replace(path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "guard.yaml"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before, threads = signal.getsignal(signal.SIGHUP), set(threading.enumerate())
    yield
    assert signal.getsignal(signal.SIGHUP) is before
    assert not [t for t in threading.enumerate() if t not in threads and "upkeep" in t.name]


WATCH = "reload: {watch_s: 0.05}"
SIGHUP = "reload: {sighup: true}"


async def test_a_changed_file_is_put_into_service(config: Path) -> None:
    async with Guard.from_config(write(config, 0.6, WATCH), sinks=()) as guard:
        before = guard.fingerprint
        assert (await guard.check(TEXT)).action is Action.BLOCK
        await asyncio.sleep(0.2)

        write(config, 0.95, WATCH)

        await until(lambda: guard.fingerprint != before)
        assert (await guard.check(TEXT)).action is Action.LOG


async def test_a_guard_that_was_opened_without_a_block_keeps_itself_up_too(config: Path) -> None:
    guard = Guard.from_config(write(config, 0.6, WATCH), sinks=())
    await guard.open()
    before = guard.fingerprint
    await asyncio.sleep(0.2)

    write(config, 0.95, WATCH)

    await until(lambda: guard.fingerprint != before)
    assert (await guard.check(TEXT)).action is Action.LOG
    await guard.aclose()
    with pytest.raises(NotServing):
        await guard.open()


def test_a_guard_that_nobody_opened_says_once_that_it_is_not_kept_up(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard = Guard.from_config(write(config, 0.6, WATCH), sinks=())
    for _ in range(2):
        guard.check_sync(TEXT)
    plain = Guard.from_config(write(config, 0.6, ""), sinks=())
    plain.check_sync(TEXT)

    told = [record for record in caplog.records if "until this guard is opened" in record.message]
    assert len(told) == 1


async def test_a_changed_file_that_is_wrong_is_told_once_and_the_next_one_taken(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refused() -> list[str]:
        return [r.getMessage() for r in caplog.records if "reload refused" in r.getMessage()]

    async with Guard.from_config(write(config, 0.6, WATCH), sinks=()) as guard:
        before = guard.fingerprint
        await asyncio.sleep(0.2)
        write(config, 7, WATCH)
        await until(lambda: bool(refused()))
        await asyncio.sleep(0.4)

        assert guard.fingerprint == before
        assert len(refused()) == 1
        assert str(config) in refused()[0]

        write(config, 0.95, WATCH)
        await until(lambda: guard.fingerprint != before)


async def test_sighup_reloads_and_is_given_back(config: Path) -> None:
    async with Guard.from_config(write(config, 0.6, SIGHUP), sinks=()) as guard:
        before = guard.fingerprint
        write(config, 0.95, SIGHUP)
        await asyncio.sleep(0.3)
        assert guard.fingerprint == before

        os.kill(os.getpid(), signal.SIGHUP)

        await until(lambda: guard.fingerprint != before)
        assert (await guard.check(TEXT)).action is Action.LOG


def test_off_the_main_thread_it_says_that_it_does_not_listen(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def opened() -> None:
        async with Guard.from_config(write(config, 0.6, SIGHUP), sinks=()):
            pass

    thread = threading.Thread(target=lambda: asyncio.run(opened()))
    thread.start()
    thread.join()

    assert "SIGHUP is not listened to" in caplog.text


class Judge:
    """Answers unless it is told not to, when it is allowed to."""

    fingerprint = "judge"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.answers_when: asyncio.Event | None = None
        self.asked = 0

    def judges(self, policy: Policy, _stage: Stage, /) -> bool:
        return policy.kind == "judged"

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        del deadline
        self.asked += priority is Priority.BACKGROUND
        if self.error:
            raise self.error
        if self.answers_when and priority is Priority.LIVE:
            await self.answers_when.wait()
        return [
            tuple(Score(p.name, 0.9 if "bomb" in probe.text else 0.0) for p in probe.policies)
            for probe in probes
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


async def test_the_heartbeat_tells_of_a_scorer_that_is_not_well_and_of_no_other(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def unwell() -> list[Any]:
        return [r for r in caplog.records if "is not well" in r.getMessage()]

    judge = Judge()
    write(config, 0.6, "heartbeat_s: 0.05")
    async with Guard.from_config(config, scorers={"fake": judge}, sinks=()):
        await until(lambda: judge.asked >= 2)
        assert not unwell()

        judge.error = Unreachable("no route to it")
        await until(lambda: bool(unwell()))

    assert "scorer fake is not well: unreachable: no route to it" in caplog.text
    assert {record.levelno for record in unwell()} == {logging.WARNING}


async def test_closing_ends_while_what_is_being_done_waits_for_a_check_of_the_same_loop(
    config: Path,
) -> None:
    judge = Judge()
    judge.answers_when = asyncio.Event()
    write(config, 0.6, WATCH)
    guard = await Guard.from_config(config, scorers={"fake": judge}, sinks=()).__aenter__()
    before = guard.fingerprint
    running = asyncio.create_task(guard.check("a question"))
    await asyncio.sleep(0.2)
    write(config, 0.95, WATCH)
    await until(lambda: guard.fingerprint != before)  # the reload waits for the check now

    closing = asyncio.create_task(guard.aclose())
    await asyncio.sleep(0.2)
    judge.answers_when.set()
    async with asyncio.timeout(20):
        await closing

    assert (await running).status == "scored"


async def test_a_guard_that_wants_no_upkeep_starts_none(config: Path) -> None:
    async with Guard.from_config(write(config, 0.6, ""), sinks=()):
        assert not [t for t in threading.enumerate() if t.name == "gemma-guard-upkeep"]


async def test_upkeep_that_only_a_reloaded_file_wants_begins_and_ends_with_the_guard(
    config: Path,
) -> None:
    async with Guard.from_config(write(config, 0.6, ""), sinks=()) as guard:
        write(config, 0.6, WATCH)
        await guard.reload()
        before = guard.fingerprint
        await asyncio.sleep(0.2)

        write(config, 0.95, WATCH)

        await until(lambda: guard.fingerprint != before)
