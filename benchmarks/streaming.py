"""What a guarded stream costs, what it lets out, and what it raises that a whole answer would not.

    python benchmarks/streaming.py [--data ../shared/data] [leaks|cost|alarms|catches|… ...]

Prints the figures and writes them to results/streaming.json; those that are not asked for stay.
The sets under `--data` are for reporting: no band and no setting here was chosen on them.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import machine
from gemma_guard_lite import Lite

from gemma_guard import Action, Guard, Priority, Probe, Route, Score, Span, Stage, Verdict
from gemma_guard.pacing import Pacing
from gemma_guard.route import Routes
from gemma_guard.scorers.fake import Fake
from gemma_guard.segments import sentences
from gemma_guard.settings import loads
from gemma_guard.strand import Ruling
from gemma_guard.streaming import Streaming, one_text

TOKEN_S = 0.02  # seconds between tokens: 50 a second
FAKE = loads("routes: {default: {scorer: fake, packs: [default, privacy]}}")
LITE = """
routes:
  default: {scorer: lite, packs: [lite], deadline_ms: 600_000}
  cautious: {extends: default, packs: [default]}
  comments:
    scorer: lite
    packs: [lite]
    deadline_ms: 600_000
    policies:
      dangerous_content: {enabled: false}
      sexually_explicit: {enabled: false}
      harassment: {bands: {input: {redact: 0.69}}}
      hate_speech: {bands: {input: {redact: 0.64}}}
"""
Figures = dict[str, Any]


def paced(guard_settings: Any, **pacing: Any) -> Any:
    """The settings with every route's streams held back like this."""
    routes: dict[str, Route] = {
        name: replace(route, pacing=Pacing(**pacing))
        for name, route in guard_settings.routes.routes.items()
    }
    return replace(guard_settings, routes=Routes(routes))


def forgetful(guard_settings: Any) -> Any:
    """The settings without a cache, so that a scorer sees every text."""
    return replace(guard_settings, upkeep=replace(guard_settings.upkeep, cache_bytes=0))


