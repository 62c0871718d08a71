"""What the sources lack at the output stage: statements as answers, and written answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sources import SEED, Row, is_held

SAID = "+said"
ORDINARY = frozenset({"clinc_oos", "banking77", "self_instruct_human", "mtbench_vicuna", "gsm8k"})
"""Sources of prompts that ask for nothing harmful."""
SHARP = frozenset({"aart", "red_instruct_questions"})
"""Sources of prompts that ask for harm."""
STATED = ORDINARY | {
    "adversarial_nibbler",
    "clinc_wiki_sents",
    "convabuse_user",
    "davidson_hate",
    "edos_sexism",
    "rtp_top100_by_attribute",
    "state_union",
    "surge_toxicity",
    "toxic_spans_civil",
    "toxigen_seed_sentences",
    "wikipedia_toxicity_nonfuzzed",
    "written_groups",
    "written_hate",
    "written_insult",
    "written_passage_harassment",
    "written_passage_hate",
    "written_passage_news",
    "written_passage_story",
    "written_passage_talk",
    "written_passage_violence",
    "written_reported",
    "written_sexual",
    "written_threat",
    "written_violence",
}
"""Sources whose harm is in the words themselves, whoever says them."""
_SHARE_OF_SHARP = 0.25
_COUNT = 0.5
_COUNT_OF_REQUESTS = 0.2
"""How much a made-up pair counts beside a real one, and one whose answer is a request."""


def replies(asked: Sequence[Row], written: Iterable[Row]) -> Iterator[Row]:
    """Answers with a prompt each, drawn from a seed.

    Statements are those that the input judge is not fitted to, so that what it says of them is what
    it says of a new text. Harmless ones also follow prompts that ask for harm: the answer counts.
    """
    draw = random.Random(SEED)  # noqa: S311  a seeded draw
    ordinary, sharp = (_texts(asked, sources) for sources in (ORDINARY, SHARP))
    for row in asked:
        if row.source in STATED and is_held(row):
            prompts = sharp if draw.random() < _SHARE_OF_SHARP else ordinary
            yield _said(row, draw.choice(prompts))
    for row in written:
        yield _said(
            row, draw.choice(sharp if row.source == "written_reply_dangerous" else ordinary)
        )


def _texts(asked: Iterable[Row], sources: frozenset[str]) -> list[str]:
    return [row.text for row in asked if row.source in sources]


def _said(row: Row, prompt: str) -> Row:
    return replace(
        row,
        text=prompt,
        answer=row.text,
        source=f"{row.source}{SAID}",
        weight=row.weight * (_COUNT_OF_REQUESTS if row.source in ORDINARY else _COUNT),
        made_from=row.group,
    )
