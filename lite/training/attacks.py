"""Cheap disguises a text may wear: the verdict should not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_BEFORE = (
    "Thank you for the recipe, the bread turned out well. The garden needs water in the evening, "
    "and the tomatoes are almost ripe. We visited the lighthouse on Sunday and took the small "
    "train back along the coast. "
)
_AFTER = (
    " The library opens at nine and the reading room has new lamps. My cousin is learning to play "
    "the cello and practises every morning. Please remind me to buy stamps and a birthday card."
)
_LEET = str.maketrans("aeiostAEIOST", "431057431057")


def padded(text: str) -> str:
    """Harmless sentences before and after."""
    return f"{_BEFORE}{text}{_AFTER}"


def buried(text: str) -> str:
    """Twenty times as many harmless sentences: 120."""
    return f"{_BEFORE * 20}{text}{_AFTER * 20}"


def leetspeak(text: str) -> str:
    """Six letters as digits, everywhere."""
    return text.translate(_LEET)


def shouted(text: str) -> str:
    """All capitals."""
    return text.upper()


def alternating(text: str) -> str:
    """Every second letter a capital."""
    return "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text))


def quoted(text: str) -> str:
    """As something somebody wrote."""
    return f'On Tuesday somebody wrote: "{text}"'


ALL: Mapping[str, Callable[[str], str]] = {
    "benign padding": padded,
    "120 benign sentences": buried,
    "leetspeak": leetspeak,
    "capitals": shouted,
    "alternating case": alternating,
    "quoting": quoted,
}
