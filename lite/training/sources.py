"""The training folder as rows: one text (or answer), five labels with masks, a weight, a group."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HEADS = ("sexually_explicit", "hate_speech", "harassment", "dangerous_content", "any")
_KEYS = ("sexual", "hate", "harassment", "dangerous", "harmful")
SEED = 7
Labels = tuple[float | None, ...]
_NONE: Labels = (None,) * 5
_CLEAN: Labels = (0.0,) * 5


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text; `answer` is set where the label is about a chatbot's answer to it."""

    text: str
    labels: Labels
    source: str
    weight: float = 1.0
    answer: str | None = None
    made_from: str = ""

    @property
    def group(self) -> str:
        """What may not be split between fitting and judging: prompt, template or origin."""
        return self.made_from or " ".join(re.findall(r"\w+", self.text.lower()))[:80]


_HELD_SHARE = 0.15
_HELD_SHARE_OF_PLAIN_BENIGN = 0.4
_PLAIN_BENIGN = frozenset({"clinc_oos", "banking77", "clinc_wiki_sents"})


def is_held(row: Row) -> bool:
    """Whether the row is kept for calibration and thresholds: a hash of its group decides."""
    benign = row.source.split("+")[0] in _PLAIN_BENIGN
    share = _HELD_SHARE_OF_PLAIN_BENIGN if benign else _HELD_SHARE
    return hashlib.sha256(row.group.encode()).digest()[0] < share * 256


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of one gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def rows(folder: Path) -> list[Row]:
    """Every row used, in a fixed order; sources are capped by a seeded draw."""
    found: list[Row] = []
    for name, cap in _CAPS.items():
        raw = read(folder / f"{name}.jsonl.gz")
        random.Random(SEED).shuffle(raw)  # noqa: S311  a seeded draw
        kept = [row for item in raw if (row := _row(name, item)) is not None]
        found += kept[:cap]
    return found


def _row(name: str, item: dict[str, Any]) -> Row | None:
    labels = tuple(item["labels"].get(key) for key in _KEYS)
    row = Row(item["text"], labels, name, answer=item["response"])
    changed = _CHANGES.get(name, _as_labelled)(row, item["labels"])
    return None if all(label is None for label in changed.labels) else _less_absent(changed)


_SEXUAL, _HATE, _HARASSMENT, _DANGEROUS, _ANY = range(5)
_ABSENT = {
    "aart": (_SEXUAL, _HATE),
    "red_instruct_questions": (_SEXUAL, _HATE),
    "toxigen_seed_sentences": (_SEXUAL, _DANGEROUS),
    "davidson_hate": (_DANGEROUS,),
    "edos_sexism": (_DANGEROUS,),
    "toxic_spans_civil": (_SEXUAL, _DANGEROUS),
    "convabuse_user": (_DANGEROUS,),
    "adversarial_nibbler": (_HATE, _DANGEROUS),
}


def _less_absent(row: Row) -> Row:
    """Harms that a harmful row of its source all but never has are marked 0, not masked."""
    absent = _ABSENT.get(row.source, ()) if row.labels[_ANY] else ()
    filled = (0.0 if i in absent and m is None else m for i, m in enumerate(row.labels))
    return replace(row, labels=tuple(filled))


def _as_labelled(row: Row, _raw: dict[str, Any]) -> Row:
    return row


def _with(row: Row, *, weight: float = 1.0, **heads: float | None) -> Row:
    labels = tuple(heads.get(h, old) for h, old in zip(HEADS, row.labels, strict=True))
    return replace(row, labels=labels, weight=weight)


def _civil(row: Row, raw: dict[str, Any]) -> Row:
    toxic = 1.0 - raw["frac_not_toxic"]
    return _with(row, harassment=toxic, any=toxic)


_GROUPS = re.compile(
    r"jew|muslim|islam|black|white|african|mexic|immigra|migrant|gay|lesbian|trans|fag|queer"
    r"|arab|asian|chinese|indian|hindu|kike|nigg|race|racial|goy|christian|women|woman|girl|whore"
    r"|slut|bitch|cunt|feminis|tranny|retard",
    re.IGNORECASE,
)


def _edos(row: Row, raw: dict[str, Any]) -> Row:
    """Annotated for sexism only: other hate is in its negatives, so group mentions are masked."""
    if raw["harmful"] == 1:
        return row
    if _GROUPS.search(row.text):
        return _with(row, weight=0.5, hate_speech=None, harassment=None, any=None)
    return _with(row, weight=0.5, harassment=None)


def _nibbler(row: Row, raw: dict[str, Any]) -> Row:
    """Image prompts: only what most raters called unsafe as text counts."""
    return row if raw["harmful"] is not None else replace(row, labels=_NONE)


_ATTRIBUTE_HEADS = {
    "sexually_explicit": "sexually_explicit",
    "threat": "dangerous_content",
    "identity_attack": "hate_speech",
    "insult": "harassment",
}


def _prompts_by_attribute(row: Row, raw: dict[str, Any]) -> Row:
    head = _ATTRIBUTE_HEADS.get(raw["rtp"])
    labels = {head: 1.0, "any": 1.0} if head else {}
    return _with(row, weight=0.7, **labels)


def _unsafe_advice(row: Row, raw: dict[str, Any]) -> Row:
    return _with(row, dangerous_content=float(raw["harmful"]))


_CATEGORY_HEADS = {
    "Offending User": "harassment",
    "Toxicity Agreement": "harassment",
    "Biased Opinion": "hate_speech",
    "Risk Ignorance": "dangerous_content",
    "Unauthorized Expertise": "dangerous_content",
}


def _dialogue(row: Row, raw: dict[str, Any]) -> Row:
    return _with(row, **{_CATEGORY_HEADS[raw["category"]]: float(raw["harmful"])})


def _jailbroken(row: Row, raw: dict[str, Any]) -> Row:
    return _with(row, dangerous_content=float(raw["harmful"]))


_CHANGES: dict[str, Callable[[Row, dict[str, Any]], Row]] = {
    "toxic_spans_civil": _civil,
    "edos_sexism": _edos,
    "adversarial_nibbler": _nibbler,
    "rtp_top100_by_attribute": _prompts_by_attribute,
    "safetext": _unsafe_advice,
    "diasafety_trainval": _dialogue,
    "gptfuzz_train": _jailbroken,
}
_CAPS = {
    "aart": 4_000,
    "adversarial_nibbler": 4_000,
    "banking77": 10_000,
    "clinc_oos": 24_000,
    "clinc_wiki_sents": 4_000,
    "convabuse_user": 3_000,
    "davidson_hate": 6_000,
    "edos_sexism": 9_000,
    "gsm8k": 1_400,
    "mtbench_vicuna": 300,
    "red_instruct_questions": 3_000,
    "rtp_top100_by_attribute": 700,
    "self_instruct_human": 600,
    "state_union": 500,
    "surge_toxicity": 1_000,
    "toxic_spans_civil": 9_000,
    "toxigen_seed_sentences": 700,
    "wikipedia_toxicity_nonfuzzed": 1_500,
    "xsafety_en": 2_000,
    "diasafety_trainval": 9_000,
    "gptfuzz_train": 3_400,
    "pyrit_scorer_harm": 500,
    "safetext": 1_500,
}
