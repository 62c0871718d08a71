"""Keyword scorer: for tests and documentation, where a verdict must be foreseeable."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from gemma_guard.policy import Policy
from gemma_guard.scorer import Priority, Probe, at_once
from gemma_guard.verdict import Score, Span, Stage
from gemma_guard.windows import Window, windows, worst

KEYWORDS: Mapping[str, Mapping[str, float]] = {
    "dangerous_content": {"pipe bomb": 0.97, "poison someone": 0.94, "self-harm": 0.4},
    "harassment": {"you are worthless": 0.88, "idiot": 0.55, "loser": 0.42},
    "hate_speech": {"vermin": 0.83, "go back to your country": 0.71},
    "sexually_explicit": {"explicit sex scene": 0.93, "aroused": 0.47},
}


class Fake:
    """Judges every policy: the worst keyword found is the violation, `rest` if none is.

    `keywords` maps policy name → keyword, whatever its case → violation in [0, 1]. A text of more
    than `window` words, if that is not 0, is read in windows of so many that overlap by a quarter.
    """

    def __init__(
        self,
        keywords: Mapping[str, Mapping[str, float]] = KEYWORDS,
        *,
        rest: float = 0.02,
        window: int = 0,
    ) -> None:
        self._keywords = {
            policy: {_keyword(word): _violation(at) for word, at in words.items()}
            for policy, words in keywords.items()
        }
        _violation(rest)
        self._rest = rest
        self._window = _words(window)
        words = sorted((policy, sorted(found.items())) for policy, found in self._keywords.items())
        text = repr((words, rest, window))
        self._fingerprint = f"fake-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def fingerprint(self) -> str:
        """A hash of the keywords."""
        return self._fingerprint

    def judges(self, policy: Policy, _stage: Stage, /) -> bool:
        """Whatever has no patterns."""
        return policy.kind == "judged"

    @at_once
    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """Scores with the places of every keyword found."""
        del deadline, priority
        read = self._in_windows if self._window else self._score
        return [tuple(read(p.text, policy) for policy in p.policies) for p in probes]

    def _in_windows(self, text: str, policy: Policy) -> Score:
        words = [word.span() for word in re.finditer(r"\S+", text)]
        read = windows(words, length=len(text), size=self._window, overlap=self._window // 4)
        return worst((window, self._within(text, window, policy)) for window in read)

    def _within(self, text: str, window: Window, policy: Policy) -> Score:
        if window.span is None:
            return Score(policy.name, self._rest)
        start, end = window.span.start, window.span.end
        score = self._score(text[start:end], policy)
        spans = (Span(span.start + start, span.end + start) for span in score.spans)
        return replace(score, spans=tuple(spans))

    def _score(self, text: str, policy: Policy) -> Score:
        lower, words = text.lower(), self._keywords.get(policy.name, {})
        found = {word: violation for word, violation in words.items() if word in lower}
        if not found:
            return Score(policy.name, self._rest)
        return Score(policy.name, max(found.values()), spans=tuple(_places(text, found)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Foreseeing(Fake):
    """The same, and keeps what it was given to read beforehand."""

    def __init__(self, keywords: Mapping[str, Mapping[str, float]] = KEYWORDS) -> None:
        super().__init__(keywords)
        self.foreseen: list[Probe] = []

    async def prepare(self, probe: Probe, /, *, deadline: float) -> None:
        """Nothing is gained by it."""
        del deadline
        self.foreseen.append(probe)


def _keyword(word: str) -> str:
    if not isinstance(word, str) or not word:
        raise ValueError(f"keyword {word!r}: text is needed")
    return word.lower()


def _words(window: int) -> int:
    if not isinstance(window, int) or window < 0:
        raise ValueError(f"window {window!r}: a number of words is needed")
    return window


def _violation(given: float) -> float:
    if not isinstance(given, int | float) or not 0.0 <= given <= 1.0:
        raise ValueError(f"violation {given!r}: a number in [0, 1] is needed")
    return given


def _places(text: str, words: Mapping[str, float]) -> list[Span]:
    places = (m.span() for word in words for m in re.finditer(re.escape(word), text, re.IGNORECASE))
    return [Span(start, end) for start, end in sorted(places)]
