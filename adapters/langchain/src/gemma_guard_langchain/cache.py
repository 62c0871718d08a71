"""The application's LLM cache, under keys of the guard's own."""

from __future__ import annotations

from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache


class GuardedCache(BaseCache):
    """Finds what was kept for this guard and route; what is to be kept waits for its verdict.

    Only answers that were let through are kept, as they were let through. A hit is judged again,
    so neither an answer of the unguarded model nor an outdated decision is ever served.
    """

    def __init__(self, cache: BaseCache, key: str) -> None:
        self._cache = cache
        self._key = key
        self._place: tuple[str, str] | None = None

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """What was kept."""
        return self._cache.lookup(prompt, self._key + llm_string)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """What was kept."""
        return await self._cache.alookup(prompt, self._key + llm_string)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Note where the answer belongs; `keep` puts it there."""
        del return_val
        self._place = (prompt, self._key + llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Note where the answer belongs; `akeep` puts it there."""
        self.update(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Forget everything, the application's other answers included."""
        self._cache.clear(**kwargs)

    def keep(self, answers: RETURN_VAL_TYPE) -> None:
        """Keep what was let through, unless it came from here."""
        if self._place:
            self._cache.update(*self._place, answers)

    async def akeep(self, answers: RETURN_VAL_TYPE) -> None:
        """Keep what was let through, unless it came from here."""
        if self._place:
            await self._cache.aupdate(*self._place, answers)
