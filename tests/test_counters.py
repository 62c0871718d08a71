"""Decisions are counted by what they were, and nothing of the text is in a label."""

from __future__ import annotations

import sys
import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gemma_guard import Bands, Guard, Guideline, PluginError, Policy
from gemma_guard.counters import Counters, Decision, PrometheusSink
from gemma_guard.scorers.fake import Fake

POLICY = Policy(
    "harassment", Bands(log=0.3, block=0.6), Bands(block=0.6), guideline=Guideline("a", "b")
)
SCORER = Fake({"harassment": {"canary": 0.9, "twerp": 0.4}})


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
