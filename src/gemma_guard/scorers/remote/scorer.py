"""The scorer `remote`: ShieldGemma's exact questions, put to a server that runs the model."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gemma_guard.errors import Cause, ConfigError, NotServing, ScoringFailed, TextRefused
from gemma_guard.policy import Policy
from gemma_guard.portal import Portal
from gemma_guard.prompt import template as template_called
from gemma_guard.scorer import Check, Priority, Probe
from gemma_guard.scorers.remote.answers import Writing, read
from gemma_guard.scorers.remote.client import Access, Client
from gemma_guard.scorers.remote.dialects import Asking, Dialect
from gemma_guard.scorers.remote.dialects import dialect as dialect_called
from gemma_guard.scorers.remote.endpoints import endpoints
from gemma_guard.scorers.remote.trial import cuts_silently, trial
from gemma_guard.scorers.shieldgemma.engine import Question, Reading
from gemma_guard.scorers.shieldgemma.licence import LICENCE
from gemma_guard.scorers.shieldgemma.scores import scores
from gemma_guard.scorers.shieldgemma.tokens import Encoder, tokenizer_for_text
from gemma_guard.verdict import Score, Stage


class Remote:
    """ShieldGemma behind vLLM, SGLang, or any server of OpenAI's completions.

    `model` is the name it is served under, `tokenizer` the tokenizer.json that belongs to it.
    `context` is how many tokens a prompt may have; no longer one is ever sent. The key, if the
    servers want one, is in the environment variable `key_env`.
    """

    def __init__(
        self,
        model: str,
        urls: str | Sequence[str],
        *,
        tokenizer: str,
        dialect: str = "vllm",
        template: str = "hf-chat",
        context: int = 8192,
        window: int | None = None,
        max_windows: int = 16,
        key_env: str = "",
        ca_file: str = "",
        attempt_s: float = 5.0,
        check_every_s: float = 5.0,
        most_at_once: int = 256,
    ) -> None:
        self._model, self._context = model, context
        self._dialect_name, self._dialect = dialect, dialect_called(dialect)
        self._template = template_called(template)
        self._endpoints = endpoints(urls)
        self._access = Access(_key(key_env), ca_file, attempt_s, check_every_s, most_at_once)
        file = _file(tokenizer)
        self._encoder = Encoder(
            tokenizer_for_text(file),
            self._template,
            context=context - 1,  # one token is left for the answer
            window=window,
            max_windows=max_windows,
        )
        self._tokens = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        self._portal = Portal()
        self._client: Client | None = None

    @property
    def fingerprint(self) -> str:
        """Of what is sent. What the server makes of it, only its own logs can tell."""
        sent = self._dialect_name, self._model, self._template.fingerprint, self._tokens
        return "-".join(("remote", *sent, str(self._context)))

    def describe(self) -> Mapping[str, str]:
        """What it asks, and where."""
        yes, no = self._encoder.answers
        return {
            "model": self._model,
            "servers": ", ".join(endpoint.url for endpoint in self._endpoints),
            "dialect": f"{self._dialect_name} ({self._dialect.path}), not yet run on a live server",
            "template": self._template.fingerprint,
            "tokens": f"Yes {yes}, No {no}; tokenizer {self._tokens}, {self._context} at most",
            "licence": LICENCE,
        }

    async def examine(self, *, deadline: float) -> Sequence[Check]:
        """Ids, softmax, truncation and label mass on the live server."""
        client = self._opened()
        asking = Asking(self._model, *self._encoder.answers)

        async def ask(question: Question, asking: Asking, way: Dialect) -> list[Reading]:
            return await self._read(client, question, asking, deadline, way)

        async def all_checks() -> list[Check]:
            checks = await trial(ask, self._encoder, asking, self._dialect)
            if client.most_tokens:
                most = client.most_tokens
                checks.append(await cuts_silently(ask, asking, self._dialect, most))
            return checks

        return await asyncio.wrap_future(self._portal.submit(all_checks()))

    async def reason(self, probe: Probe, /, *, tokens: int, deadline: float) -> str:
        """The generating mode, by `/v1/completions`, which all three engines have."""
        client = self._opened()
        _, question = self._encoder.questions(probe)[0]
        prompt = (*question.prefix, *question.suffixes[0])
        if len(prompt) + tokens > self._context:
            room = f"{len(prompt)} tokens of {self._context} leave no {tokens} to write"
            raise TextRefused(Cause.TOO_LONG, room)
        body = {"model": self._model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        posting = self._portal.submit(client.post("/v1/completions", body, deadline))
        told = await asyncio.wrap_future(posting)
        return read(Writing, told).choices[0].text

    def judges(self, policy: Policy, stage: Stage, /) -> bool:
        """Any guideline, at the stages that the template has words for."""
        return policy.guideline is not None and stage in self._template.forms

    async def score(
        self, probes: Sequence[Probe], /, *, deadline: float, priority: Priority
    ) -> list[tuple[Score, ...]]:
        """One tuple per probe; a long text is judged in windows, and the worst one counts."""
        del priority  # servers refuse one unless they were started for it
        client = self._opened()
        scoring = self._portal.submit(self._scored(client, probes, deadline))
        try:
            return await asyncio.wrap_future(scoring)
        except (Exception, asyncio.CancelledError):
            task = asyncio.current_task()
            if self._client is client or (task and task.cancelling()):
                raise
            raise NotServing("remote was closed") from None

    def _opened(self) -> Client:
        if self._client is None:
            raise NotServing("remote is closed")
        return self._client

    async def _scored(
        self, client: Client, probes: Sequence[Probe], deadline: float
    ) -> list[tuple[Score, ...]]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._probed(client, p, deadline)) for p in probes]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _probed(self, client: Client, probe: Probe, deadline: float) -> tuple[Score, ...]:
        asked = await asyncio.to_thread(self._encoder.questions, probe)
        asking = Asking(self._model, *self._encoder.answers, salt=_salt(probe.tenant))
        way = self._dialect
        reading = (self._read(client, question, asking, deadline, way) for _, question in asked)
        readings = await asyncio.gather(*reading)
        return scores(probe.policies, [window for window, _ in asked], readings)

    async def _read(
        self, client: Client, question: Question, asking: Asking, deadline: float, way: Dialect
    ) -> list[Reading]:
        bodies = way.bodies(question, asking)
        told = [await client.post(way.path, body, deadline) for body in bodies]
        readings = way.readings(told)
        if len(readings) != len(question.suffixes):
            count = f"{len(readings)} answers to {len(question.suffixes)} questions"
            raise ScoringFailed(f"the server gives {count}")
        return readings

    async def __aenter__(self) -> Self:
        try:
            self._client = await asyncio.wrap_future(self._portal.submit(self._open()))
        except BaseException:
            self._portal.close()
            raise
        return self

    async def _open(self) -> Client:
        client = Client(self._endpoints, self._access)
        try:
            return await client.open(self._model, self._context)
        except BaseException:
            await client.aclose()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        if client:
            await asyncio.wrap_future(self._portal.submit(client.aclose()))
        self._portal.close()


def _file(tokenizer: str) -> Path:
    path = Path(tokenizer)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"tokenizer: {file} is not there; it is part of every ShieldGemma")
    return file


def _key(variable: str) -> str:
    if variable and not os.environ.get(variable):
        raise ConfigError(f"key_env: the environment has no {variable}")
    return os.environ[variable] if variable else ""


def _salt(tenant: str) -> str:
    """Not the tenant itself: a key alias is no business of the server's."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:32] if tenant else ""
