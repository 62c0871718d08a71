from __future__ import annotations

import pytest
from gemma_guard_lite.plain import plain

KNOWN = frozenset({"kill", "want", "shit", "hour", "cool", "fuck", "stab"})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("I w4n7 to k1ll you", "I want to kill you"),
        ("$h1t!", "shit!"),
        ("st4bb1ng", "st4bb1ng"),
        ("k1lls k1ll3d", "kills killed"),
        ("that is coooool and fuuuuck", "that is cool and fuck"),
        ("hello @somebody see https://example.org/x", "hello   see  "),
        ("write to [EMAIL_1] or [PHONE_12] now", "write to   or   now"),
        ("it is [redacted: hate_speech] here", "it is   here"),
        ("it is [redacted: them all] here", "it is [redacted: them all] here"),
        ("salt &amp; pepper", "salt & pepper"),
        ("k1ll w4n7 $h1t 4nd 3mb3zzl3 1n 70", "kill want shit and embezzle in to"),
    ],
)
def test_disguised_words_are_spelled_out(written: str, read: str) -> None:
    assert plain(written, KNOWN).text == read


@pytest.mark.parametrize(
    "text",
    ["mp3", "h2o", "covid19", "100k", "2nd", "x86", "c++", "WOW!!", "1984", "$100", "b2b", ""],
)
def test_ordinary_digits_and_signs_are_left_alone(text: str) -> None:
    assert plain(text, KNOWN).text == text


@pytest.mark.parametrize("text", ["k1ll &amp; $h1t soooo", "", "plain", "&#128514; @a coooool"])
def test_every_character_knows_where_it_stood(text: str) -> None:
    read = plain(text, KNOWN)
    assert len(read.origin) == len(read.text) + 1
    assert list(read.origin) == sorted(read.origin)
    assert read.original(0, len(read.text)) == (0, len(text))
