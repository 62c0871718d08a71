"""What may go of a stream and when it is judged, decided without a clock and without a loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from gemma_guard import (
    Action,
    Cause,
    ConfigError,
    Finding,
    Gap,
    Part,
    Place,
    Redaction,
    Span,
    Stage,
    Verdict,
)
from gemma_guard.pacing import Pacing
from gemma_guard.strand import Ruling, Swap, Window, limit
from gemma_guard.streaming import Streaming, one_text

FINDING = Finding("p", Action.BLOCK, 0.9, 0.5, "key")
VERDICT = Verdict("id", Action.ALLOW, "default", Stage.OUTPUT, "f", "No.")
BLOCK = replace(VERDICT, action=Action.BLOCK, findings=(FINDING,))
BROKEN = replace(VERDICT, action=Action.BLOCK)
SEEN = replace(BLOCK, findings=(replace(FINDING, spans=(Span(0, 4),)),))
FAILED = replace(SEEN, redactions=(Redaction((), Span(0, 4), "[x]", "p", 0.9, 0.8),))
REDACT = replace(VERDICT, action=Action.REDACT, findings=(replace(FINDING, action=Action.REDACT),))
PACING = Pacing(window_chars=10, max_hold_chars=30, max_hold_ms=1000, confirm=1)


def fed(text: str, pacing: Pacing = PACING, *, now: float = 0.0) -> Streaming[str]:
    streaming: Streaming[str] = Streaming(pacing)
    for chunk in text:
        streaming.feed(chunk, one_text(chunk), now)
    return streaming


def allow(window: Window) -> Ruling:
    return Ruling(VERDICT, len(window.text))


def taken(streaming: Streaming[str]) -> str:
    return "".join(text for release in streaming.take() for text in release.texts)


def windows(streaming: Streaming[str], now: float = 0.0) -> list[str]:
    return [window.text for window in streaming.windows(now)]


def test_a_window_ends_with_a_sentence_and_has_the_characters_it_needs() -> None:
    assert windows(fed("It is. So")) == []
    assert windows(fed("It is so. Yes, s")) == ["It is so. "]
    assert windows(fed("It is. So it is. And")) == ["It is. So it is. "]


def test_what_waits_too_long_is_judged_as_it_is() -> None:
    assert windows(fed("word " * 5)) == []
    assert windows(fed("word " * 6)) == ["word " * 6]
    streaming = fed("wor", now=5.0)
    assert streaming.wakes_at() == 6.0
    assert windows(streaming, 5.9) == []
    assert windows(streaming, 6.0) == ["wor"]


def test_nothing_waits_where_there_is_nothing_new() -> None:
    streaming = fed("wor", now=5.0)
    (window,) = streaming.windows(6.0)
    streaming.rule(window, allow(window))
    assert streaming.wakes_at() == math.inf
    assert windows(streaming, 99.0) == []


def test_the_end_is_judged_and_if_it_was_already_it_is_not_judged_twice() -> None:
    streaming = fed("It is so. Yes")
    (window,) = streaming.windows(0)
    streaming.rule(window, allow(window))
    streaming.end()
    (window,) = streaming.windows(0)
    assert (window.text, window.is_last) == ("It is so. Yes", True)
    streaming.rule(window, allow(window))
    assert streaming.is_settled
    whole = fed("word " * 6)
    (window,) = whole.windows(0)
    whole.rule(window, allow(window))
    whole.end()
    assert whole.is_settled


def test_a_redaction_that_reaches_what_may_still_grow_waits() -> None:
    window = Window((), "call 12 or 34")
    swaps = [Swap(5, 7, "[A]"), Swap(11, 13, "[B]")]
    assert limit(window, swaps, None) == 13
    assert limit(window, swaps, 12) == 11
    assert limit(window, swaps, 6) == 5
    assert limit(replace(window, is_last=True), swaps, 6) == 13


def test_what_is_held_stays_when_the_window_goes() -> None:
    streaming = fed("word " * 6)
    (window,) = streaming.windows(0)
    streaming.rule(window, Ruling(VERDICT, 7))
    assert taken(streaming) == "word wo"


def test_a_block_lets_nothing_go_but_what_may_go_already() -> None:
    streaming = fed("It is so. " * 2 + "And")
    (window,) = streaming.windows(0)
    streaming.rule(window, allow(window))
    streaming.feed("more " * 6, one_text("more " * 6), 0)
    (window,) = streaming.windows(0)
    streaming.rule(window, Ruling(BLOCK))
    assert streaming.is_blocked
    assert taken(streaming) == "It is so. " * 2
    assert windows(streaming, 99) == []


@pytest.mark.parametrize(
    ("verdict", "blocked"),
    [(BLOCK, False), (BROKEN, True), (SEEN, True), (REDACT, False), (FAILED, False)],
)
def test_only_an_opinion_on_the_content_is_confirmed(verdict: Verdict, blocked: bool) -> None:
    streaming = fed("word " * 6, replace(PACING, confirm=2))
    (window,) = streaming.windows(0)
    assert window.is_trial
    streaming.rule(window, Ruling(verdict, len(window.text)))
    assert streaming.is_blocked is blocked
    assert taken(streaming) == ""


def test_an_opinion_is_acted_on_when_enough_windows_in_a_row_have_it() -> None:
    streaming = fed("word " * 6, replace(PACING, confirm=3))
    trials = []
    while not streaming.is_blocked:
        (window,) = streaming.windows(0)
        trials.append(window.is_trial)
        streaming.rule(window, Ruling(BLOCK))
        streaming.feed("more " * 6, one_text("more " * 6), 0)
    assert trials == [True, True, False]


def test_an_opinion_counts_again_as_often_as_a_text_may_be_held_while_nothing_comes() -> None:
    streaming = fed("word " * 6, replace(PACING, confirm=3))
    trials = []
    for now in range(3):
        (window,) = streaming.windows(now)
        trials.append(window.is_trial)
        streaming.rule(window, Ruling(BLOCK))
        assert window.text == "word " * 6
        assert windows(streaming, now + 0.9) == []
    assert trials == [True, True, False]
    assert streaming.is_blocked


def test_a_text_that_is_in_doubt_no_more_waits_for_nothing() -> None:
    streaming = fed("word " * 6, replace(PACING, confirm=3))
    for now, verdict in ((0, BLOCK), (1, VERDICT)):
        (window,) = streaming.windows(now)
        streaming.rule(window, Ruling(verdict, now * len(window.text)))
    assert taken(streaming) == "word " * 6
    assert streaming.wakes_at() == math.inf


def test_an_opinion_on_the_whole_needs_no_other() -> None:
    streaming = fed("It is so. Yes", replace(PACING, confirm=9))
    streaming.end()
    (window,) = streaming.windows(0)
    assert not window.is_trial
    streaming.rule(window, Ruling(BLOCK))
    assert streaming.is_blocked


def test_what_a_scorer_points_at_is_redacted_at_once() -> None:
    streaming = fed("word " * 6, replace(PACING, confirm=9))
    (window,) = streaming.windows(0)
    seen = replace(REDACT, findings=(replace(FINDING, action=Action.REDACT, spans=(Span(0, 4),)),))
    streaming.rule(window, Ruling(seen, len(window.text), (Swap(0, 4, "[x]"),)))
    assert taken(streaming) == "[x] " + "word " * 5


def test_a_block_that_is_not_confirmed_is_forgotten() -> None:
    streaming = fed("word " * 6, replace(PACING, confirm=2))
    for verdict in (BLOCK, VERDICT, BLOCK):
        (window,) = streaming.windows(0)
        upto = 0 if verdict is BLOCK else len(window.text)
        streaming.rule(window, Ruling(verdict, upto))
        streaming.feed("more " * 6, one_text("more " * 6), 0)
    assert not streaming.is_blocked


def test_something_no_scorer_judges_is_asked_about_at_once_and_waits() -> None:
    streaming: Streaming[str] = Streaming(PACING)
    gap = Gap(Cause.MEDIA, (0, "picture"))
    streaming.feed("picture", [gap], 0)
    assert list(streaming.take()) == []
    (window,) = streaming.windows(0)
    assert window.gap is gap
    streaming.rule(window, Ruling(VERDICT))
    assert [release.chunk for release in streaming.take()] == ["picture"]


def test_a_text_that_goes_on_after_it_ended_is_judged_on() -> None:
    streaming: Streaming[str] = Streaming(PACING)
    for text in ("It", " rains"):
        streaming.feed(text, [Part((), text, ends=True)], 0)
        (window,) = streaming.windows(0)
        streaming.rule(window, allow(window))
        assert taken(streaming) == text
    assert window.text == "It rains"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "windows"}, "unknown mode 'windows'; did you mean 'window'"),
        ({"window_chars": 0}, "window_chars: a whole number"),
        ({"window_chars": 50, "max_hold_chars": 20}, r"max_hold_chars: at least window_chars \(50"),
        ({"confirm": True}, "confirm: a whole number"),
    ],
)
def test_a_pacing_that_makes_no_sense_is_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pacing(**wrong)  # type: ignore[arg-type]  # that is the point


# --------------------------------------------------------------------------------------- laws


@dataclass
class Model:
    """What a consumer may have seen of one text: exactly what rulings let go, redacted."""

    judged: str = ""
    free: str = ""

    def rule(self, window: Window, ruling: Ruling) -> None:
        text = window.text
        end = ruling.upto
        for swap in reversed(ruling.swaps):
            text = text[: swap.start] + swap.text + text[swap.end :]
            end += len(swap.text) - (swap.end - swap.start)
        self.free = text[:end]


@st.composite
def rulings(draw: st.DrawFn, window: Window) -> Ruling:
    size, out = len(window.text), window.released
    cuts = sorted(draw(st.sets(st.integers(out, size), max_size=4)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    swaps = [Swap(a, b, draw(st.sampled_from(["", "[X]", "[LONGER_THAN_IT]"]))) for a, b in pairs]
    hold = draw(st.none() | st.integers(0, size))
    upto = limit(window, swaps, hold)
    return Ruling(VERDICT, upto, tuple(s for s in swaps if s.end <= upto))


words = st.sampled_from(["It rains. ", "so", " and ", "on", "", "\n\n", "12", "Yes! "])
places = st.sampled_from([(0, "content"), (0, "reasoning"), (1, "content")])


@given(st.data(), st.lists(st.tuples(places, words), max_size=25), st.integers(1, 12))
@settings_of(max_examples=300)
def test_what_goes_is_what_rulings_let_go_in_the_order_it_came(
    data: st.DataObject, sent: list[tuple[Place, str]], window_chars: int
) -> None:
    streaming: Streaming[int] = Streaming(Pacing(window_chars=window_chars, max_hold_chars=20))
    models = {place: Model() for place, _ in sent}
    seen = dict.fromkeys(models, "")
    order: list[int] = []

    def judge() -> None:
        for window in streaming.windows(0.0):
            ruling = data.draw(rulings(window))
            streaming.rule(window, ruling)
            models[window.place].rule(window, ruling)

    def look() -> None:
        for release in streaming.take():
            assert release.chunk is not None
            place = sent[release.chunk][0]
            order.append(release.chunk)
            seen[place] += release.texts[0]
            assert models[place].free.startswith(seen[place])

    for number, (place, text) in enumerate(sent):
        streaming.feed(number, [Part(place, text)], 0.0)
        if data.draw(st.booleans()):
            judge()
        look()
    streaming.end()
    while not streaming.is_settled:
        judge()
        look()
    look()
    assert order == sorted(order)
    assert set(order) == set(range(len(sent)))
    assert seen == {place: model.free for place, model in models.items()}
    assert {e.place: e.text for e in streaming.released} == {p: t for p, t in seen.items() if t}
