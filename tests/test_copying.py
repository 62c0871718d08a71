"""A copy of a guard is itself; pickled, it is its settings, and another process makes its own."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gemma_guard.errors import UsageError
from gemma_guard.guard import Guard
from gemma_guard.policy import Bands, Guideline, Policy
from gemma_guard.records import LoggerSink
from gemma_guard.scorers.fake import Fake
from gemma_guard.settings import loads

TEXT = """
scorers: {words: {type: fake, keywords: {harassment: {scum: 0.9}}}}
routes:
  default: {packs: [default, privacy], scorer: words, on_error: {fallback: fake}}
  kids: {extends: default, match: {claimed: {tag: kids}}, packs: [family, privacy]}
"""


@pytest.fixture
def guard() -> Guard:
    return Guard(loads(TEXT), sinks=())


@contextmanager
def another_process() -> Iterator[None]:
    """As far as a guard can tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gemma_guard.copying.os.getpid", lambda: 0)
        yield


def fresh(pickled: bytes) -> Guard:
    with another_process():
        made: Guard = pickle.loads(pickled)  # noqa: S301  our own
    return made


def judged(guard: Guard, text: str) -> tuple[Any, ...]:
    verdict = guard.check_sync(text, claimed={"tag": "kids"})
    return verdict.action, verdict.policies, verdict.route, verdict.fingerprint, verdict.status


def test_a_copy_is_the_guard_itself(guard: Guard) -> None:
    assert copy.copy(guard) is guard
    assert copy.deepcopy({"a": [guard]})["a"] == [guard]


def test_unpickled_where_it_lives_it_is_itself(guard: Guard) -> None:
    assert pickle.loads(pickle.dumps([guard, guard])) == [guard, guard]  # noqa: S301  our own


def test_made_again_it_judges_alike(guard: Guard) -> None:
    again = fresh(pickle.dumps(guard))

    assert again is not guard
    for text in ("you scum", "Write to jane@example.com", "hello"):
        assert judged(again, text) == judged(guard, text)


def test_another_process_makes_it_once_however_many_pickles_come(guard: Guard) -> None:
    pickles = [pickle.dumps([guard]), pickle.dumps(guard), pickle.dumps({"guard": guard})]
    with another_process(), ThreadPoolExecutor(3) as pool:
        [one], two, three = pool.map(pickle.loads, pickles)

    assert one is two is three["guard"]
    assert one is not guard


async def test_a_guard_that_was_closed_is_made_again(guard: Guard) -> None:
    pickled = pickle.dumps(guard)
    await guard.aclose()
    again = pickle.loads(pickled)  # noqa: S301  our own

    assert again is not guard
    assert (await again.check("you scum")).blocked
    await again.aclose()


async def test_what_was_reloaded_is_what_is_pickled(tmp_path: Path) -> None:
    file = tmp_path / "guard.yaml"
    file.write_text(TEXT)
    async with Guard.from_config(file, sinks=()) as guard:
        file.write_text(TEXT.replace("scum", "rat"))
        await guard.reload()
        again = fresh(pickle.dumps(guard))
        assert not (await again.check("you scum")).blocked
        assert (await again.check("you rat")).blocked
        file.write_text(TEXT)
        await again.reload()
        assert (await again.check("you scum")).blocked
        await again.aclose()


@pytest.mark.parametrize(
    "options", [{"scorers": {"words": Fake()}}, {"sinks": [LoggerSink()]}], ids=str
)
def test_what_was_given_as_an_object_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"given scorers or sinks cannot be pickled.*guard\.yaml"):
        pickle.dumps(Guard(loads(TEXT), **options))
    bands, wording = Bands(block=0.5), Guideline("in", "out")
    with pytest.raises(UsageError, match="cannot be pickled"):
        pickle.dumps(Guard.of([Policy("harm", bands, bands, wording)], Fake()))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_another_process_makes_its_own(guard: Guard, how: str) -> None:
    here = judged(guard, "you scum")
    context = multiprocessing.get_context(how)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(judged, guard, "you scum").result(60)

    assert there == here
    asyncio.run(guard.aclose())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_process_nobody_waits_for_a_thread_that_is_not_there(guard: Guard) -> None:
    guard.check_sync("hello")  # its event loop runs, and its scorers are open
    verdicts = multiprocessing.get_context("fork").SimpleQueue()

    def check() -> None:
        verdicts.put(judged(guard, "you scum " + "and so on " * 1_000))  # patterns want a thread

    process = multiprocessing.get_context("fork").Process(target=check)
    process.start()
    process.join(30)
    process.kill()  # harmless once it has ended
    assert process.exitcode == 0
    assert verdicts.get()[1] == ("harassment",)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_names_its_decisions_otherwise(guard: Guard) -> None:
    guard.check_sync("hello")
    context = multiprocessing.get_context("fork")
    there = context.SimpleQueue()
    process = context.Process(target=lambda: there.put(_ids(guard)))
    process.start()
    process.join(30)
    process.kill()  # harmless once it has ended

    assert not _ids(guard) & there.get()


def _ids(guard: Guard) -> set[str]:
    found = {guard.check_sync("hello").id for _ in range(600)}
    assert len(found) == 600
    return found
