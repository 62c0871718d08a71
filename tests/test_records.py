"""Every decision is kept, without a word of the text it was about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard import Guard
from gemma_guard.errors import Cause, ConfigError
from gemma_guard.policy import Bands, Guideline, Policy
from gemma_guard.records import JsonLinesSink, LoggerSink, find, record
from gemma_guard.scorers.fake import Fake
from gemma_guard.verdict import Action, Edit, Finding, Gap, Judged, Score, Span, Stage, Verdict

CANARY = "canary-4711"
PLAIN = Verdict("abc", Action.ALLOW, "default", Stage.INPUT, "f", "no")

places = st.lists(st.integers(0, 9) | st.text(), max_size=3).map(tuple)
spans = st.builds(Span, st.integers(0, 5), st.integers(6, 9), st.text())
scores = st.builds(
    Score,
    st.text(),
    st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.lists(spans, max_size=2).map(tuple),
    st.none() | spans,
)
actions = st.sampled_from(Action)
verdicts = st.builds(
    Verdict,
    id=st.text(),
    action=actions,
    route=st.text(),
    stage=st.sampled_from(Stage),
    fingerprint=st.text(),
    refusal=st.text(),
    ms=st.floats(0, 1e6),
    scores=st.lists(scores, max_size=2).map(tuple),
    gaps=st.lists(
        st.builds(Gap, st.sampled_from(Cause), places, st.none() | st.text(), st.text()), max_size=2
    ).map(tuple),
    findings=st.lists(
        st.builds(Finding, st.text(), actions, st.floats(0, 1), st.floats(0, 1), st.text(), places),
        max_size=2,
    ).map(tuple),
    passages=st.lists(
        st.builds(
            Judged,
            places,
            st.text(),
            st.sampled_from(Stage),
            actions,
            st.lists(scores, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    edits=st.just((Edit((0, "content"), CANARY),)),
    text=st.just(CANARY),
)


def listed(tree: Any) -> Any:
    """The same with lists for tuples, as JSON gives them back."""
    if isinstance(tree, dict):
        return {key: listed(value) for key, value in tree.items()}
    return [listed(each) for each in tree] if isinstance(tree, list | tuple) else tree


@given(verdicts)
def test_a_record_survives_json(verdict: Verdict) -> None:
    kept = record(verdict)
    written = json.dumps(kept, allow_nan=False)
    assert json.loads(written) == listed(kept)


@given(verdicts)
def test_no_record_and_no_log_line_holds_the_text(verdict: Verdict) -> None:
    assert CANARY not in json.dumps(record(verdict))
    assert CANARY not in repr(verdict)


POLICY = Policy(
    "harassment",
    Bands(log=0.3, redact=0.5, block=0.9),
    Bands(log=0.3, redact=0.5, block=0.9),
    Guideline("in", "out"),
)


class Breaking(Fake):
    """Quotes the text it was given when it fails."""

    async def score(self, probes: Any, /, **_: Any) -> Any:
        raise RuntimeError(f"cannot judge {probes[0].text}")


@pytest.mark.parametrize(
    "content",
    [
        CANARY,
        f"{CANARY} idiot",
        f"{CANARY} \ud800",
        CANARY * 50_000,
        [{"type": "text", "text": CANARY}],
        [{"type": CANARY, "x": CANARY}],
        [{"type": "image_url", "image_url": {"url": CANARY}}],
    ],
    ids=["allowed", "redacted", "undecodable", "too long", "part", "unknown part", "image"],
)
@pytest.mark.parametrize("scorer", [Fake(), Breaking()], ids=["answers", "breaks"])
async def test_a_canary_sent_through_every_path_turns_up_in_no_record(
    content: Any, scorer: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "decisions.jsonl"
    file = JsonLinesSink(path)
    async with Guard.of([POLICY], scorer, sinks=[LoggerSink(), file]) as guard:
        await guard.check(messages=[{"role": "user", "content": content}])
    ours = [entry for entry in caplog.records if entry.name == "gemma_guard"]
    structured = [vars(entry).get("gemma_guard") for entry in ours]
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(structured) == 1
    assert CANARY not in path.read_text(encoding="utf-8")
    assert CANARY not in caplog.text
    assert CANARY not in json.dumps(structured)


@pytest.mark.parametrize(
    ("verdict", "level"),
    [
        (PLAIN, logging.INFO),
        (replace(PLAIN, action=Action.REDACT), logging.INFO),
        (replace(PLAIN, action=Action.BLOCK), logging.WARNING),
        (replace(PLAIN, gaps=(Gap(Cause.EMPTY),)), logging.WARNING),
    ],
)
def test_blocks_and_gaps_are_logged_as_warnings(
    verdict: Verdict, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gemma_guard")
    LoggerSink().write(verdict)
    [entry] = caplog.records
    assert entry.levelno == level
    assert vars(entry)["gemma_guard"]["id"] == "abc"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


@pytest.fixture
def sink(path: Path) -> Iterator[JsonLinesSink]:
    sink = JsonLinesSink(path)
    yield sink
    sink.close()


def test_a_decision_is_found_again_by_its_id(path: Path, sink: JsonLinesSink) -> None:
    for name in ("one", "two", "three"):
        sink.write(replace(PLAIN, id=name, route=name))
    found = find(path, "two")
    assert found
    assert found["route"] == "two"
    assert find(path, "four") is None


def test_of_two_decisions_with_one_id_the_newest_is_found(path: Path, sink: JsonLinesSink) -> None:
    sink.write(replace(PLAIN, route="old"))
    sink.write(replace(PLAIN, route="new"))
    found = find(path, "abc")
    assert found
    assert found["route"] == "new"


def test_records_are_there_at_once_and_added_to_what_was_there(path: Path) -> None:
    for name in ("one", "two"):
        sink = JsonLinesSink(path)
        sink.write(replace(PLAIN, id=name))
        assert find(path, name)
        sink.close()
    assert find(path, "one")


@pytest.mark.parametrize("torn", [b'{"id":"tor', b"7\n", b'"abc"\n', b"\xff\xfe\n", b"\n"])
def test_a_line_that_was_torn_or_is_no_record_costs_no_other(path: Path, torn: bytes) -> None:
    path.write_bytes(b'{"id":"before"}\n' + torn)
    sink = JsonLinesSink(path)
    sink.write(PLAIN)
    sink.close()
    assert find(path, "before")
    assert find(path, "abc")


def test_lines_of_several_writers_never_mix(path: Path) -> None:
    wide = replace(PLAIN, gaps=(Gap(Cause.CRASHED, reason="x" * 20_000),))
    sinks = [JsonLinesSink(path) for _ in range(3)]
    for number in range(12):
        sinks[number % 3].write(replace(wide, id=str(number)))
    for sink in sinks:
        sink.close()
    assert all(find(path, str(number)) for number in range(12))


@pytest.mark.parametrize("name", ["nowhere/decisions.jsonl", "."])
def test_a_file_that_cannot_be_written_stops_the_load_and_is_named(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=r"records\.jsonl: .*: cannot be written: "):
        JsonLinesSink(tmp_path / name)


def test_a_full_disk_is_told_and_closing_is_not_made_worse_by_it() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs Linux: /dev/full")
    sink = JsonLinesSink(full)
    with pytest.raises(OSError, match="No space left"):
        sink.write(PLAIN)
    sink.close()


class Full:
    """A sink that can keep nothing."""

    def write(self, _verdict: Verdict, /) -> None:
        raise OSError("no space left")


async def test_a_sink_that_fails_stops_neither_the_traffic_nor_the_other_sinks(
    path: Path, sink: JsonLinesSink, caplog: pytest.LogCaptureFixture
) -> None:
    async with Guard.of([POLICY], Fake(), sinks=[Full(), sink]) as guard:
        verdict = await guard.check(CANARY)
        assert verdict.action is Action.ALLOW
        assert find(path, verdict.id)
    assert f"decision {verdict.id} was not recorded" in caplog.text
    assert CANARY not in caplog.text
