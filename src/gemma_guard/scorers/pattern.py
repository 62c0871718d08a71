"""The scorer of pattern policies: expressions, checksums and word lists, with exact spans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from importlib.metadata import version
from time import monotonic
from types import TracebackType
from typing import Self

import regex

from gemma_guard.errors import Cause, ConfigError, DeadlineExceeded, TextRefused, UsageError
from gemma_guard.handover import on_a_loop
from gemma_guard.policy import Patterns, Policy
from gemma_guard.scorer import Priority, Probe, at_once
from gemma_guard.scorers.allowance import Allowance, matches
from gemma_guard.scorers.detectors import finders
from gemma_guard.scorers.finder import Finder
from gemma_guard.scorers.unfinished import begins_at
from gemma_guard.verdict import Score, Span, Stage

_EDITION = 1  # raise it whenever the same text could be found to hold something else

_INLINE_CHARS = 4_000
_INLINE_S = 0.01  # how long an event loop may be held; what takes longer starts anew in a thread
_S_PER_CHAR = 1e-5
_SHORTEST_S = 0.05
_GRACE_S = 0.1  # for a thread to see that its time is up and say which policy it was
_MOST_SPANS = 200_000  # about 25 MB


class PatternScorer:
    """Judges pattern policies: a match is a violation of 1, with its exact place.

    Short texts are searched on the caller's event loop, longer ones in a thread. A text that takes
    more than 100 ms per 10,000 characters, or is not done by the deadline, is refused.
    """

    is_calibrated = True
    """A match is a match: there is no probability to be wrong about."""

    @cached_property
    def fingerprint(self) -> str:
        """Names the edition of the patterns and the versions of what they are matched with."""
        regex_version, phones = version("regex"), version("phonenumbers")
        return f"pattern:{_EDITION}:regex-{regex_version}:phonenumbers-{phones}"

    def judges(self, policy: Policy, _stage: Stage, /) -> bool:
        """Whether `policy` has patterns. `ConfigError` if they cannot be compiled.

        A guard asks this when it is made, so that no check has to wait for the compiling.
        """
        return policy.patterns is not None and bool(compile_patterns(policy.patterns, policy.name))

    @at_once
    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """Search each probe's text for each policy; `priority` makes no difference.

        Raises `TextRefused` for a text that is too costly to search, `DeadlineExceeded` where the
        search had no time to begin.
        """
        del priority
        if sum([len(probe.text) for probe in probes]) > _INLINE_CHARS:
            return await _in_thread(probes, deadline)
        brief = Allowance(min(deadline, monotonic() + _INLINE_S))
        try:
            return [_scores(probe, brief) for probe in probes]
        except TextRefused:
            return await _in_thread(probes, deadline)

    async def __aenter__(self) -> Self:
        """Nothing to load."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to free: a thread that still searches stops at its deadline."""


async def _in_thread(probes: Sequence[Probe], deadline: float) -> list[tuple[Score, ...]]:
    await on_a_loop()
    wait = deadline - monotonic()
    if wait <= 0:
        raise DeadlineExceeded("no time was left to search for patterns")
    try:
        async with asyncio.timeout(wait + _GRACE_S):
            return await asyncio.to_thread(_all_scores, probes, deadline)
    except TimeoutError:
        raise DeadlineExceeded("no thread was free to search for patterns") from None


def _all_scores(probes: Sequence[Probe], deadline: float) -> list[tuple[Score, ...]]:
    return [_scores(probe, _allowance(probe.text, deadline)) for probe in probes]


def _allowance(text: str, deadline: float) -> Allowance:
    cpu_s = max(_SHORTEST_S, _S_PER_CHAR * len(text))
    return Allowance(deadline, cpu_s=cpu_s, concurrent=True)


def _scores(probe: Probe, allowance: Allowance) -> tuple[Score, ...]:
    goes_on = probe.stream is not None
    return tuple([_score(probe.text, p, allowance, goes_on=goes_on) for p in probe.policies])


