"""How far each activation of the encoder reaches: the fixed scales of its int8 form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from gemma_guard_lite.encoder import laid_out
from gemma_guard_lite.packs import packs
from graph import Floats, Scale, encoder
from onnxruntime import InferenceSession, SessionOptions
from parts import LAYERS
from tuning import MARK, Ids, Units

TEXTS = 500
EVERY = 3
"""Every third token is looked at."""
BEYOND = 0.001
"""Per cent of the values, on either side, that may be cut off."""
_STEPS = 255


def scales(weights: Mapping[str, Floats], texts: Sequence[Units]) -> dict[str, Scale]:
    """Measured on a draw of `texts`."""
    chosen = np.random.default_rng(0).choice(len(texts), TEXTS, replace=False)
    read = [unit for row in chosen for unit in texts[row]]
    return {name: scale(values) for name, values in reached(weights, read).items()}


def scale(values: Floats) -> Scale:
    """From the lowest to the highest value but for a few, zero exactly met."""
    low, high = np.percentile(values, (BEYOND, 100 - BEYOND))
    step = float(max(high, 0.0) - min(low, 0.0)) / _STEPS
    return step, round(-min(low, 0.0) / step)


def reached(weights: Mapping[str, Floats], sentences: Sequence[Ids]) -> dict[str, Floats]:
    """What every product of the encoder in floats multiplies; padding does not count.

    The mark does: it reaches further than any word, and every sentence attends to it.
    """
    options = SessionOptions()
    options.intra_op_num_threads = 1
    made = encoder(weights, layers=LAYERS, scales=None).SerializeToString()
    session, found = InferenceSession(made, options), defaultdict(list)
    names = [output.name for output in session.get_outputs() if output.name != "features"]
    for pack in packs([len(sentence) for sentence in sentences]):
        inputs = laid_out(pack, sentences, mark=MARK)
        for name, values in zip(names, session.run(names, inputs), strict=True):
            found[name].append(values[inputs["ids"] != 0][::EVERY])
    return {name: np.concatenate(each) for name, each in found.items()}
