"""Scores that are known already, and questions asked once however many ask them at a time.

A question is one text under one policy. Its key is a hash under a key of this process: neither
texts nor anything to compare them by is kept. Scores are kept, never verdicts, errors or gaps.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias, TypeVar

from gemma_guard.errors import DeadlineExceeded, ScoringFailed
from gemma_guard.handover import on_a_loop
from gemma_guard.policy import Policy
from gemma_guard.scorer import Probe
from gemma_guard.verdict import Score, Stage

K = TypeVar("K")
V = TypeVar("V")

Key: TypeAlias = bytes
Scores: TypeAlias = tuple[Score, ...]
Ask: TypeAlias = Callable[[Sequence[Probe]], Awaitable[Sequence[Scores]]]
"""Asks a scorer: one tuple per probe, in it one score per policy, in order."""

# measured with tracemalloc on CPython 3.11 (tests/test_cache.py holds them to it)
_ENTRY_BYTES = 400
_SPAN_BYTES = 140

_REMEMBERED = 4096
"""Hash states and policies kept at hand; past it they are worked out anew."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the cache did and holds. A hit is a question answered from it."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    bytes: int = 0


class Store:
    """Scores by key: the least recently used leave when it is full, every one after its time.

    It has no clock and no lock.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._held: OrderedDict[Key, tuple[Score, float]] = OrderedDict()
        self._bytes = self._misses = 0
        self.hits = 0  # whoever makes use of `rows` counts them

    @property
    def counts(self) -> Counts:
        """So far and now."""
        return Counts(self.hits, self._misses, len(self._held), self._bytes)

    def get(self, key: Key, *, now: float) -> Score | None:
        """The score of `key` if it is held and not too old."""
        held = self._held.get(key)
        if held is None or held[1] <= now:
            self._misses += 1
            return None
        self._held.move_to_end(key)
        self.hits += 1
        return held[0]

    def rows(self, keys: Sequence[Sequence[Key]], *, now: float) -> list[Scores] | None:
        """The scores of all `keys`, or None: most questions end here, so it is quick."""
        held, found = self._held, []
        for row in keys:
            scores = []
            for key in row:
                one = held.get(key)
                if one is None or one[1] <= now:
                    return None
                held.move_to_end(key)
                scores.append(one[0])
            found.append(tuple(scores))
        return found

    def peek(self, key: Key, *, now: float) -> Score | None:
        """The same without counting as use."""
        held = self._held.get(key)
        return held[0] if held and held[1] > now else None

    def put(self, key: Key, score: Score, *, now: float) -> None:
        """Hold `score`, at the cost of those used longest ago."""
        self._drop(key)
        size = _size(score)
        if size > self._max_bytes:
            return
        self._held[key] = score, now + self._ttl_s
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> None:
        if held := self._held.pop(key, None):
            self._bytes -= _size(held[0])


def _size(score: Score) -> int:
    return _ENTRY_BYTES + _SPAN_BYTES * (len(score.spans) + (score.window is not None))


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """Questions that are being asked. Ends with their scores, or None: ask for yourself.

    An error reaches the others only from a call about one text: what broke it was not another.
    """

    deadline: float
    landing: Future[dict[Key, Score] | None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        """Let no one who waits cancel it for the others."""
        self.landing.set_running_or_notify_cancel()


_Open: TypeAlias = dict[Key, tuple[Probe, Policy]]
"""Questions without a score, each once, in order."""


class ScoreCache:
    """Stands between a caller and its scorers; for any event loop and thread.

    `ttl_s` in seconds; the bytes are estimated.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 2**20,
        ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = Store(max_bytes=max_bytes, ttl_s=ttl_s)
        self._lock = threading.Lock()
        self._keys = _Keys()
        self._clock = clock
        # used without the lock, one atomic operation at a time: the garbage collector may close a
        # caller, whose flight then ends, while this very thread holds it
        self._flights: dict[Key, _Flight] = {}

    @property
    def counts(self) -> Counts:
        """Hits and misses so far, entries and bytes now."""
        with self._lock:
            return self._store.counts

    def known(self, probe: Probe, *, fingerprint: str, tenant: str) -> Scores | None:
        """The scores of `probe`, if all are held; nobody is asked."""
        row = self._keys.of(probe, fingerprint, tenant)
        now = self._clock()
        with self._lock:
            held = self._store.rows((row,), now=now)
            if held is None:
                return None
            self._store.hits += len(row)
        return held[0]

    def unused(self, scores: Scores) -> None:
        """Count what was `known` as no hit after all."""
        with self._lock:
            self._store.hits -= len(scores)

    async def scores(
        self,
        probes: Sequence[Probe],
        ask: Ask,
        *,
        fingerprint: str,
        deadline: float,
        tenant: str = "",
    ) -> list[Scores]:
        """What `ask` would answer about `probes`, asking only what nobody knows or is asking.

        Scores are shared under one `fingerprint` of the scorer and one `tenant`. Where the caller
        that asks fails or is cancelled, one that waits asks instead; where it failed on this one
        text alone, all get its error. Nobody waits for another past its own `deadline` or the
        other's. Raises what `ask` raises, and `ScoringFailed` where the
        answer does not fit the probes.
        """
        keys = [self._keys.of(probe, fingerprint, tenant) for probe in probes]
        now = self._clock()
        with self._lock:
            held = self._store.rows(keys, now=now)
            if held is not None:
                self._store.hits += sum(map(len, held))
                return held
        known: dict[Key, Score] = {}
        while missing := self._look(probes, keys, known):
            known |= await self._ask_or_wait(missing, ask, deadline)
        return [tuple([known[key] for key in row]) for row in keys]

    def _look(
        self, probes: Sequence[Probe], keys: Sequence[Sequence[Key]], known: dict[Key, Score]
    ) -> _Open:
        """Add what is held to `known`; the questions that stay open."""
        missing: _Open = {}
        now = self._clock()
        with self._lock:
            for probe, row in zip(probes, keys, strict=True):
                for key, policy in zip(row, probe.policies, strict=True):
                    if key in known or key in missing:
                        continue
                    if (score := self._store.get(key, now=now)) is not None:
                        known[key] = score
                    else:
                        missing[key] = probe, policy
        return missing

    async def _ask_or_wait(self, missing: _Open, ask: Ask, deadline: float) -> dict[Key, Score]:
        """Scores of some of `missing`, at least one unless those who were asking gave up."""
        mine = _Flight(deadline)
        found: dict[Key, Score] = {}  # one of our own: `_fly` shares what it returns
        try:
            boarded = {key: self._board(key, mine) for key in missing}
            ours = {key: missing[key] for key, flight in boarded.items() if flight is mine}
            if ours:
                found |= await self._fly(ours, ask, mine)
        finally:
            self._land(missing, mine)
        others = dict.fromkeys(flight for flight in boarded.values() if flight is not mine)
        for flight in others:
            found |= await self._landed(flight, deadline) or {}
        return found

    async def _landed(self, flight: _Flight, deadline: float) -> dict[Key, Score] | None:
        """What `flight` brings, unless this caller has less time than the one that asks."""
        await on_a_loop()
        landing = asyncio.wrap_future(flight.landing)
        if flight.deadline <= deadline:
            return await landing
        try:
            async with asyncio.timeout(deadline - self._clock()):
                return await landing
        except TimeoutError:
            raise DeadlineExceeded("another caller was asking, and had more time") from None

    def _board(self, key: Key, mine: _Flight) -> _Flight:
        """Who asks about `key`: whoever began to, unless their time is over."""
        flight = self._flights.setdefault(key, mine)
        if flight is not mine and flight.deadline <= self._clock():
            self._flights[key] = flight = mine
        return flight

    async def _fly(self, ours: _Open, ask: Ask, mine: _Flight) -> dict[Key, Score]:
        """Ask about `ours`, and tell those who wait."""
        if held := self._meanwhile(ours):
            mine.landing.set_result(held)
            return held
        asked = _asked(ours.values())
        try:
            found = dict(zip(ours, _in_order(asked, await ask(asked)), strict=True))
        except Exception as error:
            if len(asked) == 1 and not isinstance(error, TimeoutError | DeadlineExceeded):
                mine.landing.set_exception(error)
            raise
        self._keep(found)
        mine.landing.set_result(found)
        return found

    def _meanwhile(self, keys: Iterable[Key]) -> dict[Key, Score]:
        """Answers that came between looking for them and beginning to ask."""
        now = self._clock()
        with self._lock:
            looked = {key: self._store.peek(key, now=now) for key in keys}
        return {key: score for key, score in looked.items() if score}

    def _keep(self, found: Mapping[Key, Score]) -> None:
        now = self._clock()
        with self._lock:
            for key, score in found.items():
                self._store.put(key, score, now=now)

    def _land(self, keys: Iterable[Key], mine: _Flight) -> None:
        """However it went: nobody waits for this flight any more."""
        for key in keys:
            if self._flights.get(key) is mine:
                self._flights.pop(key, None)
        if not mine.landing.done():
            mine.landing.set_result(None)


