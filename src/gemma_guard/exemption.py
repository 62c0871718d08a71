"""What an operator lets pass for a while: a text, a phrase, or a policy on a route."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias

SOON_DAYS = 14
HASH_KEY_BYTES = blake2b.MAX_KEY_SIZE
_HASH_BYTES = 16

Phrases: TypeAlias = tuple[str, ...]
"""What the exceptions for one rule name, in order."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Lets through what `policies` on `routes` (all, where empty) would act on, until `expires`.

    `text` is the hash of one text, `phrase` words that are judged as if they were not there;
    with neither, the policies enforce nothing. `key` is where in guard.yaml it is written.
    """

    key: str
    reason: str
    owner: str
    expires: date
    policies: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    text: str = ""
    phrase: str = ""

    def is_about(self, policy: str, route: str, today: date) -> bool:
        """Whether it holds on `today` for `policy` on `route`; it still does on its last day."""
        return (
            today <= self.expires
            and (not self.policies or policy in self.policies)
            and (not self.routes or route in self.routes)
        )

    def covers(self, text: str, hash_key: str) -> bool:
        """Whether a finding in `text` is let through as a whole."""
        return not self.phrase and (not self.text or hashed(text, hash_key) == self.text)


def hashed(text: str, key: str) -> str:
    """What stands for `text` in guard.yaml: nobody without `key` can try texts against it."""
    written = text.encode("utf-8", "surrogatepass")
    return blake2b(written, key=key.encode(), digest_size=_HASH_BYTES).hexdigest()


def today() -> date:
    """The day it is everywhere, for exceptions: UTC."""
    return datetime.now(UTC).date()


def is_hash(text: str) -> bool:
    """Whether `text` is written as `hashed` writes."""
    return re.fullmatch(f"[0-9a-f]{{{2 * _HASH_BYTES}}}", text) is not None


def blanked(text: str, phrases: Sequence[str]) -> str:
    """`text` with every phrase, whatever its case, as spaces: every other character stays put."""
    for phrase in phrases:
        text = _pattern(phrase).sub(lambda match: " " * len(match[0]), text)
    return text


def phrases_of(exemptions: Sequence[Exemption]) -> Phrases:
    """The phrases that `exemptions` name."""
    return tuple([exemption.phrase for exemption in exemptions if exemption.phrase])


def warnings(exemptions: Sequence[Exemption], today: date) -> Iterator[str]:
    """A sentence for each that has run out, or is about to."""
    for exemption in exemptions:
        left = (exemption.expires - today).days
        who = f"{exemption.key} ({exemption.reason}, {exemption.owner})"
        if left < 0:
            yield f"{who} expired on {exemption.expires}: it lets nothing through any more"
        elif left <= SOON_DAYS:
            yield f"{who} expires on {exemption.expires}, in {left} days"


@lru_cache(maxsize=1024)
def _pattern(phrase: str) -> re.Pattern[str]:
    """Whole words, so that no letters of another word are blanked."""
    words = r"\s+".join(map(re.escape, phrase.split()))
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
