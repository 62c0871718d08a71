"""The scorer `lite`: the embedded judge behind gemma-guard's seam."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from gemma_guard import (
    Cause,
    DeadlineExceeded,
    NotServing,
    Policy,
    Priority,
    Probe,
    Score,
    ScoringFailed,
    Span,
    Stage,
    TextRefused,
)
from gemma_guard_lite.guidelines import head_for
from gemma_guard_lite.model import Judgement, Model, Tick, fingerprint
from gemma_guard_lite.reader import TooLong


class Lite:
    """A small classifier for ShieldGemma's four harms, on `threads` CPU cores, without a GPU.

    Model calls run on one thread of its own, a text at a time: what a text scores depends on
    nothing else, and callers on any loop are served in turn.
    """

    is_calibrated = True

    def __init__(self, *, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._threads = threads
        self._fingerprint = fingerprint()
        self._model: Model | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._closing = threading.Event()

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        return self._fingerprint

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        """Only what a head was trained for, or a policy that names one of the heads."""
        return head_for(policy, stage) is not None

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """One tuple per probe; a text longer than the encoder's window names its worst stretch."""
        del priority  # texts take milliseconds, and are served in the order they came
        model, worker = self._model, self._worker
        if model is None or worker is None:
            raise NotServing("lite is closed")
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(worker, self._judge, model, p, deadline) for p in probes]
        try:
            return list(await asyncio.gather(*jobs))
        finally:
            for job in jobs:
                job.cancel()

    def _judge(self, model: Model, probe: Probe, deadline: float) -> tuple[Score, ...]:
        try:
            judgement = _judged(model, probe, tick=lambda: self._check(deadline))
        except TooLong as error:
            raise TextRefused(Cause.TOO_MANY_WINDOWS, f"lite: {error}") from None
        return tuple(_score(policy, probe.stage, judgement) for policy in probe.policies)

    def _check(self, deadline: float) -> None:
        """Between windows: stop for a caller who is gone or a scorer that closes."""
        if self._closing.is_set():
            raise NotServing("lite was closed")
        if time.monotonic() >= deadline:
            raise DeadlineExceeded("lite did not answer before the deadline")

    async def __aenter__(self) -> Self:
        self._closing.clear()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="gemma-guard-lite")
        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(self._worker, self._load)
        return self

    def _load(self) -> Model:
        return Model(threads=self._threads)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()  # whoever still waits is answered with NotServing, one after the other
        worker, self._worker, self._model = self._worker, None, None
        if worker is not None:
            await asyncio.to_thread(worker.shutdown)


def _judged(model: Model, probe: Probe, *, tick: Tick) -> Judgement:
    if probe.stage is Stage.INPUT:
        return model.prompt(probe.text, tick=tick)
    return model.answer(probe.text, probe.prompt, tick=tick)


def _score(policy: Policy, stage: Stage, judgement: Judgement) -> Score:
    head = head_for(policy, stage)
    if head is None:
        raise ScoringFailed(f"lite was asked about {policy.name!r}, which it does not judge")
    margin, place = judgement.margins[head], judgement.places[head]
    window = Span(*place) if place and place[0] < place[1] else None
    raw = _sigmoid(judgement.raw[head])
    return Score(policy.name, _sigmoid(margin), raw=raw, margin=margin, window=window)


def _sigmoid(margin: float) -> float:
    return 0.5 + 0.5 * math.tanh(margin / 2)
