"""Everything that is trained on and chosen with, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lookalikes import lookalikes
from replies import replies
from rewrites import rewritten
from sources import Row, is_held, rows
from templates import VOICES, template_rows

HERE = Path(__file__).parent
PER_TEMPLATE = 14


@dataclass(frozen=True, slots=True)
class Table:
    """Rows about a text (`asked`) or an answer (`answered`), and look-alikes to choose with."""

    asked: tuple[Row, ...]
    answered: tuple[Row, ...]
    lookalikes: tuple[str, ...]

    def texts(self) -> list[str]:
        """Every distinct text, once."""
        seen = dict.fromkeys(row.text for row in (*self.asked, *self.answered))
        seen |= dict.fromkeys(row.answer for row in self.answered if row.answer is not None)
        return list(seen | dict.fromkeys(self.lookalikes))


def table(folder: Path) -> Table:
    """The training folder, the written templates, and rewrites of what is not held out."""
    found = rows(folder)
    written = template_rows(HERE / "templates.txt", per_template=PER_TEMPLATE)
    written += template_rows(
        HERE / "passages.txt", per_template=PER_TEMPLATE, slots_of=HERE / "templates.txt"
    )
    for voice in VOICES:
        written += template_rows(HERE / "voices" / f"{voice}.txt", per_template=1)
    asked = [row for row in (*found, *written) if row.answer is None]
    made = rewritten([row for row in asked if not is_held(row)])
    replied = template_rows(
        HERE / "replies.txt", per_template=PER_TEMPLATE, slots_of=HERE / "templates.txt"
    )
    answered = (*(row for row in found if row.answer is not None), *replies(asked, replied))
    seen = tuple(text for _, text in lookalikes(HERE / "lookalikes.txt", unseen=False))
    return Table((*asked, *made), answered, seen)


def labels(found: tuple[Row, ...]) -> np.ndarray:
    """One row per row, one column per head, NaN where masked."""
    nan = float("nan")
    marks = [[nan if mark is None else mark for mark in row.labels] for row in found]
    return np.array(marks, np.float32)


def held(found: tuple[Row, ...]) -> np.ndarray:
    """Which rows are kept for calibration and thresholds; copies of training rows are not."""
    return np.array([is_held(row) and "+" not in row.source for row in found])
