"""The scorer `shieldgemma`: probes → questions → one batch after the other → scores."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from gemma_guard.batching import Batcher, Job, Limits, Run
from gemma_guard.errors import ConfigError, NotServing, PluginError
from gemma_guard.policy import Policy
from gemma_guard.prompt import template as template_named
from gemma_guard.scorer import Priority, Probe
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.scores import scores
from gemma_guard.scorers.shieldgemma.source import Source
from gemma_guard.scorers.shieldgemma.tokens import Encoder, tokenizer_for_text
from gemma_guard.verdict import Score, Stage
from gemma_guard.windows import Window

Answers = tuple[Reading, ...]

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_DTYPES = ("float32", "bfloat16")  # the softcaps leave float16 no room


class ShieldGemma:
    """ShieldGemma 2B, 9B or 27B on this machine.

    `model` is a folder or a model of the Hub, there at `revision`. A text of more than `window`
    tokens, by default of more than the context holds, is judged in windows, at most `max_windows`.
    `step_tokens` is how much one forward pass computes, by default what suits the device.
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
        self._open: _Open | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The model's files, the template's words, and the options that scores depend on."""
        window = f"{self._window or 'context'}x{self._max_windows}"
        parts = (self._source.fingerprint(), self._template.fingerprint, self._dtype, window)
        return " ".join(("shieldgemma", *parts))

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        """Whatever has a guideline, at the stages that the template has words for."""
        return policy.guideline is not None and stage in self._template.forms

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """One tuple per probe; `raw` is the recipe's probability, `margin` its logit gap."""
        opened = self._open
        if opened is None:
            raise NotServing("shieldgemma is closed")
        asked = await opened.asked(probes)
        jobs = [Job(q, q.tokens, deadline, priority) for cuts in asked for _, q in cuts]
        answers = iter(await opened.batcher.ask(jobs))
        return [
            scores(probe.policies, [window for window, _ in cuts], [next(answers) for _ in cuts])
            for probe, cuts in zip(probes, asked, strict=True)
        ]

    async def __aenter__(self) -> Self:
        self._open = await asyncio.to_thread(self._opened)
        return self

    def _opened(self) -> _Open:
        context = int(self._source.config().get("max_position_embeddings", 8192))
        encoder = Encoder(
            tokenizer_for_text(self._source.words() / "tokenizer.json"),
            self._template,
            context=context,
            window=self._window,
            max_windows=self._max_windows,
        )
        runs = [self._run(device, encoder.answers) for device in self._devices]
        limits = Limits(batch_tokens=self._step_tokens or 4096)
        batcher = Batcher(*runs, limits=limits, name="gemma-guard-shieldgemma")
        return _Open(encoder, batcher, ThreadPoolExecutor(1, "gemma-guard-tokens"))

    def _run(self, device: str, answers: tuple[int, int]) -> Run[Question, Answers]:
        # only here: torch takes seconds to import
        from gemma_guard.scorers.shieldgemma.model import load  # noqa: PLC0415

        return load(
            str(self._source.weights()),
            answers=answers,
            device=device,
            dtype=self._dtype,
            step_tokens=self._step_tokens,
        ).read

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
    batcher: Batcher[Question, Answers]
    thread: ThreadPoolExecutor

    async def asked(self, probes: Sequence[Probe]) -> list[list[tuple[Window, Question]]]:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self.thread, self.encoder.questions, p) for p in probes]
        try:
            return list(await asyncio.gather(*jobs))
        finally:
            for job in jobs:
                job.cancel()

    async def aclose(self) -> None:
        await self.batcher.aclose()
        await asyncio.to_thread(self.thread.shutdown)


def _checked_devices(devices: Sequence[str]) -> tuple[str, ...]:
    named = (devices,) if isinstance(devices, str) else tuple(devices)
    unknown = [name for name in named if not _DEVICE.fullmatch(str(name))]
    if unknown or not named:
        raise ConfigError(f"devices {list(named)!r}: use cpu, cuda or cuda:0, cuda:1 …")
    return named
