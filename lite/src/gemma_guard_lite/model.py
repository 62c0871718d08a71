"""The judge without the framework: texts in, calibrated margins out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemma_guard_lite import windows
from gemma_guard_lite.encoder import session
from gemma_guard_lite.reader import Reader, Reading
from gemma_guard_lite.windows import Range
from gemma_guard_lite.words import WordList

HEADS = ("sexually_explicit", "hate_speech", "harassment", "dangerous_content")
WEIGHTS = Path(__file__).parent / "weights"
FILES = (
    "answers.onnx",
    "encoder.onnx",
    "heads.onnx",
    "lite.json",
    "tokenizer.json",
    "words.npz",
)

SOFTNESS = 1.5
"""How far below the worst span another still counts: the worst alone would make every long text
look bad, the mean would let harmless company hide harm."""
COUNTED = 8
"""Spans that count, the worst: however much harmless company there is, no more of it does."""

Floats = NDArray[np.float32]
Tick = Callable[[], None]


def _no_tick() -> None:
    """Nothing to do between windows."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Per head a margin, its calibrated form, and the place in the text that decided.

    `place` is None where the text was judged as a whole.
    """

    raw: tuple[float, ...]
    margins: tuple[float, ...]
    places: tuple[Range | None, ...]


@dataclass(frozen=True, slots=True)
class Blend:
    """Weighs the parts for each head, then stretches the sum to log odds."""

    weights: Floats
    bias: Floats
    slope: Floats
    shift: Floats

    @classmethod
    def of(cls, constants: Mapping[str, Any]) -> Blend:
        """From lists, as JSON has them."""
        names = ("weights", "bias", "slope", "shift")
        return cls(*(np.array(constants[name], np.float32) for name in names))

    def raw(self, parts: Floats) -> Floats:
        """One row per row of `parts`, one column per head."""
        # einsum without BLAS: the same sum whatever library and thread count numpy has
        blended: Floats = np.einsum("sk,hk->sh", parts, self.weights) + self.bias
        return blended

    def calibrated(self, raw: Floats) -> Floats:
        """Log odds at the prior stated in the model card."""
        stretched: Floats = raw * self.slope + self.shift
        return stretched


class Model:
    """Encoder and word list, blended per head."""

    def __init__(self, folder: Path = WEIGHTS, *, threads: int = 1) -> None:
        self._words = WordList.load(folder / "words.npz")
        listed = self._words.weights.keys()
        self._reader = Reader(folder, listed=listed, threads=threads)
        self._heads = session(folder / "heads.onnx", threads)
        self._answers = session(folder / "answers.onnx", threads)
        constants = json.loads((folder / "lite.json").read_text(encoding="utf-8"))
        self._blends = {name: Blend.of(blend) for name, blend in constants["blends"].items()}

    def prompt(self, text: str, *, tick: Tick = _no_tick) -> Judgement:
        """Judge a text that asks. `tick` runs before each window and may raise."""
        reading = self.read(text, tick=tick)
        return self._judged(self._raw(reading), reading, "input")

    def answer(self, text: str, prompt: str | None, *, tick: Tick = _no_tick) -> Judgement:
        """Judge a text that answers, in the light of `prompt` where there is one."""
        reading = self.read(text, tick=tick)
        asked = None if prompt is None else self._reader.gist(prompt, before_each=tick)
        kind = "answer" if asked is None else "output"
        parts = _beside(self._raw(reading), self.complied(reading, asked))
        return self._judged(self._blends[kind].raw(parts), reading, kind)

    def parts(self, reading: Reading) -> Floats:
        """What each part of the judge says of each span: encoder, word list."""
        (heads,) = self._heads.run(None, {"features": reading.features})
        return np.concatenate([heads, self._words.margins(reading.pieces)], axis=1)

    def forget(self) -> None:
        """Keep nothing of the texts judged so far."""
        self._reader.cache.clear()

    def complied(self, answer: Reading, prompt: Floats | None) -> Floats:
        """How much the answer looks like a harmful one, by itself or beside a prompt."""
        inputs = {"answer": answer.gist, "prompt": answer.gist if prompt is None else prompt}
        alone, together = self._answers.run(None, inputs)
        found: Floats = alone if prompt is None else together
        return found

    def read(self, text: str, *, tick: Tick = _no_tick) -> Reading:
        """The spans of a text and what the encoder makes of them."""
        return self._reader.read(text, before_each=tick)

    def foresee(self, text: str, prompt: str | None, *, tick: Tick = _no_tick) -> None:
        """Read what judging an answer to `prompt` that begins with `text` will need."""
        if prompt is not None:
            self._reader.gist(prompt, before_each=tick)
        if text:
            self._reader.foresee(text, before_each=tick)

    def _raw(self, reading: Reading) -> Floats:
        return self._blends["input"].raw(self.parts(reading))

    def _judged(self, raw: Floats, reading: Reading, kind: str) -> Judgement:
        worst = raw.argmax(0)
        top = pooled(raw)
        places = tuple(reading.places[span] if len(raw) > 1 else None for span in worst)
        margins = self._blends[kind].calibrated(top)
        return Judgement(tuple(top.tolist()), tuple(margins.tolist()), places)


def pooled(raw: Floats, softness: float = SOFTNESS, counted: int = COUNTED) -> Floats:
    """Per head the mean of the worst spans, in which one counts the more the worse it is."""
    worst = np.sort(raw, axis=0)[-counted:]
    share = np.exp((worst - worst[-1]) / softness)
    mean: Floats = np.einsum("sh,sh->h", worst, share) / share.sum(0)
    return mean


def _beside(spans: Floats, whole: Floats) -> Floats:
    """Each span's own columns, then what holds for all of them."""
    return np.concatenate([spans, np.broadcast_to(whole, (len(spans), whole.size))], axis=1)


def fingerprint(folder: Path = WEIGHTS) -> str:
    """A hash of the weights and of how texts are cut and pooled."""
    digest = hashlib.sha256(repr((SOFTNESS, COUNTED, *windows.SHAPE)).encode())
    for name in FILES:
        digest.update((folder / name).read_bytes())
    return f"lite-{digest.hexdigest()[:12]}"