def _asked(questions: Iterable[tuple[Probe, Policy]]) -> list[Probe]:
    """`questions` as probes again, each of the policies that stay open."""
    grouped = groupby(questions, key=lambda question: id(question[0]))
    rows = [list(group) for _, group in grouped]
    return [_narrowed(row[0][0], tuple([policy for _, policy in row])) for row in rows]


def _narrowed(probe: Probe, policies: tuple[Policy, ...]) -> Probe:
    return probe if len(policies) == len(probe.policies) else replace(probe, policies=policies)


def _in_order(asked: Sequence[Probe], answer: Sequence[Scores]) -> list[Score]:
    """The scores of `answer`, one per question; a judge that mixes them up has failed."""
    names = [[policy.name for policy in probe.policies] for probe in asked]
    if [[score.policy for score in scores] for scores in answer] != names:
        raise ScoringFailed("the answer does not have one score per policy, in order")
    return [score for scores in answer for score in scores]


class _Keys:
    """Probes as keys; what is the same for many probes is hashed once."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._begun: dict[tuple[str, str, Stage, bool], hashlib.blake2b] = {}
        # by identity, since hashing a policy costs more than the rest; holding it keeps its id
        self._policies: dict[int, tuple[Policy, Key]] = {}
        self._read: dict[int, tuple[tuple[Policy, ...], list[Key]]] = {}

    def of(self, probe: Probe, fingerprint: str, tenant: str) -> list[Key]:
        """One key per policy of `probe`. The hint that a text continues another has no part."""
        prompt, policies = probe.prompt, probe.policies
        about = fingerprint, tenant, probe.stage, prompt is None
        hashing = (self._begun.get(about) or self._begin(about)).copy()
        if prompt is not None:
            hashing.update(_framed(prompt))
        hashing.update(probe.text.encode("utf-8", "surrogatepass"))
        _, read = self._read.get(id(policies)) or self._of_policies(policies)
        return [*map(hashing.digest().__add__, read)]

    def _begin(self, about: tuple[str, str, Stage, bool]) -> hashlib.blake2b:
        begun = self._hash(b"".join(_framed(str(part)) for part in about))
        return _remember(self._begun, about, begun)

    def _of_policies(self, policies: tuple[Policy, ...]) -> tuple[tuple[Policy, ...], list[Key]]:
        read = policies, [self._of_policy(policy) for policy in policies]
        return _remember(self._read, id(policies), read)

    def _of_policy(self, policy: Policy) -> Key:
        if remembered := self._policies.get(id(policy)):
            return remembered[1]
        # what the judge reads; bands are worked out anew
        read = policy.name, policy.guideline, policy.head, policy.patterns
        key = self._hash(repr(read).encode("utf-8", "surrogatepass")).digest()
        return _remember(self._policies, id(policy), (policy, key))[1]

    def _hash(self, begin: bytes) -> hashlib.blake2b:
        return hashlib.blake2b(begin, key=self._secret, digest_size=16)


def _remember(memory: dict[K, V], key: K, value: V) -> V:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
    return value


def _framed(text: str) -> bytes:
    """With its length first, so that no two rows of texts run together into the same bytes."""
    encoded = text.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(encoded), encoded)