def _score(text: str, policy: Policy, allowance: Allowance, *, goes_on: bool) -> Score:
    if policy.patterns is None:
        raise UsageError(f"policy {policy.name!r} has no patterns to search for")
    wanted = compile_patterns(policy.patterns, policy.name)
    try:
        spans = _spans(text, wanted, allowance)
        hold_from = begins_at(text, wanted, allowance) if goes_on else None
    except TimeoutError:
        message = f"policy {policy.name!r}: the text takes too long to search"
        raise TextRefused(Cause.TOO_COSTLY, message) from None
    if len(spans) > _MOST_SPANS:
        message = f"policy {policy.name!r}: the text has more than {_MOST_SPANS:,} matches"
        raise TextRefused(Cause.TOO_COSTLY, message)
    violation = 1.0 if spans else 0.0
    return Score(policy.name, violation, spans=_merged(spans), hold_from=hold_from)


def _spans(text: str, wanted: tuple[Finder, ...], allowance: Allowance) -> list[Span]:
    """Everything found, in no order; a little more than `_MOST_SPANS` if there is as much."""
    spans: list[Span] = []
    for finder in wanted:
        if finder.needs in text:
            for span in _found(text, finder, allowance):
                spans.append(span)
                if len(spans) > _MOST_SPANS:
                    return spans
    return spans


def _found(text: str, finder: Finder, allowance: Allowance) -> Iterator[Span]:
    for match in matches(finder.pattern, text, allowance):
        for start, end in finder.places(match):
            if start < end:  # an expression may match nothing at all
                yield Span(start, end, finder.kind)


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    """In order, overlapping ones as one of the kind of the first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if kept and span.start < kept[-1].end:
            last = kept[-1]
            kept[-1] = Span(last.start, max(last.end, span.end), last.kind)
        else:
            kept.append(span)
    return tuple(kept)


def compile_patterns(patterns: Patterns, policy: str) -> tuple[Finder, ...]:
    """What `patterns` look for. `ConfigError` names `policy` and what cannot be compiled."""
    try:
        return _compiled(patterns)
    except ConfigError as error:
        raise ConfigError(f"policy {policy!r}: {error}") from None


@lru_cache(maxsize=1024)
def _compiled(patterns: Patterns) -> tuple[Finder, ...]:
    detected = [
        finder
        for detector in patterns.detectors
        for finder in finders(detector, regions=patterns.regions)
    ]
    words = [Finder("word", _words(patterns.words))] if patterns.words else []
    return (*detected, *words, *map(_expression, patterns.expressions))


def _expression(expression: str) -> Finder:
    try:
        return Finder("expression", regex.compile(expression, regex.VERSION0))
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        raise ConfigError(f"expression {expression!r} cannot be compiled: {error}") from error


def _words(words: tuple[str, ...]) -> regex.Pattern[str]:
    """One pattern for all `words`, whole ones where the script puts spaces between words."""
    if not all(word.strip() for word in words):
        raise ConfigError("words: an empty word would be found everywhere")
    unspaced = [word for word in words if _UNSPACED.search(word)]
    spaced = [word for word in words if not _UNSPACED.search(word)]
    bounded = [rf"(?<!\w)(?:{_any_of(spaced)})(?!\w)"] if spaced else []
    return regex.compile(
        "|".join([*bounded, *map(_phrase, sorted(unspaced, key=len, reverse=True))]),
        regex.IGNORECASE | regex.VERSION0,
    )


def _any_of(words: list[str]) -> str:
    """The longest of `words`, arranged by first letter: a search tries letters before words."""
    rests: dict[str, list[str]] = {}
    for word in sorted(map(str.strip, words), key=len, reverse=True):
        rests.setdefault(word[0], []).append(_phrase(word[1:]))
    return "|".join(
        f"{regex.escape(letter)}(?:{'|'.join(group)})" for letter, group in rests.items()
    )


def _phrase(phrase: str) -> str:
    """`phrase`, with any whitespace where it has some."""
    return r"\s++".join(map(regex.escape, _WHITESPACE.split(phrase)))


_WHITESPACE = regex.compile(r"\s+")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
