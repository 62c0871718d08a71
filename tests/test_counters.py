"""Decisions are counted by what they were, and nothing of the text is in a label."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gemma_guard import (
    Bands,
    Batch,
    Batcher,
    Guard,
    Guideline,
    Job,
    PluginError,
    Policy,
    Priority,
    Probe,
    Score,
)
from gemma_guard.counters import Counters, Decision, PrometheusSink, Queue
from gemma_guard.scorers.fake import Fake

POLICY = Policy(
    "harassment", Bands(log=0.3, block=0.6), Bands(block=0.6), guideline=Guideline("a", "b")
)
SCORER = Fake({"harassment": {"canary": 0.9, "twerp": 0.4}})


class Batched(Fake):
    """A scorer on a batcher, which does nothing but take its turn in the queue."""

    def __init__(self) -> None:
        super().__init__()
        self._observe: Callable[[Batch], None] = lambda _batch: None

    def observed_by(self, observe: Callable[[Batch], None], /) -> None:
        self._observe = observe

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        async with Batcher[int, int](list, observe=self._observe) as batcher:
            await batcher.ask([Job(0, 7, deadline, priority) for _ in probes])
        return await super().score(probes, deadline=deadline, priority=priority)


def test_every_decision_is_counted_by_route_stage_action_and_status() -> None:
    counters = Counters()
    guard = Guard.of([POLICY], SCORER, sinks=[counters])

    for text in ("hello", "hello", "canary", ""):
        guard.check_sync(text)

    assert counters.checks == {
        Decision("default", "input", "allow", "scored"): 2,
        Decision("default", "input", "block", "scored"): 1,
        Decision("default", "input", "allow", "not_scanned"): 1,
    }
    assert list(counters.findings.values()) == [1]
    assert [gap.cause for gap in counters.gaps] == ["empty"]


def test_counting_from_many_threads_loses_nothing() -> None:
    counters = Counters()
    guard = Guard.of([POLICY], SCORER, sinks=[counters])
    threads = [
        threading.Thread(target=lambda: [guard.check_sync("canary") for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counters.checks.total() == counters.findings.total() == 400


def test_prometheus_sees_counts_and_seconds_and_no_text() -> None:
    registry = CollectorRegistry()
    guard = Guard.of([POLICY], SCORER, sinks=[PrometheusSink(registry)])
    guard.check_sync("a canary here")
    guard.check_sync("")

    page = generate_latest(registry).decode()

    assert 'gemma_guard_checks_total{action="block",route="default"' in page
    assert 'policy="harassment"' in page
    assert 'cause="empty"' in page
    assert "gemma_guard_check_seconds_bucket" in page
    assert "canary" not in page


def test_prometheus_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(PluginError, match=r"gemma-guard\[prometheus\]"):
        PrometheusSink()


def test_what_a_scorer_takes_out_of_its_queue_is_counted_by_scorer() -> None:
    counters = Counters()
    guard = Guard.of([POLICY], Batched(), sinks=[counters])
    for text in ("one", "two"):
        guard.check_sync(text)

    queue = counters.queues["given"]
    assert (queue.batches, queue.jobs, queue.tokens, queue.late, queue.left) == (2, 2, 14, 0, 0)
    assert queue.waits.total() == 2


def test_waits_are_counted_up_to_the_least_bound_they_did_not_pass() -> None:
    queue = Queue()
    queue.add(Batch((0.0, 0.0001, 0.00011, 99.0), tokens=4, late=3, left=2))

    assert queue.waits == {0.0001: 2, 0.0003: 1, math.inf: 1}
    assert (queue.late, queue.left) == (3, 2)


def test_those_who_left_the_queue_too_late_are_no_batch() -> None:
    queue = Queue()
    queue.add(Batch((), tokens=0, late=2, left=0))

    assert (queue.batches, queue.jobs, queue.late) == (0, 0, 2)


def test_prometheus_sees_the_queue_of_a_scorer() -> None:
    registry = CollectorRegistry()
    guard = Guard.of([POLICY], Batched(), sinks=[PrometheusSink(registry)])
    guard.check_sync("one")

    page = generate_latest(registry).decode()
    for line in (
        'gemma_guard_queue_seconds_count{scorer="given"} 1.0',
        'gemma_guard_batch_jobs_sum{scorer="given"} 1.0',
        'gemma_guard_batch_tokens_sum{scorer="given"} 7.0',
        'gemma_guard_queue_late_total{scorer="given"} 0.0',
        'gemma_guard_queue_jobs{scorer="given"} 0.0',
    ):
        assert line in page


class Breaking(Counters):
    def observe(self, _scorer: str, _batch: Batch, /) -> None:
        raise OSError(28, "No space left on device")


def test_a_sink_that_breaks_on_a_batch_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = Counters()
    guard = Guard.of([POLICY], Batched(), sinks=[Breaking(), counters])

    assert guard.check_sync("one").status == "scored"
    assert counters.queues["given"].jobs == 1
    assert "a batch of given was not recorded" in caplog.text


async def test_after_a_reload_the_queue_of_a_kept_scorer_is_still_told(tmp_path: Path) -> None:
    file, counters = tmp_path / "guard.yaml", Counters()
    file.write_text("routes: {default: {packs: [default], scorer: lite}}")
    async with Guard.from_config(file, sinks=[counters]) as guard:
        await guard.check("one")
        file.write_text("routes: {default: {packs: [strict], scorer: lite}}")
        await guard.reload()
        await guard.check("two")
    assert counters.queues["lite"].jobs == 2
