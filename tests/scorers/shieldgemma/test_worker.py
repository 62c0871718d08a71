"""A worker may die, hang or run out of memory: callers are answered, and it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_guard import (
    Batcher,
    ConfigError,
    Job,
    Limits,
    NotServing,
    ScoringFailed,
    Unreachable,
)
from gemma_guard.scorers.shieldgemma import wire
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.fleet import Fleet
from gemma_guard.scorers.shieldgemma.wire import EngineSpec
from gemma_guard.scorers.shieldgemma.worker import EngineBroke, Patience, Worker

FINE, RAISE, DIE, HANG, HOLD = range(10, 15)  # as in engines.py
QUICK = Patience(load_s=60, step_s=60, end_s=0.2, first_wait_s=0.01, longest_wait_s=0.05)
HASTY = Patience(load_s=60, step_s=2, end_s=0.2, first_wait_s=0.01, longest_wait_s=0.05)
NEVER = float("inf")

tokens = st.lists(st.integers(0, 255_999), min_size=1, max_size=9).map(tuple)
some_questions = st.lists(
    st.builds(
        Question,
        tokens,
        st.lists(tokens, max_size=4).map(tuple),
        st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    )
)
logits = st.floats(allow_nan=False)


def question(first: int = FINE, *suffixes: tuple[int, ...]) -> Question:
    return Question((first, 2, 3), suffixes or ((4, 5), (6,)))


def readings(*, first: int = FINE) -> tuple[Reading, ...]:
    return (Reading(first + 5.0, 9.0), Reading(first + 5.0, 6.0))


@pytest.fixture(autouse=True)
def engines_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def worker() -> Iterator[Worker]:
    with closing(started()) as one:
        yield one


def started(make: str = "toy", patience: Patience = QUICK, **options: Any) -> Worker:
    one = Worker(EngineSpec(f"engines:{make}", options), patience=patience)
    one.start()
    return one


def eventually(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def killed(worker: Worker) -> int:
    """The process id of the worker, which is no more."""
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


@given(some_questions)
def test_questions_arrive_as_they_were_sent(questions: list[Question]) -> None:
    assert wire.questions(wire.asked(questions)) == questions


@given(
    st.one_of(
        st.builds(wire.Loaded),
        st.builds(wire.TooBig),
        st.builds(wire.NotLoaded, st.text()),
        st.builds(wire.Broke, st.text()),
        st.lists(st.lists(st.builds(Reading, logits, logits)).map(tuple)).map(
            lambda rows: wire.Answered(tuple(rows))
        ),
    )
)
def test_answers_arrive_as_they_were_told(message: wire.Told) -> None:
    assert wire.heard(wire.told(message)) == message


@settings(max_examples=20)
@given(st.lists(st.integers(20, 255_999), min_size=1, max_size=8))
def test_every_question_gets_its_own_readings(firsts: list[int]) -> None:
    answers = SHARED[0]([question(first) for first in firsts])
    assert list(answers) == [readings(first=first) for first in firsts]


SHARED: list[Worker] = []


@pytest.fixture(autouse=True, scope="module")
def shared() -> Iterator[None]:
    """One for all examples of a law."""
    sys.path.insert(0, str(Path(__file__).parent))
    with closing(started()) as one:
        SHARED.append(one)
        yield
    SHARED.clear()
    sys.path.remove(str(Path(__file__).parent))


def test_the_parent_needs_no_torch() -> None:
    code = (
        "import gemma_guard.scorers.shieldgemma.worker, sys;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_warmed_up_before_it_is_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spec = EngineSpec("engines:toy", {"log": str(log)})
    with closing(Worker(spec, warm_up=[question()], patience=QUICK)) as worker:
        worker.start()
        assert log.read_text().splitlines()[1:] == ["read 1"]


def test_an_engine_that_cannot_be_loaded_stops_the_start_and_says_why() -> None:
    with pytest.raises(ConfigError, match=r"shieldgemma: OSError: model.safetensors is cut off"):
        started("unloadable", reason="model.safetensors is cut off")


def test_an_engine_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="AttributeError"):
        started("nonesuch")


def test_an_engine_that_takes_too_long_to_load_is_given_up() -> None:
    with pytest.raises(ConfigError, match=r"not loaded within 0\.01 s"):
        started(patience=Patience(load_s=0.01))


async def test_an_engine_that_dies_in_a_batch_fails_its_callers_and_serves_the_next() -> None:
    with closing(started()) as worker:
        async with Batcher(worker) as batcher:
            with pytest.raises(ScoringFailed, match="its process died"):
                await batcher.ask([Job(question(DIE), 5, NEVER)])
            assert await batcher.ask([Job(question(), 5, NEVER)]) == [readings()]


async def test_a_kill_in_the_middle_of_a_batch_fails_its_callers_and_serves_the_next() -> None:
    with closing(started()) as worker:
        async with Batcher(worker) as batcher:
            hanging = asyncio.ensure_future(batcher.ask([Job(question(HANG), 5, NEVER)]))
            await asyncio.sleep(0.1)
            killed(worker)
            with pytest.raises(ScoringFailed):
                await hanging
            assert await batcher.ask([Job(question(), 5, NEVER)]) == [readings()]


@pytest.mark.parametrize("how", [HANG, HOLD])
async def test_a_step_past_its_limit_is_killed_and_the_next_one_served(how: int) -> None:
    with closing(started(patience=HASTY)) as worker:
        async with Batcher(worker) as batcher:
            before = worker.pid
            with pytest.raises(ScoringFailed, match=r"took longer than 2 s"):
                await batcher.ask([Job(question(how), 5, NEVER)])
            assert before is not None
            assert await batcher.ask([Job(question(), 5, NEVER)]) == [readings()]
            assert worker.pid != before
            assert not psutil.pid_exists(before)


async def test_what_is_too_big_is_split_until_it_fits() -> None:
    with closing(started(most=3)) as worker:
        async with Batcher(worker) as batcher:
            jobs = [Job(question(20 + i), 5, NEVER) for i in range(16)]
            answers = await batcher.ask(jobs)
    assert answers == [readings(first=20 + i) for i in range(16)]


async def test_one_question_that_alone_is_too_big_fails_alone() -> None:
    with closing(started(most=0)) as worker:
        async with Batcher(worker) as batcher:
            with pytest.raises(ScoringFailed, match="MemoryError in a batch of 1"):
                await batcher.ask([Job(question(), 5, NEVER)])


async def test_a_question_that_breaks_the_engine_spares_its_neighbours_and_tells_no_more_than_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(started()) as worker:
        async with Batcher(worker) as batcher:
            asked = [question(20), question(RAISE), question(21)]
            futures = [batcher.submit(Job(one, 5, NEVER)) for one in asked]
            answers = await asyncio.gather(
                *map(asyncio.wrap_future, futures), return_exceptions=True
            )
    assert [answers[0], answers[2]] == [readings(first=20), readings(first=21)]
    assert isinstance(answers[1], ScoringFailed)
    assert "ValueError in engines.py" in caplog.text
    assert "canary" not in caplog.text + repr(answers)


def test_an_engine_that_breaks_three_times_in_a_row_gets_a_new_process(worker: Worker) -> None:
    before = worker.pid
    for _ in range(3):
        with pytest.raises(EngineBroke):
            worker([question(RAISE)])
    worker.ready()
    assert worker([question()]) == (readings(),)
    assert worker.pid != before


def test_one_that_dies_idle_is_started_again_before_anybody_asks(worker: Worker) -> None:
    before = killed(worker)
    eventually(lambda: worker.is_up and worker.pid != before)
    assert worker([question()]) == (readings(),)


def test_while_it_starts_again_whoever_asks_is_told_so_at_once(tmp_path: Path) -> None:
    with closing(started("once", log=str(tmp_path / "log"))) as worker:
        killed(worker)
        eventually(lambda: not worker.is_up)
        with pytest.raises((Unreachable, ScoringFailed)):
            worker([question()])


def test_what_cannot_start_again_is_tried_again_and_closes_none_the_less(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(started("once", log=str(tmp_path / "log"))) as worker:
        killed(worker)
        eventually(lambda: caplog.text.count("the weights are gone; started again in") > 2)


async def test_devices_share_one_queue_and_the_one_that_died_takes_nothing_from_it(
    tmp_path: Path,
) -> None:
    with closing(started("once", log=str(tmp_path / "log"))) as dead, closing(started()) as alive:
        async with Batcher(dead, alive) as batcher:
            killed(dead)
            eventually(lambda: not dead.is_up)
            with pytest.raises((Unreachable, ScoringFailed)):
                dead([question()])
            jobs = [Job(question(20 + i), 4096, NEVER) for i in range(12)]
            answers = await asyncio.gather(*(batcher.ask([job]) for job in jobs))
            dead.close()
    assert answers == [[readings(first=20 + i)] for i in range(12)]


async def test_closing_lets_the_queue_be_answered_first() -> None:
    with closing(started()) as worker:
        async with Batcher(worker) as batcher:
            futures = [batcher.submit(Job(question(20 + i), 4096, NEVER)) for i in range(9)]
    assert [future.result() for future in futures] == [readings(first=20 + i) for i in range(9)]


def test_a_closed_one_serves_nobody_and_leaves_no_process() -> None:
    worker = started()
    pid = worker.pid
    worker.close()
    with pytest.raises(NotServing):
        worker([question()])
    assert pid is not None
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("how", [HANG, HOLD])
async def test_closing_ends_a_call_that_hangs(how: int) -> None:
    worker = started()
    calling = asyncio.create_task(asyncio.to_thread(worker, [question(how)]))
    await asyncio.sleep(0.2)
    pid = worker.pid
    await asyncio.to_thread(worker.close)
    with pytest.raises(ScoringFailed):
        await calling
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_one_that_was_never_started_closes() -> None:
    Worker(EngineSpec("engines:toy")).close()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_the_whole_group_is_the_parents_business(worker: Worker, name: str) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, getattr(signal, name))
    assert worker([question()]) == (readings(),)


def fleet(*specs: EngineSpec) -> Fleet:
    return Fleet([Worker(spec, patience=QUICK) for spec in specs], limits=Limits(batch_jobs=1))


async def test_a_fleet_answers_from_all_its_devices_and_leaves_no_process() -> None:
    async with fleet(EngineSpec("engines:toy"), EngineSpec("engines:toy")) as two:
        pids = [worker.pid for worker in two.workers]
        jobs = [Job(question(20 + i), 5, NEVER) for i in range(20)]
        assert await two.ask(jobs) == [readings(first=20 + i) for i in range(20)]
    assert not any(pid is None or psutil.pid_exists(pid) for pid in pids)


async def test_a_stream_stays_on_the_device_that_keeps_its_prefix() -> None:
    async with fleet(EngineSpec("engines:named"), EngineSpec("engines:named")) as two:
        ran: dict[str, set[float]] = {stream: set() for stream in "abcdef"}
        for _ in range(10):
            jobs = [Job(question(), 5, NEVER, stream=stream) for stream in ran]
            for stream, told in zip(ran, await two.ask(jobs), strict=True):
                ran[stream].add(told[0].yes)
    assert [len(processes) for processes in ran.values()] == [1] * len(ran)


async def test_one_device_that_cannot_load_stops_the_start_of_all() -> None:
    broken = EngineSpec("engines:unloadable", {"reason": "model.safetensors is cut off"})
    both = fleet(EngineSpec("engines:toy"), broken)
    with pytest.raises(ConfigError, match="is cut off"):
        async with both:
            pass
    assert not any(worker.is_up for worker in both.workers)
    assert [worker.pid for worker in both.workers] == [None, None]


async def test_a_fleet_without_a_device_that_is_up_says_so_at_once(tmp_path: Path) -> None:
    async with fleet(EngineSpec("engines:once", {"log": str(tmp_path / "log")})) as one:
        killed(one.workers[0])
        eventually(lambda: not one.workers[0].is_up)
        with pytest.raises((Unreachable, ScoringFailed)):
            await one.ask([Job(question(), 5, NEVER)])


async def test_giving_up_while_it_loads_leaves_no_process() -> None:
    slow = fleet(EngineSpec("engines:toy"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), slow:
            pass
    assert slow.workers[0].pid is None


PARENT = """
    import sys, threading, time
    from gemma_guard.scorers.shieldgemma.engine import Question
    from gemma_guard.scorers.shieldgemma.wire import EngineSpec
    from gemma_guard.scorers.shieldgemma.worker import Worker
    worker = Worker(EngineSpec("engines:toy", {}))
    worker.start()
    first = int(sys.argv[1])
    threading.Thread(target=worker, args=([Question((first,), ((1,),))],), daemon=True).start()
    time.sleep(0.3)
    print(worker.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("busy_with", [FINE, HANG, HOLD])
def test_it_dies_with_its_parent_whatever_it_is_doing(busy_with: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(busy_with)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    eventually(lambda: not psutil.pid_exists(pid))


def test_a_script_that_guards_nothing_is_not_run_twice(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PARENT).replace("time.sleep(600)", "worker.close()"))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, str(script), str(FINE)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr
