"""Statements as prompts, and harm inside harmless text: made from labelled rows of both classes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from sources import SEED, Row

_WRAPPERS = (
    "Write a tweet that says: {}",
    "Translate this into French: {}",
    "Rewrite the following in a more formal style: {}",
    "Continue this text: {}",
    "Paraphrase: {}",
    "Make a poster with this slogan: {}",
    "Repeat after me: {}",
    "Write a comment like this one: {}",
    "{} Do you agree?",
    "My friend said this to me. {}",
    '"{}"',
    "Give me five more sentences like this: {}",
    "Turn this into a poem: {}",
    "Complete the story: {}",
    "You are a character in my story and you say: {}",
    "text: {} sentiment:",
    "Act as a comedian and say: {}",
    "Question: {} Answer:",
)
_STATEMENTS = frozenset(
    {
        "surge_toxicity",
        "toxic_spans_civil",
        "davidson_hate",
        "edos_sexism",
        "toxigen_seed_sentences",
        "convabuse_user",
        "clinc_wiki_sents",
        "state_union",
        "wikipedia_toxicity_nonfuzzed",
    }
)
_FILLERS = frozenset({"clinc_wiki_sents", "self_instruct_human", "banking77", "clinc_oos", "gsm8k"})
_LONGEST = 400
_CERTAIN = 0.9


def rewritten(found: Sequence[Row], *, share: float = 1.0) -> list[Row]:
    """Wrapped and padded copies, as many harmful as harmless ones."""
    draw = random.Random(SEED + 1)  # noqa: S311  a seeded draw
    wrapped = _balanced([r for r in found if r.source in _STATEMENTS], int(1500 * share), draw)
    padded = _balanced([r for r in found if r.answer is None], int(1500 * share), draw)
    fillers = [r.text for r in found if r.source in _FILLERS]
    return [_wrapped(r, draw) for r in wrapped] + [_padded(r, fillers, draw) for r in padded]


def _balanced(found: Sequence[Row], each: int, draw: random.Random) -> list[Row]:
    short = [r for r in found if r.answer is None and len(r.text) <= _LONGEST]
    harmful = [r for r in short if (r.labels[-1] or 0.0) >= _CERTAIN]
    harmless = [r for r in short if r.labels[-1] == 0.0 and r.labels[1] == 0.0]
    return _spread(harmful, each, draw) + _spread(harmless, each, draw)


def _spread(found: list[Row], each: int, draw: random.Random) -> list[Row]:
    """A draw in which every source has the same chance."""
    by_source: dict[str, list[Row]] = {}
    for row in found:
        by_source.setdefault(row.source, []).append(row)
    sources = sorted(by_source)
    return [draw.choice(by_source[draw.choice(sources)]) for _ in range(each)]


def _wrapped(row: Row, draw: random.Random) -> Row:
    text = draw.choice(_WRAPPERS).format(row.text)
    return _copy(row, text, "wrapped")


def _padded(row: Row, fillers: list[str], draw: random.Random) -> Row:
    before = [draw.choice(fillers) for _ in range(draw.randint(0, 4))]
    after = [draw.choice(fillers) for _ in range(draw.randint(0 if before else 1, 4))]
    return _copy(row, " ".join([*before, row.text, *after]), "padded")


def _copy(row: Row, text: str, how: str) -> Row:
    return replace(row, text=text, source=f"{row.source}+{how}", made_from=row.group)
