"""Benign texts that sound harmful: one half for development, the other only ever reported on."""

from __future__ import annotations

import hashlib
from pathlib import Path


def lookalikes(path: Path, *, unseen: bool) -> list[tuple[str, str]]:
    """(kind, text) of one half, by a hash of the text."""
    kind, found = "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif line and not line.startswith("#") and _is_unseen(line) == unseen:
            found.append((kind, line))
    return found


def _is_unseen(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 1
