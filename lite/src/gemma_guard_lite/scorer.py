"""The scorer `lite`: the embedded judge behind gemma-guard's seam."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import Self, TypeAlias

from gemma_guard import (
    Batch,
    Batcher,
    Cause,
    DeadlineExceeded,
    Job,
    Limits,
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

_ONE_TEXT = Limits(batch_jobs=1)
_CHARS_A_TOKEN = 4
_MANY = 64
"""Questions in line from which on nothing is read beforehand: that would take their place."""
_Asked: TypeAlias = Callable[[Model], tuple[Score, ...]]


class Lite:
    """A small classifier for ShieldGemma's four harms, on `threads` CPU cores, without a GPU.

    Model calls run on one thread of its own, a text at a time: what a text scores depends on
    nothing else. Callers on any loop and thread are served live checks first, by deadline.
    """

    is_calibrated = True

    def __init__(self, *, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._threads = threads
        self._fingerprint = fingerprint()
        self._batcher: Batcher[_Asked, tuple[Score, ...]] | None = None
        self._closing = threading.Event()
        self._observe: Callable[[Batch], None] = lambda _batch: None

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        return self._fingerprint

    def describe(self) -> Mapping[str, str]:
        """What it runs on."""
        runtime = f"onnxruntime {version('onnxruntime')}, int8"
        return {
            "model": self._fingerprint,
            "device": f"cpu, {self._threads} thread{'s' if self._threads > 1 else ''}",
            "runtime": runtime,
            "licence": "Apache-2.0; sources of the weights: NOTICE of gemma-guard-lite",
        }

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        """Only what a head was trained for, or a policy that names one of the heads."""
        return head_for(policy, stage) is not None

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """One tuple per probe; a text longer than the encoder's window names its worst stretch."""
        batcher = self._batcher
        if batcher is None:
            raise NotServing("lite is closed")
        return await batcher.ask(
            Job(partial(self._judge, probe, deadline), _tokens(probe), deadline, priority)
            for probe in probes
        )

    async def prepare(self, probe: Probe, /, *, deadline: float) -> None:
        """Read the prompt, and of the answer what there is, so that judging it need not."""
        batcher = self._batcher
        if batcher is not None and batcher.waiting[0] < _MANY:
            reading = partial(self._read, probe, deadline)
            tokens = _tokens(probe) + len(probe.prompt or "") // _CHARS_A_TOKEN
            await batcher.ask([Job(reading, tokens, deadline, Priority.BACKGROUND)])

    def observed_by(self, observe: Callable[[Batch], None], /) -> None:
        """Tell `observe` of every text from now on, and nobody else any more."""
        self._observe = observe

    def _tell(self, batch: Batch) -> None:
        self._observe(batch)  # whoever it is by now

    def _judge(self, probe: Probe, deadline: float, model: Model) -> tuple[Score, ...]:
        try:
            judgement = _judged(model, probe, tick=lambda: self._check(deadline))
        except TooLong as error:
            raise TextRefused(Cause.TOO_MANY_WINDOWS, f"lite: {error}") from None
        return tuple(_score(policy, probe.stage, judgement) for policy in probe.policies)

    def _read(self, probe: Probe, deadline: float, model: Model) -> tuple[Score, ...]:
        model.foresee(probe.text, probe.prompt, tick=lambda: self._check(deadline))
        return ()

    def _check(self, deadline: float) -> None:
        """Between windows: stop for a caller who is gone or a scorer that closes."""
        if self._closing.is_set():
            raise NotServing("lite was closed")
        if time.monotonic() >= deadline:
            raise DeadlineExceeded("lite did not answer before the deadline")

    async def __aenter__(self) -> Self:
        self._closing.clear()
        model = await asyncio.to_thread(Model, threads=self._threads)
        self._batcher = Batcher(
            partial(_answers, model),
            limits=_ONE_TEXT,
            name="gemma-guard-lite",
            observe=self._tell,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()  # who is being answered is told so before the next window
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            await batcher.aclose(drain=False)


def _answers(model: Model, asked: Sequence[_Asked]) -> list[tuple[Score, ...]]:
    return [ask(model) for ask in asked]


def _tokens(probe: Probe) -> int:
    return 1 + len(probe.text) // _CHARS_A_TOKEN


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
