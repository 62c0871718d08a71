"""How far each activation of the encoder reaches: the fixed scales of its int8 form.

`python scales.py DATA` measures them on sentences of the training texts and writes scales.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from gemma_guard_lite.encoder import laid_out
from gemma_guard_lite.model import WEIGHTS
from gemma_guard_lite.packs import packs
from gemma_guard_lite.windows import units
from graph import Floats, Scale, encoder
from onnxruntime import InferenceSession, SessionOptions
from parts import LAYERS, SCALES, minilm
from table import table
from tokenizers import Tokenizer

TEXTS = 500
EVERY = 3
"""Every third token is looked at."""
BEYOND = 0.001
"""Per cent of the values, on either side, that may be cut off."""
_STEPS = 255


def main() -> None:
    """Measure and write."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["GEMMA_GUARD_DATA"])
    texts = sorted(table(data / "train").texts())
    chosen = np.random.default_rng(0).choice(len(texts), TEXTS, replace=False)
    found = reached([texts[row] for row in chosen])
    scales = {name: scale(values) for name, values in found.items()}
    SCALES.write_text(json.dumps(scales, indent=1) + "\n", encoding="utf-8")


def scale(values: Floats) -> Scale:
    """From the lowest to the highest value but for a few, zero exactly met."""
    low, high = np.percentile(values, (BEYOND, 100 - BEYOND))
    step = float(max(high, 0.0) - min(low, 0.0)) / _STEPS
    return step, round(-min(low, 0.0) / step)


def reached(texts: list[str]) -> dict[str, Floats]:
    """What every product of the encoder in floats multiplies; padding does not count.

    The mark does: it reaches further than any word, and every sentence attends to it.
    """
    options = SessionOptions()
    options.intra_op_num_threads = 1
    made = encoder(minilm(), layers=LAYERS, scales=None).SerializeToString()
    session, found = InferenceSession(made, options), defaultdict(list)
    names = [output.name for output in session.get_outputs() if output.name != "features"]
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    sentences, mark = _sentences(texts, tokenizer), tokenizer.token_to_id("[CLS]")
    for pack in packs([len(sentence) for sentence in sentences]):
        inputs = laid_out(pack, sentences, mark=mark)
        for name, values in zip(names, session.run(names, inputs), strict=True):
            found[name].append(values[inputs["ids"] != 0][::EVERY])
    return {name: np.concatenate(each) for name, each in found.items()}


def _sentences(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = []
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        found += [encoding.ids[start:end] for start, end in units(text, encoding.offsets)]
    return [ids for ids in found if ids]


if __name__ == "__main__":
    main()
