"""Several servers with the same model: which one to ask, and which to leave alone for a while."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemma_guard.errors import ConfigError

_FIRST_REST_S, _LONGEST_REST_S = 1.0, 30.0


@dataclass(slots=True)
class Endpoint:
    """One server. `rests_until` is in seconds of `time.monotonic()`."""

    url: str
    under_way: int = 0
    failures: int = 0
    rests_until: float = 0.0

    def failed(self, now: float) -> None:
        """Leave it alone, for longer each time in a row."""
        rest_s = min(_FIRST_REST_S * 2**self.failures, _LONGEST_REST_S)
        self.failures, self.rests_until = self.failures + 1, now + rest_s

    def answered(self) -> None:
        """It is well."""
        self.failures, self.rests_until = 0, 0.0


def pick(endpoints: Sequence[Endpoint], now: float) -> Endpoint:
    """The one with the least to do among those that do not rest; else the first to come back."""
    return min(endpoints, key=lambda e: (max(0.0, e.rests_until - now), e.under_way))


def endpoints(urls: str | Iterable[str]) -> tuple[Endpoint, ...]:
    """One for each URL; `ConfigError` where there is none, or one that is no base of a server."""
    given = [urls] if isinstance(urls, str) else list(urls)
    if not given:
        raise ConfigError("urls: name one server at least")
    for url in given:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"urls: {url!r} does not begin with http:// or https://")
    return tuple(Endpoint(url.rstrip("/").removesuffix("/v1")) for url in dict.fromkeys(given))
