"""Written templates with slots → labelled rows: what the public sources lack, and its twins."""

from __future__ import annotations

import random
import re
from pathlib import Path

from sources import HEADS, SEED, Row

_SLOT = re.compile(r"\{(\w+)\}")
Slots = dict[str, list[str]]
VOICES = ("fiction", "pasted", "private", "public")
"""Texts written by different hands: each is left out with one of the folds."""


def template_rows(path: Path, *, per_template: int, slots_of: Path | None = None) -> list[Row]:
    """Up to `per_template` distinct rows of each template; the template is their group.

    Slots come from `slots_of` too.
    """
    draw = random.Random(SEED)  # noqa: S311  a seeded draw
    slots, templates = _parsed(_lines(path))
    slots |= _parsed(_lines(slots_of))[0] if slots_of else {}
    found: list[Row] = []
    for template, family, labels in templates:
        texts = {_filled(template, slots, draw): None for _ in range(per_template)}
        source = f"written_{family}"
        found += [Row(text, labels, source, made_from=template) for text in texts]
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _parsed(lines: list[str]) -> tuple[Slots, list[tuple[str, str, tuple[float | None, ...]]]]:
    slots: Slots = {}
    templates = []
    family, labels = "", {}
    for line in (kept for kept in lines if kept and not kept.startswith("#")):
        if line.startswith("["):
            family, marks = line[1:].split("]")
            labels = {k: float(v) for k, v in (mark.split("=") for mark in marks.split())}
        elif not family:
            name, values = line.split(" = ")
            slots[name] = [value.strip() for value in values.split("|")]
        else:
            templates.append((line, family, tuple(labels.get(head) for head in HEADS)))
    return slots, templates


def _filled(template: str, slots: Slots, draw: random.Random) -> str:
    text = _SLOT.sub(lambda slot: draw.choice(slots[slot[1]]), template)
    return text[0].upper() + text[1:]


def voice_of(source: str) -> str | None:
    """The voice that a row was written in, if in one; rewrites of it are nobody's."""
    if "+" in source:
        return None
    return next((voice for voice in VOICES if source.startswith(f"written_{voice}_")), None)
