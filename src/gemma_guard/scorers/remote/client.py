"""Posting to one of several servers, and to another where it fails, within a deadline."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_before_delay, wait_exponential

from gemma_guard.errors import (
    ConfigError,
    DeadlineExceeded,
    Overloaded,
    ScoringError,
    ScoringFailed,
    Unreachable,
)
from gemma_guard.records import logger
from gemma_guard.scorers.remote import answers
from gemma_guard.scorers.remote.endpoints import Endpoint, pick

_CONNECT_S, _CHECK_S = 2.0, 5.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0


@dataclass(frozen=True, slots=True)
class Access:
    """How servers are reached. `attempt_s` is what one of several gets before another is asked."""

    key: str = field(default="", repr=False)
    ca_file: str = ""
    attempt_s: float = 5.0
    check_every_s: float = 5.0
    most_at_once: int = 256


class _Again(Exception):
    """Another server may do better, or this one later."""

    def __init__(self, error: ScoringError) -> None:
        super().__init__(str(error))
        self.error = error


class Client:
    """Used on one event loop. No answer is quoted in an error, for it may quote what was judged.

    It asks the servers named and no proxy, follows no redirect, and reads no .netrc.
    """

    def __init__(self, endpoints: Sequence[Endpoint], access: Access) -> None:
        self._endpoints, self._access = endpoints, access
        verify = ssl.create_default_context(cafile=access.ca_file) if access.ca_file else True
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {access.key}"} if access.key else {},
            verify=verify,
            trust_env=False,
            limits=httpx.Limits(max_connections=access.most_at_once),
        )
        self._checking: asyncio.Task[None] | None = None
        self.most_tokens: int | None = None

    async def post(self, path: str, body: Mapping[str, Any], deadline: float) -> bytes:
        """The answer of the first server that gives one; raises `ScoringError` by `deadline`."""
        if sum(e.under_way for e in self._endpoints) >= self._access.most_at_once:
            raise Overloaded(f"{self._access.most_at_once} requests are under way")
        left_s = deadline - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                return await self._tried(path, body, left_s, deadline)
        except TimeoutError:
            raise DeadlineExceeded("no server answered before the deadline") from None
        except _Again as last:
            raise last.error from None

    async def _tried(
        self, path: str, body: Mapping[str, Any], left_s: float, deadline: float
    ) -> bytes:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_before_delay(left_s),
            wait=wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
            reraise=True,
        ):
            with attempt:
                return await self._once(path, body, deadline)
        raise AssertionError  # tenacity returns or raises

    async def _once(self, path: str, body: Mapping[str, Any], deadline: float) -> bytes:
        endpoint = pick(self._endpoints, time.monotonic())
        with _under_way(endpoint):
            try:
                response = await self._http.post(
                    endpoint.url + path, json=body, timeout=self._patience(deadline)
                )
            except httpx.TransportError as error:
                endpoint.failed(time.monotonic())
                name = type(error).__name__
                raise _Again(Unreachable(f"{endpoint.url} does not answer: {name}")) from None
        _check_status(response, endpoint)
        endpoint.answered()
        return response.content

    def _patience(self, deadline: float) -> httpx.Timeout:
        """A server that hangs leaves time for another one."""
        left_s = deadline - time.monotonic()
        attempt_s = left_s if len(self._endpoints) == 1 else min(self._access.attempt_s, left_s / 2)
        return httpx.Timeout(max(attempt_s, 0.001), connect=min(_CONNECT_S, max(left_s / 2, 0.001)))

    async def open(self, model: str, context: int) -> Self:
        """Check every server; raises `ConfigError` where one says that `model` is not to be had.

        One that does not answer may come back: it is looked for until `aclose`.
        """
        for endpoint in self._endpoints:
            served = await self._served(endpoint)
            if served is not None:
                self.most_tokens = _most_tokens(served, model, context, endpoint.url)
        self._checking = asyncio.create_task(self._check())
        return self

    async def aclose(self) -> None:
        """Close every connection; what is under way fails."""
        if self._checking:
            self._checking.cancel()
        await self._http.aclose()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self._access.check_every_s)
            for endpoint in self._endpoints:
                if endpoint.failures:
                    await self._look(endpoint)

    async def _look(self, endpoint: Endpoint) -> None:
        try:
            await self._served(endpoint)
        except ConfigError as refused:
            logger.warning("%s", refused)

    async def _served(self, endpoint: Endpoint) -> answers.Models | None:
        """What it serves; None where it does not answer, or does not say."""
        try:
            response = await self._http.get(f"{endpoint.url}/v1/models", timeout=_CHECK_S)
        except httpx.TransportError as error:
            endpoint.failed(time.monotonic())
            logger.warning("%s does not answer: %s", endpoint.url, type(error).__name__)
            return None
        if response.status_code in _REFUSED:
            raise ConfigError(f"{endpoint.url} refuses the key (HTTP {response.status_code})")
        if response.is_server_error:
            endpoint.failed(time.monotonic())
            return None
        endpoint.answered()
        try:
            return answers.read(answers.Models, response.content)
        except ScoringFailed:
            return None


_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_FULL = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


@contextmanager
def _under_way(endpoint: Endpoint) -> Iterator[None]:
    endpoint.under_way += 1
    try:
        yield
    finally:
        endpoint.under_way -= 1


def _check_status(response: httpx.Response, endpoint: Endpoint) -> None:
    if response.is_success:
        return
    said = f"{endpoint.url} answers HTTP {response.status_code}"
    is_full = response.status_code in _FULL
    if not (is_full or response.is_server_error):
        raise ScoringFailed(said)
    endpoint.failed(time.monotonic())
    raise _Again(Overloaded(said) if is_full else ScoringFailed(said))


def _most_tokens(served: answers.Models, model: str, context: int, url: str) -> int | None:
    """How long a prompt may be, where it says so."""
    found = {one.id: one for one in served.data}
    if model not in found:
        raise ConfigError(f"{url} serves {', '.join(sorted(found)) or 'nothing'}, not {model!r}")
    most = found[model].max_model_len
    if most is not None and most < context:
        raise ConfigError(f"{url} takes {most} tokens and would cut off more: set context: {most}")
    return most
