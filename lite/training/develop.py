"""The development set: sources left out of training, and what the parts say of them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.reader import Reader
from gemma_guard_lite.words import WordList
from lessons import exams, lessons, pieces
from linear import matrix, ngram_weights
from sklearn.metrics import average_precision_score
from sources import Row
from tuning import Tuned, Tuning, margins, tuned

FOLDS = (
    {"surge_toxicity", "aart", "self_instruct_human", "state_union", "xsafety_en"},
    {
        "wikipedia_toxicity_nonfuzzed",
        "red_instruct_questions",
        "mtbench_vicuna",
        "gsm8k",
        "convabuse_user",
    },
    {
        "toxigen_seed_sentences",
        "adversarial_nibbler",
        "davidson_hate",
        "rtp_top100_by_attribute",
        "clinc_wiki_sents",
    },
    {"toxic_spans_civil", "edos_sexism", "banking77", "clinc_oos"},
)
KNOWN_TO_WORDS = frozenset({"wikipedia_toxicity_nonfuzzed", "davidson_hate"})
"""The word list was fitted to texts like these by its authors: they must not weigh it."""
PRIOR = 0.31
"""The share of positives that development figures are stated at."""
_CAP = 600
_CERTAIN = 0.9


def source_weights(found: tuple[Row, ...]) -> np.ndarray:
    """Each source counts with the square root of its size."""
    sizes = Counter(row.source for row in found)
    return np.array([row.weight * sizes[row.source] ** -0.5 for row in found])


def fold_of(row: Row) -> int:
    """The fold that leaves this row out: by its source; written ones by their template."""
    source = row.source.split("+")[0]
    if source.startswith("written"):
        return hashlib.sha256(row.group.encode()).digest()[1] % len(FOLDS)
    return next(number for number, fold in enumerate(FOLDS) if source in fold)


def left_out_parts(found: tuple[Row, ...], labels: np.ndarray, plan: Tuning) -> np.ndarray:
    """Encoder and n-gram margins of every row, by models that never saw its source."""
    fold = np.array([fold_of(row) for row in found])
    parts = np.zeros((len(found), 10), np.float32)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        made = [pool.submit(_left_out, found, labels, plan, fold != n) for n in range(len(FOLDS))]
        for number, each in enumerate(made):
            parts[fold == number] = each.result()
            print(f"fold {number}: {(fold == number).sum()} left out", flush=True)
    return parts


def _left_out(
    found: tuple[Row, ...], labels: np.ndarray, plan: Tuning, seen: np.ndarray
) -> np.ndarray:
    torch.set_num_threads(1)
    weights, rows, unseen = source_weights(found), np.flatnonzero(seen), np.flatnonzero(~seen)
    reader = reader_of_training()
    model = tuned_on(reader, found, labels, rows, plan)
    encoder = margins(model, exams(reader, [found[row].text for row in unseen]))
    inputs = matrix(pieces(reader, [row.text for row in found]))
    tables, biases = ngram_weights(inputs, labels, weights, rows)
    return np.concatenate([encoder, inputs[unseen] @ tables + biases], axis=1)


def reader_of_training() -> Reader:
    """The shipped reader: what it plans does not depend on the encoder."""
    return Reader(WEIGHTS, listed=WordList.load(WEIGHTS / "words.npz").weights.keys())


def tuned_on(
    reader: Reader, found: tuple[Row, ...], labels: np.ndarray, rows: np.ndarray, plan: Tuning
) -> Tuned:
    """An encoder tuned to a draw of `rows`, in which each counts by its weight."""
    share = source_weights(found)[rows]
    draw = np.random.default_rng(plan.seed)
    drawn = draw.choice(rows, plan.draws, p=share / share.sum())
    return tuned(lessons(reader, [found[row].text for row in drawn]), labels[drawn], plan)


def development_set(found: tuple[Row, ...], labels: np.ndarray) -> np.ndarray:
    """Certain rows of real sources, at most so many per source and class, seeded."""
    draw = np.random.default_rng(0)
    source = np.array([row.source for row in found])
    sides = (labels[:, 4] >= _CERTAIN, labels[:, 4] <= 1 - _CERTAIN)
    names = sorted(set().union(*FOLDS) - KNOWN_TO_WORDS)
    groups = (np.flatnonzero((source == name) & side) for name in names for side in sides)
    return np.concatenate([draw.permutation(group)[:_CAP] for group in groups])


def area(harmful: np.ndarray, margin: np.ndarray, *, prior: float = PRIOR) -> float:
    """AU-PRC as if `prior` of the texts were harmful."""
    share = np.where(harmful, prior / harmful.sum(), (1 - prior) / (~harmful).sum())
    return float(average_precision_score(harmful, margin, sample_weight=share))
