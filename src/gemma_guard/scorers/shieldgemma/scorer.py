"""The scorer `shieldgemma`: probes → questions → one batch after the other → scores."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from tokenizers import Tokenizer

from gemma_guard.errors import ConfigError, NotServing, PluginError
from gemma_guard.policy import Policy
from gemma_guard.prompt import template as template_named
from gemma_guard.scorer import Batch, Check, Observe, Priority, Probe, unobserved
from gemma_guard.scorers.shieldgemma.checks import examination, ids_check, mass_check, warm_up
from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.scorers.shieldgemma.fleet import Fleet
from gemma_guard.scorers.shieldgemma.licence import LICENCE
from gemma_guard.scorers.shieldgemma.packing import STEP_TOKENS
from gemma_guard.scorers.shieldgemma.scores import scores
from gemma_guard.scorers.shieldgemma.source import Source
from gemma_guard.scorers.shieldgemma.tokens import Encoder, tokenizer_for_text
from gemma_guard.scorers.shieldgemma.wire import EngineSpec
from gemma_guard.scorers.shieldgemma.worker import Patience, Worker
from gemma_guard.scorers.shieldgemma.writing import written
from gemma_guard.turns import Job, Limits
from gemma_guard.verdict import Score, Stage
from gemma_guard.windows import Window

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_DTYPES = ("float32", "bfloat16")  # the softcaps leave float16 no room


class ShieldGemma:
    """ShieldGemma 2B, 9B or 27B on this machine.

    `model` is a folder or a model of the Hub, there at `revision`. A text of more than `window`
    tokens, by default of more than the context holds, is judged in windows, at most `max_windows`.
    `step_tokens` is how much one forward pass computes, by default what suits the device. Each
    device has a process of its own, which is killed where a batch takes longer than `step_s`, 30 on
    a GPU and 300 on a CPU, or loading longer than `load_s`, in seconds. `mass` has P(Yes) + P(No)
    computed, for `examine`.
    """

    def __init__(
        self,
        model: str = "google/shieldgemma-2b",
        *,
        devices: Sequence[str] = ("cpu",),
        dtype: str = "float32",
        template: str = "hf-chat",
        revision: str | None = None,
        window: int | None = None,
        max_windows: int = 16,
        step_tokens: int | None = None,
        step_s: float | None = None,
        load_s: float = 600.0,
        mass: bool = False,
    ) -> None:
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise PluginError(
                    f"shieldgemma needs the package {package!r}, which is not installed; "
                    "try: pip install 'gemma-guard[shieldgemma]'"
                )
        self._devices = _checked_devices(devices)
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype {dtype!r}: use one of {', '.join(_DTYPES)}")
        for name, value in (("window", window), ("max_windows", max_windows)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value!r}: use 1 or more")
        self._source = Source(str(model), revision)
        self._dtype = dtype
        self._template = template_named(template)
        self._window, self._max_windows, self._step_tokens = window, max_windows, step_tokens
        self._mass = mass
        self._load_s, self._step_s = load_s, step_s
        self._open: _Open | None = None
        self._observe: Observe = unobserved

    @cached_property
    def _weights(self) -> str:
        return self._source.fingerprint()  # reads all of them

    @cached_property
    def fingerprint(self) -> str:
        """The model's files, the template's words, and the options that scores depend on."""
        window = f"{self._window or 'context'}x{self._max_windows}"
        parts = (self._weights, self._template.fingerprint, self._dtype, window)
        return " ".join(("shieldgemma", *parts))

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        """Whatever has a guideline, at the stages that the template has words for."""
        return policy.guideline is not None and stage in self._template.forms

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """One tuple per probe; `raw` is the recipe's probability, `margin` its logit gap."""
        opened = self._opened()
        asked = await opened.asked(probes)
        jobs = [Job(q, q.tokens, deadline, priority, q.stream) for cuts in asked for _, q in cuts]
        answers = iter(await opened.fleet.ask(jobs))
        return [
            scores(probe.policies, [window for window, _ in cuts], [next(answers) for _ in cuts])
            for probe, cuts in zip(probes, asked, strict=True)
        ]

    def observed_by(self, observe: Observe, /) -> None:
        """Tell `observe` of every batch from now on, and nobody else any more."""
        self._observe = observe

    def describe(self) -> Mapping[str, str]:
        """Device, model, template, licence; the processes, while it is open."""
        told = {
            "model": f"{self._source.model}, revision {self._source.revision or 'as it is here'}",
            "weights": self._weights,
            "device": f"{', '.join(self._devices)}, {self._dtype}",
            "template": self._template.fingerprint,
            "licence": LICENCE,
        }
        return told | (self._open.describe() if self._open else {})

    async def examine(self, *, deadline: float) -> Sequence[Check]:
        """Whether the ids of both labels are Gemma 2's; their mass, where that is computed."""
        opened = self._opened()
        checks = [ids_check(opened.encoder.answers)]
        if self._mass:
            questions = examination(opened.encoder)
            jobs = [Job(q, q.tokens, deadline, Priority.BACKGROUND) for q in questions]
            readings = [reading for row in await opened.fleet.ask(jobs) for reading in row]
            checks.append(mass_check([reading.mass or 0.0 for reading in readings]))
        return checks

    async def reason(self, probe: Probe, /, *, tokens: int, deadline: float) -> str:
        """The generating mode, in a process of its own that loads the model once more."""
        opened = self._opened()
        (_, question), *_ = (await opened.asked([probe]))[0]
        folder = self._source.weights()
        found = await asyncio.to_thread(
            written,
            str(folder),
            (*question.prefix, *question.suffixes[0]),
            device=self._devices[0],
            dtype=self._dtype,
            tokens=tokens,
            within_s=deadline - time.monotonic(),
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return str(tokenizer.decode(found, skip_special_tokens=True))

    async def __aenter__(self) -> Self:
        opened = await asyncio.to_thread(self._prepared)
        try:
            await opened.fleet.__aenter__()
        except BaseException:
            opened.thread.shutdown()
            raise
        self._open = opened
        return self

    def _opened(self) -> _Open:
        if self._open is None:
            raise NotServing("shieldgemma is closed")
        return self._open

    def _prepared(self) -> _Open:
        context = int(self._source.config().get("max_position_embeddings", 8192))
        encoder = Encoder(
            tokenizer_for_text(self._source.words() / "tokenizer.json"),
            self._template,
            context=context,
            window=self._window,
            max_windows=self._max_windows,
        )
        at_once = self._step_tokens or min(STEP_TOKENS[d.partition(":")[0]] for d in self._devices)
        workers = [self._worker(device, encoder) for device in self._devices]
        fleet = Fleet(workers, limits=Limits(batch_tokens=at_once), observe=self._tell)
        return _Open(encoder, fleet, ThreadPoolExecutor(1, "gemma-guard-tokens"))

    def _worker(self, device: str, encoder: Encoder) -> Worker:
        options = {
            "folder": str(self._source.weights()),
            "answers": encoder.answers,
            "device": device,
            "dtype": self._dtype,
            "step_tokens": self._step_tokens,
            "mass": self._mass,
        }
        return Worker(
            EngineSpec("gemma_guard.scorers.shieldgemma.model:load", options),
            name=f"shieldgemma on {device}",
            warm_up=warm_up(encoder),
            patience=Patience(load_s=self._load_s, step_s=self._step_s or _step_s(device)),
        )

    def _tell(self, batch: Batch) -> None:
        self._observe(batch)  # whoever it is by now

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.aclose()


@dataclass(frozen=True, slots=True)
class _Open:
    """What is there while the scorer is open; texts are encoded on a thread of their own."""

    encoder: Encoder
    fleet: Fleet
    thread: ThreadPoolExecutor

    async def asked(self, probes: Sequence[Probe]) -> list[list[tuple[Window, Question]]]:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self.thread, self.encoder.questions, p) for p in probes]
        try:
            return list(await asyncio.gather(*jobs))
        finally:
            for job in jobs:
                job.cancel()

    def describe(self) -> dict[str, str]:
        yes, no = self.encoder.answers
        return {"tokens": f"Yes {yes}, No {no}", "processes": self.fleet.describe()}

    async def aclose(self) -> None:
        await self.fleet.__aexit__(None, None, None)
        await asyncio.to_thread(self.thread.shutdown)


def _step_s(device: str) -> float:
    return 300.0 if device == "cpu" else 30.0


def _checked_devices(devices: Sequence[str]) -> tuple[str, ...]:
    named = (devices,) if isinstance(devices, str) else tuple(devices)
    unknown = [name for name in named if not _DEVICE.fullmatch(str(name))]
    if unknown or not named:
        raise ConfigError(f"devices {list(named)!r}: use cpu, cuda or cuda:0, cuda:1 …")
    return named
