"""Scorers in their seats: opened once, replaced under load, closed after their last check."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from gemma_guard import (
    Action,
    Cause,
    ConfigError,
    Guard,
    NotServing,
    Policy,
    Priority,
    Probe,
    Score,
    Stage,
    Verdict,
)
from gemma_guard import plugins as scorers
from gemma_guard.seat import Seat
from gemma_guard.settings import load

WORD = "fiddlesticks"


class Counted:
    """A scorer that knows how often it was opened and closed, and what it may not do."""

    made: list[Counted] = []  # noqa: RUF012  the guard makes them

    def __init__(self, *, high: float = 0.9, edition: int = 0) -> None:
        self._high = high
        self.fingerprint = f"counted-{edition}-{high}"
        self.opened = self.closed = self.running = 0
        self.opens_when: threading.Event | None = None
        self.answers_when: asyncio.Event | None = None
        self.fails_to_open = edition < 0
        Counted.made.append(self)

    def judges(self, policy: Policy, _stage: Stage, /) -> bool:
        return policy.kind == "judged"

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> Sequence[tuple[Score, ...]]:
        del deadline, priority
        assert self.opened > self.closed, "asked before it was opened, or after it was closed"
        self.running += 1
        await (self.answers_when.wait() if self.answers_when else asyncio.sleep(0))
        self.running -= 1
        return [
            tuple(Score(policy.name, self._of(probe.text, policy)) for policy in probe.policies)
            for probe in probes
        ]

    def _of(self, text: str, policy: Policy) -> float:
        return self._high if WORD in text and policy.name == "harassment" else 0.0

    async def __aenter__(self) -> Self:
        if self.opens_when:
            await until(self.opens_when.is_set)
        await asyncio.sleep(0.01)
        if self.fails_to_open:
            raise OSError("no weights")
        self.opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.running, "closed under a check"
        self.closed += 1


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = scorers.load
    monkeypatch.setattr(Counted, "made", [])
    monkeypatch.setattr(
        scorers, "load", lambda kind, name: Counted if name == "fake" else installed(kind, name)
    )


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():  # noqa: ASYNC110  it happens on another thread
            await asyncio.sleep(0.001)


def replace(path: Path, text: str | None) -> None:
    path.unlink() if text is None else path.write_text(text)


def write(path: Path, **options: Any) -> Path:
    given = {"high": 0.9, "edition": 0, "block": 0.6, "extra": "", "judge": "judge", **options}
    path.write_text(
        f"scorers: {{{given['judge']}: {{type: fake, high: {given['high']},"
        f" edition: {given['edition']}}}}}\n{given['extra']}\n"
        f"routes: {{default: {{scorer: {given['judge']}, policies: {{harassment:"
        f" {{bands: {{input: {{log: 0.3, block: {given['block']}}}}}}}}}}}}}\n"
    )
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path / "guard.yaml")


# ---------------------------------------------------------------------------------- opening


def alone(scorer: Counted, config: Path, **options: Any) -> Guard:
    return Guard(load(config), scorers={"judge": scorer}, sinks=(), **options)


async def test_different_callers_that_come_while_it_opens_all_get_their_verdict(
    config: Path,
) -> None:
    scorer = Counted()
    guard = alone(scorer, config)

    verdicts = await asyncio.gather(*(guard.check(f"text {i}") for i in range(20)))
    await guard.aclose()

    assert {verdict.status for verdict in verdicts} == {"scored"}
    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_callers_that_wait_for_an_opening_that_fails_get_a_verdict_too(config: Path) -> None:
    guard = alone(Counted(edition=-1), config)

    verdicts = await asyncio.gather(*(guard.check(f"text {i}") for i in range(5)))
    await guard.aclose()

    for verdict in verdicts:
        assert verdict.action is Action.BLOCK
        assert {gap.cause for gap in verdict.gaps} == {Cause.CRASHED}


async def test_an_opening_whose_caller_gave_up_is_taken_over(config: Path) -> None:
    scorer = Counted()
    scorer.opens_when = threading.Event()
    guard = alone(scorer, config)
    first = asyncio.create_task(guard.check("one"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(guard.check("two"))
    await asyncio.sleep(0.01)

    first.cancel()
    await asyncio.sleep(0.01)
    scorer.opens_when.set()

    assert (await second).status == "scored"
    assert first.cancelled()
    await guard.aclose()
    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_what_opens_while_its_seat_is_closed_is_closed_too() -> None:
    scorer = Counted()
    scorer.opens_when = threading.Event()
    seat = Seat(scorer)
    opening = asyncio.create_task(seat.open())
    await asyncio.sleep(0.01)

    await seat.aclose()
    scorer.opens_when.set()

    with pytest.raises(NotServing):
        await opening
    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_one_that_does_not_open_leaves_no_other_open(tmp_path: Path) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text(
        "scorers: {a: {type: fake}, b: {type: fake, edition: -1}}\n"
        "routes: {default: {scorer: a}, other: {scorer: b}}\n"
    )

    with pytest.raises(OSError, match="no weights"):
        async with Guard.from_config(path, sinks=()):
            pass

    assert [(scorer.opened, scorer.closed) for scorer in Counted.made] == [(1, 1), (0, 0)]


# ----------------------------------------------------------------------------------- reload


async def test_a_reload_puts_the_new_bands_into_service_and_keeps_the_scorer(config: Path) -> None:
    async with Guard.from_config(config, sinks=()) as guard:
        before = guard.fingerprint
        assert (await guard.check(WORD)).action is Action.BLOCK

        write(config, block=0.95)
        await guard.reload()

        verdict = await guard.check(WORD)
        assert (verdict.action, verdict.fingerprint) == (Action.LOG, guard.fingerprint)
        assert guard.fingerprint != before
        [scorer] = Counted.made
        assert (scorer.opened, scorer.closed) == (1, 0)
    assert scorer.closed == 1


async def test_a_replaced_scorer_is_closed_after_its_last_check(config: Path) -> None:
    async with Guard.from_config(config, sinks=()) as guard:
        [old] = Counted.made
        old.answers_when = asyncio.Event()
        running = asyncio.create_task(guard.check(WORD))
        await asyncio.sleep(0.01)
        before = guard.fingerprint
        write(config, edition=1, block=0.95)

        reloading = asyncio.create_task(guard.reload())
        await until(lambda: guard.fingerprint != before)
        fresh = await guard.check(WORD)
        assert (old.closed, running.done(), reloading.done()) == (0, False, False)

        old.answers_when.set()
        await reloading

        stale = await running
        assert (stale.action, stale.status) == (Action.BLOCK, "scored")
        assert (fresh.action, fresh.fingerprint) == (Action.LOG, guard.fingerprint)
        assert stale.fingerprint == before
        assert (old.opened, old.closed) == (1, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("routes: {}", "default"),
        ("routes: {default: {pakcs: [x]}}", "pakcs"),
        ("\tnot yaml", "guard.yaml"),
        ("scorers: {judge: {type: faek}}\nroutes: {default: {scorer: judge}}", "did you mean"),
        ("scorers: {judge: {type: fake, hgih: 1}}\nroutes: {default: {scorer: judge}}", "hgih"),
        (None, "cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_accepted_leaves_the_last_good_one_in_service(
    config: Path, wrong: str | None, message: str
) -> None:
    async with Guard.from_config(config, sinks=()) as guard:
        before = guard.fingerprint
        replace(config, wrong)

        with pytest.raises(ConfigError, match=message):
            await guard.reload()

        assert guard.fingerprint == before
        assert (await guard.check(WORD)).action is Action.BLOCK
        assert [(s.opened, s.closed) for s in Counted.made] == [(1, 0)]


async def test_a_new_scorer_that_does_not_open_leaves_the_old_one_in_service(config: Path) -> None:
    async with Guard.from_config(config, sinks=()) as guard:
        write(config, edition=-1)

        with pytest.raises(OSError, match="no weights"):
            await guard.reload()

        assert (await guard.check(WORD)).action is Action.BLOCK
        write(config, edition=2)
        await guard.reload()
        assert (await guard.check(WORD)).action is Action.BLOCK
    assert [s.opened for s in Counted.made] == [s.closed for s in Counted.made] == [1, 0, 1]


async def test_a_refused_reload_leaves_no_file_open(config: Path, tmp_path: Path) -> None:
    made = tmp_path / "calibration.yaml"
    made.write_text("scorer: another-model\npolicies: {}\n")
    async with Guard.from_config(config) as guard:
        replace(
            config,
            "scorers: {judge: {type: fake, calibration: calibration.yaml}}\n"
            "records: {jsonl: new.jsonl}\nroutes: {default: {scorer: judge}}\n",
        )
        with pytest.raises(ConfigError, match="another-model"):
            await guard.reload()
    gc.collect()  # a file left open would warn, and a warning is an error here


async def test_a_reload_may_move_the_records_and_goes_on_counting(
    config: Path, tmp_path: Path
) -> None:
    async def written(name: str) -> None:
        await guard.check("hello")
        assert len((tmp_path / name).read_text().splitlines()) == 1

    write(config, extra="records: {jsonl: one.jsonl, prometheus: true}")
    async with Guard.from_config(config) as guard:
        await written("one.jsonl")
        write(config, extra="records: {jsonl: two.jsonl, prometheus: true}")
        await guard.reload()
        await written("two.jsonl")


async def test_a_guard_without_a_file_says_that_it_cannot_be_reloaded() -> None:
    async with Guard.default(sinks=()) as guard:
        with pytest.raises(ConfigError, match="shipped: cannot be read"):
            await guard.reload()


async def test_of_a_hundred_reloads_under_load_every_verdict_is_of_one_configuration(
    config: Path,
) -> None:
    actions: dict[str, Action] = {}
    seen: list[Verdict] = []
    done = threading.Event()
    editions = [{"edition": 1, "high": 0.9, "block": 0.6}, {"edition": 2, "block": 0.95}]

    async def ask(guard: Guard, number: int) -> None:
        i = 0
        while not done.is_set():
            i += 1
            seen.append(await guard.check(f"{WORD} {number} {i}"))
            await asyncio.sleep(0.002)

    async def reloads(guard: Guard) -> None:
        for turn in range(100):
            write(config, **editions[turn % 2])
            await guard.reload()
            actions[guard.fingerprint] = (Action.BLOCK, Action.LOG)[turn % 2]
        done.set()

    async with Guard.from_config(write(config, **editions[1]), sinks=()) as guard:
        actions[guard.fingerprint] = Action.LOG
        elsewhere = threading.Thread(target=lambda: asyncio.run(ask(guard, 99)))
        elsewhere.start()
        await asyncio.gather(reloads(guard), *(ask(guard, number) for number in range(8)))
        elsewhere.join()

    assert len(actions) == 2
    assert len(seen) > 100
    assert {verdict.status for verdict in seen} == {"scored"}
    assert {(v.fingerprint, v.action) for v in seen} <= set(actions.items())
    assert [s.opened for s in Counted.made] == [s.closed for s in Counted.made] == [1] * 101


# ---------------------------------------------------------------------------------- closing


async def test_closing_waits_for_the_checks_under_way(config: Path) -> None:
    guard = Guard.from_config(config, sinks=())
    [scorer] = Counted.made
    scorer.answers_when = asyncio.Event()
    running = asyncio.create_task(guard.check(WORD))
    await asyncio.sleep(0.01)

    closing = asyncio.create_task(guard.aclose())
    await asyncio.sleep(0.01)
    assert not closing.done()
    with pytest.raises(NotServing):
        await guard.check("late")
    scorer.answers_when.set()
    await closing

    assert (await running).action is Action.BLOCK
    assert (scorer.opened, scorer.closed) == (1, 1)


async def test_closing_while_a_reload_waits_for_a_check_ends_all_three(config: Path) -> None:
    guard = await Guard.from_config(config, sinks=()).__aenter__()
    [old] = Counted.made
    old.answers_when = asyncio.Event()
    running = asyncio.create_task(guard.check(WORD))
    await asyncio.sleep(0.01)
    write(config, edition=1)
    reloading = asyncio.create_task(guard.reload())
    await until(lambda: len(Counted.made) == 2 and bool(Counted.made[1].opened))

    closing = asyncio.create_task(guard.aclose())
    await asyncio.sleep(0.01)
    old.answers_when.set()
    async with asyncio.timeout(20):
        await asyncio.gather(closing, reloading, running)

    assert [(s.opened, s.closed) for s in Counted.made] == [(1, 1), (1, 1)]


async def test_a_closed_guard_reloads_nothing_and_starts_nothing(config: Path) -> None:
    guard = await Guard.from_config(config, sinks=()).__aenter__()
    await guard.aclose()
    await guard.aclose()
    threads = set(threading.enumerate())

    for call in (guard.reload, guard.health):
        with pytest.raises(NotServing):
            await call()
    with pytest.raises(NotServing):
        guard.check_sync("x")
    with pytest.raises(NotServing):
        await guard.__aenter__()

    assert set(threading.enumerate()) <= threads
    assert [(s.opened, s.closed) for s in Counted.made] == [(1, 1)]


async def test_nothing_is_left_of_a_guard_that_was_closed(config: Path) -> None:
    gc.collect()
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    write(config, extra="reload: {watch_s: 0.1}\nheartbeat_s: 0.1")

    async with Guard.from_config(config, sinks=()) as guard:
        await asyncio.gather(*(guard.check(f"{i}") for i in range(50)))
        guard.check_sync("x")
        await guard.reload()

    assert set(threading.enumerate()) <= threads
    assert asyncio.all_tasks() <= tasks
