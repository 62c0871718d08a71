"""An LLM cache keeps what was let through, for one guard and route, and every hit is judged."""

# ruff: noqa: SLF001  the hooks of a subclass, and what a cache holds

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gemma_guard_langchain import wrap
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."


@pytest.fixture
def shared() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


def _guard(words: dict[str, float]) -> Guard:
    policy = Policy("violence", Bands(block=0.8), Bands(block=0.8), Guideline("in", "out"))
    return Guard.of([policy], Fake({"violence": words}))


async def test_r3_a_hit_spares_the_model(local: Any, guard: Guard, shared: InMemoryCache) -> None:
    guarded = wrap(local(answers=["first", "second"]), guard)
    said = [guarded.invoke("hi").content, (await guarded.ainvoke("hi")).content]

    assert said == ["first", "first"]
    assert len(guarded.heard) == len(shared._cache) == 1


async def test_r3_a_cached_raw_answer_is_never_served(
    local: Any, guard: Guard, shared: InMemoryCache
) -> None:
    raw = local(answers=[BAD])
    assert raw.invoke("hi").content == BAD
    before = dict(shared._cache)

    assert wrap(raw, guard).invoke("hi").content == REFUSAL
    assert (await wrap(raw, guard).ainvoke("hi")).content == REFUSAL
    assert shared._cache == before


@pytest.mark.parametrize("word", [BAD, "punch"])
def test_the_offending_text_is_not_in_the_cache(local: Any, guard: Guard, word: str) -> None:
    cache = InMemoryCache()
    guarded = wrap(local(answers=[word], cache=cache), guard)
    said = [guarded.invoke("hi").content, guarded.invoke(f"a {word}").content]

    assert word not in str(said)
    assert word not in str({key: [g.text for g in found] for key, found in cache._cache.items()})


def test_r3_a_changed_policy_judges_anew(local: Any, shared: InMemoryCache) -> None:
    raw = local(answers=["a punch"])
    mild, strict = wrap(raw, _guard({BAD: 0.9})), wrap(raw, _guard({"punch": 0.9}))

    assert [mild.invoke("hi").content, strict.invoke("hi").content] == ["a punch", REFUSAL]
    assert len(shared._cache) == 1


def test_the_raw_model_does_not_find_what_the_guarded_one_kept(
    local: Any, guard: Guard, shared: InMemoryCache
) -> None:
    raw = local(answers=["a punch", "another punch"])
    wrap(raw, guard).invoke("hi")

    assert raw.invoke("hi").content == "another punch"
    assert len(shared._cache) == 2


@pytest.mark.usefixtures("shared")
def test_settings_of_the_model_are_told_apart(local: Any, guard: Guard) -> None:
    guarded = wrap(local(answers=["one"]), guard)
    other = wrap(local(answers=["two"], model_name="local-2"), guard)

    assert [guarded.invoke("hi").content, other.invoke("hi").content] == ["one", "two"]


def test_a_model_told_not_to_cache_does_not(
    local: Any, guard: Guard, shared: InMemoryCache
) -> None:
    guarded = wrap(local(answers=["one", "two"], cache=False), guard)

    assert [guarded.invoke("hi").content for _ in range(2)] == ["one", "two"]
    assert shared._cache == {}