def rows(data: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(data / "eval" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# --------------------------------------------------------------------------------------- leaks

PLAIN = ("It rains.", "All is well today,", "and so on we walk.\n\n", "- one", "They say 12.")
VIOLATIONS = (
    "jane.doe@example.com",
    "4111 1111 1111 1111",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "idiot",
    "pipe bomb",
    "you are worthless",
    "vermin",
)
RUNS = 10_000


class Watched(Fake):
    """Keeps what it has answered about; may point at nothing."""

    def __init__(self, *, is_vague: bool = False) -> None:
        super().__init__()
        self.is_vague = is_vague
        self.answered: list[str] = []

    async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
        await asyncio.sleep(0)
        scores = await super().score(probes, **options)
        self.answered += [probe.text for probe in probes]
        if self.is_vague:
            return [tuple(replace(score, spans=()) for score in each) for each in scores]
        return scores


def chunked(random: Random, text: str) -> list[str]:
    cuts = sorted(random.sample(range(len(text) + 1), random.randint(0, len(text) // 2)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


async def each(chunks: Sequence[str], pauses: Callable[[], bool]) -> AsyncIterator[str]:
    for chunk in chunks:
        if pauses():
            await asyncio.sleep(0)
        yield chunk


async def leaks_once(random: Random, scorer: Watched, guard: Guard, mode: str) -> bool:
    """Whether a character left before it was scored, or a violation left at all.

    Nor is anything to be decided otherwise than about the whole, which a judge that points at
    nothing cannot promise: it may think better of what has been redacted.
    """
    words = random.choices((*PLAIN, *PLAIN, *VIOLATIONS), k=random.randint(1, 14))
    text, seen, verdict = " ".join(words), "", None
    source = each(chunked(random, text), lambda: random.random() < 0.5)
    unscored = False
    scorer.answered.clear()
    async for piece in guard.stream(source, prompt="Hi", buffer=mode == "buffer"):
        verdict = piece.verdict
        if not (verdict and verdict.blocked):
            seen += piece.text
            unscored |= not any(scored.startswith(seen) for scored in scorer.answered)
    again = await guard.check(seen, stage="output", prompt="Hi")
    whole = await guard.check(text, stage="output", prompt="Hi")
    missed = verdict is None or verdict.action is not whole.action
    return unscored or (missed and not scorer.is_vague) or again.action >= Action.REDACT


async def leaks(_data: Path) -> Figures:
    random, leaked = Random(7), 0  # noqa: S311  not for secrets
    for number in range(RUNS):
        if number % 100 == 0:
            window = random.randint(1, 60)
            pacing = {"window_chars": window, "max_hold_chars": random.randint(window, 120)}
            pacing["confirm"] = random.randint(1, 5)
            scorer = Watched(is_vague=number % 300 == 0)
            guard = Guard(forgetful(paced(FAKE, **pacing)), scorers={"fake": scorer}, sinks=())
        mode = "buffer" if number % 4 == 0 else "window"
        leaked += await leaks_once(random, scorer, guard, mode)
    return {"leaks": leaked, "leak_runs": RUNS}


# ---------------------------------------------------------------------------------------- cost


async def cost(_data: Path) -> Figures:
    """Processor time of a chunk that fills a window and does not end it, from source to consumer.

    Over reading the same source bare and judging all of it at once.
    """
    pacing = {"window_chars": 10**6, "max_hold_chars": 10**6, "max_hold_ms": 10**6}
    chunks, medians = ["word "] * 20_000, []
    async with Guard(paced(FAKE, **pacing), sinks=()) as guard:
        for _ in range(7):
            bare = await spent(each(chunks, lambda: False))
            one = await spent(guard.stream(each(["".join(chunks)], lambda: False)))
            many = await spent(guard.stream(each(chunks, lambda: False)))
            medians.append((many - one - bare) / len(chunks) * 1e6)
    return {"idle_chunk_us": round(min(medians), 2), "idle_chunk_us_rounds": rounded(medians)}


async def spent(source: AsyncIterator[Any]) -> float:
    began = time.process_time()
    async for _ in source:
        pass
    return time.process_time() - began


# ------------------------------------------------------------------------------------- latency


class Timed(Lite):
    """Keeps when it was asked first, and how long its answer took."""

    asked = took = 0.0

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        began = time.perf_counter()
        answer = await super().score(probes, deadline=deadline, priority=priority)
        if not self.asked:
            self.asked, self.took = began, time.perf_counter() - began
        return answer


async def latency(data: Path) -> Figures:
    """Benign answers at 50 tokens a second: from their first token to the first text seen.

    One to each prompt, for a judge that has read none of them; each twice, by another judge.
    """
    answers = {r["text"]: r for r in benign(data) if len(r["response"]) > 400}.values()
    found, took = [], []
    for _ in range(2):
        scorer = Timed()
        async with Guard(loads(LITE), scorers={"lite": scorer}, sinks=()) as guard:
            await guard.check("A text that warms it up. " * 20, stage="output")
            for answer in answers:
                found.append(await first_text(guard, scorer, answer))
                took.append(scorer.took)
    over = sorted(seen - window for window, seen in found)
    return {
        "first_text_answers": len(found),
        "first_text_s_median": round(statistics.median(seen for _, seen in found), 3),
        "first_text_window_s_median": round(statistics.median(w for w, _ in found), 3),
        "first_text_over_window_ms_median": round(statistics.median(over) * 1000, 1),
        "first_text_scoring_ms_median": round(statistics.median(took) * 1000, 1),
        "first_text_over_window_ms_p90": round(over[int(len(over) * 0.9)] * 1000, 1),
    }


async def first_text(guard: Guard, scorer: Timed, row: dict[str, Any]) -> tuple[float, float]:
    """When the first window was full, so that it was judged, and when its text was seen."""
    arrived: list[float] = []
    scorer.asked = 0.0

    async def tokens() -> AsyncIterator[str]:
        text = row["response"]
        for start in range(0, len(text), 4):
            await asyncio.sleep(TOKEN_S)
            arrived.append(time.perf_counter())
            yield text[start : start + 4]

    stream = guard.stream(tokens(), prompt=row["text"], route="cautious")
    async for piece in stream:
        if piece.text:
            break
    seen = time.perf_counter()
    await stream.aclose()
    return scorer.asked - arrived[0], seen - arrived[0]


# -------------------------------------------------------------------------------------- alarms


LONGEST = 4_000  # characters of an answer; two of them are longer


def benign(data: Path) -> list[dict[str, Any]]:
    return answers_labelled(0, data, "gptfuzz_eval", "diasafety_test")


def answers_labelled(harmful: int, data: Path, *sets: str) -> list[dict[str, Any]]:
    every = (row for name in sets for row in rows(data, name))
    found = (row for row in every if row["response"] and row["labels"]["harmful"] == harmful)
    return [row for row in found if len(row["response"]) <= LONGEST]


def windows(text: str, token_s: float) -> list[str]:
    """What is judged of `text` when it comes four characters at a time and nobody is late."""
    streaming: Streaming[str] = Streaming(Pacing())
    judged = []
    for number, start in enumerate(range(0, len(text), 4), 1):
        chunk, now = text[start : start + 4], number * token_s
        streaming.feed(chunk, one_text(chunk), now)
        for window in streaming.windows(now):
            judged.append(window.text)
            streaming.rule(window, Ruling(NOTHING, len(window.text)))
    return [*judged, text]


NOTHING = Verdict("", Action.ALLOW, "", Stage.OUTPUT, "", "")
PACE = {"": 0.0, "_at_50_tokens": TOKEN_S}
CONFIRM = (1, 2, 3, Pacing().confirm)


async def alarms(data: Path) -> Figures:
    """Answers that were not harmful: what windows stop or log that the whole answer would not.

    Of answers that come at once, and at 50 tokens a second, where fewer windows end in a sentence.
    """
    answers, settings = benign(data), loads(LITE)
    found: Figures = {"alarm_answers": len(answers), "alarms_confirm_default": Pacing().confirm}
    async with Guard(settings, sinks=()) as guard:
        for pace, token_s in PACE.items():
            judged = [await scores_of(guard, row, token_s) for row in answers]
            for route, pack in (("cautious", "default"), ("default", "lite")):
                asked = actions_on(settings.routes.named(route))
                ruled = [[asked(scores) for scores in windows] for windows in judged]
                found |= alarm_figures(f"alarms_{pack}{pace}", ruled)
    return found


async def catches(data: Path) -> Figures:
    """What `confirm` costs: harmful answers that fewer windows would have stopped, and the wait.

    The wait is of windows, from the first that asks for a stop to the one that is acted on.
    """
    answers, settings = answers_labelled(1, data, "gptfuzz_eval")[:HARMFUL], loads(LITE)
    async with Guard(settings, sinks=()) as guard:
        judged = [await scores_of(guard, row, TOKEN_S) for row in answers]
    asked = actions_on(settings.routes.named("default"))
    flags = [[asked(scores) >= Action.REDACT for scores in windows] for windows in judged]
    found: Figures = {"catches_answers": len(answers), "catches_whole": sum(f[-1] for f in flags)}
    for confirm in CONFIRM:
        waits = [wait for each in flags if (wait := acted_after(each, confirm)) is not None]
        found[f"catches_confirm_{confirm}"] = len(waits)
        found[f"catches_confirm_{confirm}_wait_windows_mean"] = round(statistics.mean(waits), 2)
    return found


HARMFUL = 200


def acted_after(flags: Sequence[bool], confirm: int) -> int | None:
    """Windows from the first flag to the one that is acted on; None if none is."""
    for at, flag in enumerate(flags):
        agreed = at + 1 >= confirm and all(flags[at + 1 - confirm : at + 1])
        if agreed or (flag and at == len(flags) - 1):
            return at - flags.index(True)
    return None


async def scores_of(guard: Guard, row: dict[str, Any], token_s: float) -> list[Sequence[Score]]:
    """What each window of an answer scores, the whole answer last."""
    verdicts = [
        await guard.check(text, stage="output", prompt=row["text"])
        for text in windows(row["response"], token_s)
    ]
    if any(verdict.status != "scored" for verdict in verdicts):
        raise RuntimeError("a judge that fails is no false alarm")
    return [verdict.scores for verdict in verdicts]


def actions_on(route: Route) -> Callable[[Sequence[Score]], Action]:
    """What scores ask for on `route`."""
    bands = {rule.policy.name: bands for rule, bands, _, _ in route.plans[Stage.OUTPUT].rules}
    return lambda scores: max(bands[s.policy].judge(s.violation)[0] for s in scores)


def alarm_figures(name: str, ruled: Sequence[Sequence[Action]]) -> Figures:
    return {
        f"{name}_whole_per_1000": per_1000(ruled, lambda a: a[-1] >= Action.REDACT),
        **{
            f"{name}_extra_confirm_{confirm}_per_1000": per_1000(
                ruled,
                lambda a, confirm=confirm: is_extra(a, Action.REDACT, confirm),  # type: ignore[misc]
            )
            for confirm in CONFIRM
        },
        f"{name}_logged_whole_per_1000": per_1000(ruled, lambda a: a[-1] >= Action.LOG),
        f"{name}_logged_extra_per_1000": per_1000(ruled, lambda a: is_extra(a, Action.LOG, 1)),
    }


def is_extra(actions: Sequence[Action], least: Action, confirm: int) -> bool:
    """Whether `confirm` windows in a row ask for `least` or worse, and the whole does not."""
    flags = [action >= least for action in actions]
    runs = (all(flags[at : at + confirm]) for at in range(len(flags) - confirm + 1))
    return not flags[-1] and any(runs)


def per_1000(
    every: Sequence[Sequence[Action]], counts: Callable[[Sequence[Action]], bool]
) -> float:
    return round(1000 * sum(map(counts, every)) / len(every), 2)


# --------------------------------------------------------------------------------------- spans


async def spans(data: Path) -> Figures:
    """Comments whose toxic characters people have marked, of those that reach a redact band.

    As prompts, at the bands from which on `lite` logs them: that is where it says a harm begins.
    """
    async with Guard(loads(LITE), sinks=()) as guard:
        flagged, passing, blocked = [], 0, 0
        for row in rows(data, "toxic_spans_eval"):
            verdict = await guard.check(row["text"], route="comments")
            if verdict.action < Action.REDACT:
                continue
            blocked += verdict.blocked
            if verdict.text is not None:
                again = await guard.check(verdict.text, route="comments")
                passing += again.action < Action.REDACT
            flagged.append((row, verdict, await worst_sentence(guard, row["text"])))
    marked = [(row, ours, worst) for row, ours, worst in flagged if row["spans"]]
    redacted = len(flagged) - blocked
    return {
        "span_texts": 1004,
        "span_texts_flagged": len(flagged),
        "span_texts_flagged_and_marked": len(marked),
        "span_texts_blocked": blocked,
        "span_redacted_pass_again": f"{passing} of {redacted}",
        **f1_figures("all_flagged", flagged),
        **f1_figures("marked", marked),
    }


def f1_figures(name: str, found: Sequence[tuple[dict[str, Any], Verdict, set[int]]]) -> Figures:
    """Character F1: pooled over all characters, and the mean over texts as SemEval counts it."""
    gold = [characters(row["spans"]) for row, _, _ in found]
    choices = {
        "ours": [taken(row["text"], verdict) for row, verdict, _ in found],
        "nothing": [set[int]() for _ in found],
        "all": [set(range(len(row["text"]))) for row, _, _ in found],
        "worst_sentence": [worst for _, _, worst in found],
    }
    figures: Figures = {}
    for choice, chosen in choices.items():
        pairs = list(zip(gold, chosen, strict=True))
        figures[f"f1_{name}_pooled_{choice}"] = round(pooled(pairs), 3)
        figures[f"f1_{name}_mean_{choice}"] = round(statistics.mean(f1(*p) for p in pairs), 3)
    return figures


def characters(places: Iterable[Sequence[int]]) -> set[int]:
    return {at for start, end in places for at in range(start, end)}


def taken(text: str, verdict: Verdict) -> set[int]:
    if verdict.blocked:
        return set(range(len(text)))
    return characters((r.span.start, r.span.end) for r in verdict.redactions)


def f1(gold: set[int], found: set[int]) -> float:
    if not gold and not found:
        return 1.0
    return 2 * len(gold & found) / (len(gold) + len(found))


def pooled(pairs: Sequence[tuple[set[int], set[int]]]) -> float:
    hits = sum(len(gold & found) for gold, found in pairs)
    return 2 * hits / (sum(len(gold) + len(found) for gold, found in pairs) or 1)


async def worst_sentence(guard: Guard, text: str) -> set[int]:
    """The sentence that scores worst alone."""

    async def score(span: Span) -> float:
        verdict = await guard.check(text[span.start : span.end], route="comments")
        return max([s.violation for s in verdict.scores], default=0.0)

    scored = [(await score(span), span) for span in sentences(text)]
    worst = max(scored, key=lambda each: each[0])[1]
    return set(range(worst.start, worst.end))


# ---------------------------------------------------------------------------------------- main

FIGURES: dict[str, Callable[[Path], Coroutine[Any, Any, Figures]]] = {
    "leaks": leaks,
    "cost": cost,
    "latency": latency,
    "alarms": alarms,
    "catches": catches,
    "spans": spans,
}


def rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 2) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("wanted", nargs="*", choices=[[], *FIGURES], default=[])
    given = parser.parse_args()
    found: Figures = {}
    for name in given.wanted or FIGURES:
        found |= asyncio.run(FIGURES[name](given.data))
    kept = machine.RESULTS / "streaming.json"
    before: Figures = json.loads(kept.read_text())["figures"] if kept.exists() else {}
    described = machine.describe(["gemma-guard", "gemma-guard-lite", "onnxruntime", "regex"])
    machine.keep("streaming", described, before | found)


if __name__ == "__main__":
    main()
