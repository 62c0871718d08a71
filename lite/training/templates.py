"""Written templates with slots → labelled rows: what the public sources lack, and its twins."""

from __future__ import annotations

import random
import re
from pathlib import Path

from sources import HEADS, SEED, Row

_SLOT = re.compile(r"\{(\w+)\}")
Slots = dict[str, list[str]]


def template_rows(path: Path, *, per_template: int) -> list[Row]:
    """Up to `per_template` distinct rows of each template; the template is their group."""
    draw = random.Random(SEED)  # noqa: S311  a seeded draw
    slots, templates = _parsed(path.read_text(encoding="utf-8").splitlines())
    found: list[Row] = []
    for template, family, labels in templates:
        texts = {_filled(template, slots, draw): None for _ in range(per_template)}
        source = f"written_{family}"
        found += [Row(text, labels, source, made_from=template) for text in texts]
    return found


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
