from __future__ import annotations

from gemma_guard_lite.cache import Cache


def test_what_was_kept_last_is_found_and_the_oldest_makes_room() -> None:
    cache = Cache[str](3_000)
    keys = [cache.key(bytes([number])) for number in range(4)]
    for key in keys[:2]:
        cache.put(key, "kept", 1_000)
    assert cache.get(keys[0]) == "kept"
    cache.put(keys[2], "kept", 1_000)
    assert [cache.get(key) for key in keys] == ["kept", None, "kept", None]


def test_what_is_too_large_is_not_kept() -> None:
    cache = Cache[str](1_000)
    cache.put(cache.key(b"a"), "kept", 5_000)
    assert cache.get(cache.key(b"a")) is None


def test_a_value_kept_again_counts_once() -> None:
    cache = Cache[int](3_000)
    for number in range(10):
        cache.put(cache.key(b"a"), number, 1_000)
    cache.put(cache.key(b"b"), 10, 1_000)
    assert cache.get(cache.key(b"a")) == 9


def test_nothing_is_found_once_it_was_cleared() -> None:
    cache = Cache[int](3_000)
    cache.put(cache.key(b"a"), 1, 8)
    cache.clear()
    assert cache.get(cache.key(b"a")) is None


def test_keys_tell_nothing_to_another_process() -> None:
    assert Cache[int](1).key(b"text") != Cache[int](1).key(b"text")
