"""When a failing scorer is left alone, and when it is tried again."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.breaker import COUNTED, Admission, Breaker, Circuit, Tolerance
from gemma_guard.errors import Cause

THREE = Tolerance(failures=3, backoff_s=1.0, max_backoff_s=8.0)


def fail(breaker: Breaker, *, now: float, cause: Cause = Cause.CRASHED) -> None:
    admission = breaker.admit(now, deadline=now + 5)
    assert admission is not None
    breaker.silent(admission, cause, now)


def opened(*, now: float = 0.0) -> Breaker:
    breaker = Breaker(THREE)
    for _ in range(3):
        fail(breaker, now=now)
    return breaker


def admitted(breaker: Breaker, now: float, deadline: float | None = None) -> Admission:
    admission = breaker.admit(now, deadline=now + 5 if deadline is None else deadline)
    assert admission is not None
    return admission


@pytest.mark.parametrize("cause", sorted(COUNTED))
def test_failures_of_the_judge_in_a_row_open_it(cause: Cause) -> None:
    breaker = Breaker(THREE)
    for _ in range(3):
        assert breaker.state(0) == "closed"
        fail(breaker, now=0, cause=cause)

    assert breaker.state(0) == "open"
    assert breaker.admit(0.9, deadline=5) is None


@pytest.mark.parametrize("cause", [*sorted(set(Cause) - COUNTED), None])
def test_nothing_else_opens_it(cause: Cause | None) -> None:
    breaker = Breaker(Tolerance(failures=1))
    for _ in range(9):
        breaker.silent(admitted(breaker, 0), cause, 0)

    assert breaker.state(0) == "closed"


def test_an_answer_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(THREE)
    for _ in range(9):
        fail(breaker, now=0)
        fail(breaker, now=0)
        breaker.answered(admitted(breaker, 0))

    assert breaker.state(0) == "closed"


def test_one_probe_at_a_time_decides_and_an_answer_closes() -> None:
    breaker = opened()

    probe = admitted(breaker, 1.0)
    assert breaker.state(1.0) == "half_open"
    assert breaker.admit(1.0, deadline=6) is None
    breaker.answered(probe)

    assert breaker.state(1.0) == "closed"
    fail(breaker, now=1)
    assert breaker.state(1.0) == "closed"


def test_each_failed_probe_doubles_the_pause_up_to_the_most() -> None:
    breaker, now = opened(), 0.0
    for pause in (1, 2, 4, 8, 8, 8):
        assert breaker.admit(now + pause - 0.01, deadline=now + 99) is None
        now += pause
        assert breaker.state(now) == "half_open"
        fail(breaker, now=now)
        assert breaker.state(now) == "open"


def test_a_probe_whose_caller_was_cancelled_gives_its_place_to_the_next() -> None:
    breaker = opened()

    breaker.silent(admitted(breaker, 1.0), None, 1.5)

    assert breaker.state(1.5) == "half_open"
    breaker.answered(admitted(breaker, 1.5))
    assert breaker.state(1.5) == "closed"


def test_a_probe_that_is_never_heard_of_holds_the_others_until_its_deadline_only() -> None:
    breaker = opened()

    lost = admitted(breaker, 1.0, deadline=6.0)
    assert breaker.admit(5.9, deadline=9) is None
    found = admitted(breaker, 6.0)
    breaker.silent(lost, Cause.CRASHED, 6.0)
    breaker.answered(found)

    assert breaker.state(6.0) == "closed"


def test_what_calls_from_before_the_opening_learn_is_stale() -> None:
    breaker = Breaker(THREE)
    early = [admitted(breaker, 0) for _ in range(5)]
    for admission in early[:3]:
        breaker.silent(admission, Cause.CRASHED, 0)

    breaker.silent(early[3], Cause.CRASHED, 0.9)
    breaker.answered(early[4])

    assert breaker.state(0.9) == "open"
    assert breaker.state(1.0) == "half_open"


def test_of_many_threads_one_is_the_probe() -> None:
    breaker, admissions = opened(), []
    threads = [
        threading.Thread(target=lambda: admissions.append(breaker.admit(1.0, deadline=6.0)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(admission is not None for admission in admissions) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "succeeded", "failed", "withdrawn"]),
            st.floats(0, 3),
            st.integers(0, 5),
        )
    )
)
def test_whatever_happens_it_lets_someone_try_again(events: list[tuple[str, float, int]]) -> None:
    circuit, now, out = Circuit(THREE), 0.0, [Admission(0)]
    for event, passes, which in events:
        now += passes
        if event == "admit":
            circuit, admission = circuit.admit(now, now + 5)
            out += [] if admission is None else [admission]
        elif event == "succeeded":
            circuit = circuit.succeeded(out[-1 - which % len(out)])
        else:
            circuit = getattr(circuit, event)(out[-1 - which % len(out)], now)
        assert circuit.state(now) in {"closed", "open", "half_open"}

    circuit, admission = circuit.admit(now + max(8.0, 5.0), now + 99)
    assert admission is not None
    assert circuit.succeeded(admission).state(now) == "closed"


@given(st.integers(1, 10_000))
def test_pauses_stay_within_their_bounds(tries: int) -> None:
    assert 1.0 <= THREE.pause(tries) <= 8.0


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"backoff_s": 0.0}, {"backoff_s": 2.0, "max_backoff_s": 1.0}]
)
def test_a_tolerance_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="use failures >= 1"):
        Tolerance(**wrong)  # type: ignore[arg-type]
