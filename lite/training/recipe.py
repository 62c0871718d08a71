"""Data → model: every file under `weights/`, with development figures and times.

`python recipe.py DATA WORK`: DATA holds train/, WORK keeps features between runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import features
import numpy as np
from answers import CUTS, Judge, cut_of, save_judge
from bands import input_bands, output_bands
from blends import (
    ANY,
    WORDS,
    blend,
    empty,
    leaning,
    of_answer,
    of_input,
    stretched,
)
from develop import (
    KNOWN_TO_WORDS,
    area,
    area_within,
    development_set,
    left_out_margins,
    source_weights,
)
from gemma_guard_lite.model import SOFTNESS, WEIGHTS, Blend, Model, pooled
from gemma_guard_lite.reader import Reading
from gemma_guard_lite.words import WordList
from graph import Graph
from nets import Plan, Spans, add_net, save, trained
from parts import export_encoder, export_words
from replies import SAID
from sklearn.metrics import average_precision_score
from table import Table, held, labels, table
from templates import VOICES, voice_of

PLAN = Plan(epochs=8, hidden=256, dropout=0.5, decay=0.05, input_dropout=0.3)
HALF = 0.5
TIMES: dict[str, float] = {}
Figures = dict[str, object]


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Record how long a step took."""
    began = time.monotonic()
    yield
    TIMES[step] = round(time.monotonic() - began, 1)
    print(f"{step}: {TIMES[step]} s", flush=True)


def main() -> None:
    """Run every step; features are only computed if WORK has none."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path, nargs="?", default=os.environ.get("GEMMA_GUARD_DATA"))
    asked.add_argument("work", type=Path)
    told = asked.parse_args()
    with timed("rows"):
        rows = table(Path(told.data) / "train")
    if not (told.work / "features.npz").exists():
        with timed("encoder"):
            export_encoder(WEIGHTS, rows.texts())
            export_words(WEIGHTS)
        with timed("features"):
            features.compute(rows.texts(), WEIGHTS, told.work)
    figures = train(rows, features.Features.load(told.work), told.work)
    figures |= {"seconds": TIMES, "machine": platform.processor() or platform.machine()}
    figures |= {"versions": {name: version(name) for name in ("torch", "onnxruntime", "numpy")}}
    path = Path(__file__).parent / "development.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def train(rows: Table, seen: features.Features, work: Path) -> Figures:
    """Fit, blend, calibrate and write; returns the development figures."""
    marks, weight = labels(rows.asked), source_weights(rows.asked)
    spans = Spans(seen.values, *seen.ranges(row.text for row in rows.asked))
    if not (work / "left_out.npy").exists():
        with timed("sources left out"):
            found = left_out_margins(rows.asked, spans, marks, PLAN)
            np.save(work / "left_out.npy", np.concatenate(found))
    parts = left_out_parts(seen, spans, np.load(work / "left_out.npy"))
    honest = np.array([row.source.split("+")[0] not in KNOWN_TO_WORDS for row in rows.asked])
    used = (np.array([summed_up(each) for each in parts])[honest], marks[honest], weight[honest])
    inputs = leaning(blend(*used, of_input, ridge=1e-4), *used)
    figures = developed(rows, parts, marks, inputs)
    with timed("final parts"):
        fit_final(rows, spans, marks, weight)
    with timed("answers"):
        told, outputs = fit_answers(rows, seen, inputs)
    with timed("calibration"):
        figures |= told | calibrate_input(rows, seen, marks, weight, outputs)
    return figures


def left_out_parts(seen: features.Features, spans: Spans, left_out: np.ndarray) -> list[np.ndarray]:
    """For each row its spans as the judge reads them, but by nets that never saw its source."""
    words = WordList.load(WEIGHTS / "words.npz")
    ranges = list(zip(spans.first, spans.last, strict=True))
    ends = np.cumsum([last - first for first, last in ranges])
    return [
        np.concatenate([read, words.margins(seen.pieces[first:last])], axis=1)
        for read, (first, last) in zip(np.split(left_out, ends[:-1]), ranges, strict=True)
    ]


def summed_up(parts: np.ndarray) -> np.ndarray:
    """One row for a text: its spans' encoder margins pooled, the word list on the whole.

    A net's margins reach about as far as one and a half of the judge's, and so does its softness.
    """
    return np.append(pooled(parts[:, :WORDS], 1.5 * SOFTNESS), parts[0, WORDS])


def developed(rows: Table, parts: list[np.ndarray], marks: np.ndarray, inputs: Blend) -> Figures:
    """AU-PRC of any harm on the left-out sources: the judge, and each part by itself."""
    kept = development_set(rows.asked, marks)
    harmful, summed = marks[kept, ANY] > HALF, np.array([summed_up(parts[row]) for row in kept])
    encoder, words = summed[:, ANY], summed[:, WORDS]
    judged = np.array([pooled(inputs.raw(parts[row])).max() for row in kept])
    candidates = {
        "judge (worst of four heads)": judged,
        "encoder": encoder,
        "word list": words,
        "sum of the two": encoder + words,
    }
    areas = {name: round(area(harmful, margin), 4) for name, margin in candidates.items()}
    within = round(area_within([rows.asked[row].source for row in kept], harmful, judged), 4)
    print(areas, np.round(inputs.weights, 2).tolist(), np.round(inputs.bias, 2), flush=True)
    told = {"rows": len(kept), "harmful": int(harmful.sum()), "areas": areas, "within": within}
    return {"development": told | {"voices": _voices(rows, parts, marks, inputs)}}


def _voices(
    rows: Table, parts: list[np.ndarray], marks: np.ndarray, inputs: Blend
) -> dict[str, float]:
    """AU-PRC of any harm in each voice, by nets that never read it."""
    voices = np.array([voice_of(row.source) for row in rows.asked])
    found = {}
    for voice in VOICES:
        kept = np.flatnonzero(voices == voice)
        judged = np.array([pooled(inputs.raw(parts[row])).max() for row in kept])
        found[voice] = round(area(marks[kept, ANY] > HALF, judged), 4)
    return found


def fit_final(rows: Table, spans: Spans, marks: np.ndarray, weight: np.ndarray) -> None:
    """The shipped encoder heads, on every row that is not held out."""
    used = np.flatnonzero(~held(rows.asked))
    graph = Graph()
    add_net(graph, "features", "heads", trained(spans, marks, weight, used, PLAN))
    width = spans.values.shape[1]
    save(graph, WEIGHTS / "heads.onnx", inputs={"features": width}, outputs=("heads",))


def fit_answers(rows: Table, seen: features.Features, inputs: Blend) -> tuple[Figures, Figures]:
    """The answer nets, cross-fitted by prompt, and their blends with the input judge."""
    answers = [row.answer or "" for row in rows.answered]
    said, asked = _gists(seen, answers), _gists(seen, [row.text for row in rows.answered])
    marks, weight = labels(rows.answered), source_weights(rows.answered)
    judge = Judge.fitted(said, asked, marks, weight, np.arange(len(marks)))
    save_judge(judge, WEIGHTS / "answers.onnx", width=said.shape[1])
    write({"input": inputs, "output": empty(9), "answer": empty(9)}, {})
    alone, paired = crossed(rows, said, asked)
    model = Model(WEIGHTS)
    judged = _raw(model, inputs, seen, answers)
    output = _answer_blend((judged, paired), marks, weight)
    answer = _answer_blend((judged, alone), marks, weight)
    write({"input": inputs, "output": output[0], "answer": answer[0]}, {})
    areas = {"alone": _areas(rows, answer[1]), "with prompt": _areas(rows, output[1])}
    violation = 1 / (1 + np.exp(-output[1]))
    return {"answers": areas}, output_bands(violation, marks, _is_said(rows))


def crossed(rows: Table, said: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What answer nets that never saw the prompt say: by the answer alone, and with the prompt."""
    marks, weight = labels(rows.answered), source_weights(rows.answered)
    cuts = np.array([cut_of(row.group) for row in rows.answered])
    alone, paired = np.zeros_like(marks), np.zeros_like(marks)
    for cut in range(CUTS):
        judge = Judge.fitted(said, asked, marks, weight, np.flatnonzero(cuts != cut))
        unseen = np.flatnonzero(cuts == cut)
        alone[unseen], paired[unseen] = judge.margins(said, asked, unseen)
    return alone, paired


def _answer_blend(
    parts: tuple[np.ndarray, ...], marks: np.ndarray, weight: np.ndarray
) -> tuple[Blend, np.ndarray]:
    joined = np.concatenate(parts, axis=1)
    made = blend(joined, marks, weight, of_answer, ridge=1e-2)
    raw = made.raw(joined)
    made = stretched(made, raw, marks, weight)
    print(np.round(made.weights, 2).tolist(), flush=True)
    return made, made.calibrated(raw)


def _gists(seen: features.Features, texts: list[str]) -> np.ndarray:
    return np.ascontiguousarray(seen.values[seen.ranges(texts)[0]])


def _raw(model: Model, inputs: Blend, seen: features.Features, texts: list[str]) -> np.ndarray:
    """Per text the input judge's margins of its spans, by the shipped parts."""
    found = {text: pooled(inputs.raw(model.parts(reading_of(seen, text)))) for text in set(texts)}
    return np.array([found[text] for text in texts])


def reading_of(seen: features.Features, text: str) -> Reading:
    """A text as the shipped reader read it."""
    row = seen.index[text]
    first, last = seen.starts[row], seen.starts[row + 1]
    places = ((0, 0),) * (last - first)
    return Reading(seen.values[first:last], tuple(seen.pieces[first:last]), places)


def _is_said(rows: Table) -> np.ndarray:
    return np.array([row.source.endswith(SAID) for row in rows.answered])


def _areas(rows: Table, margins: np.ndarray) -> dict[str, float]:
    said, harmful = _is_said(rows), labels(rows.answered)[:, ANY]
    source = np.array([row.source for row in rows.answered])
    worst, known = margins.max(1), ~np.isnan(harmful)
    groups = {name: (source == name) & known for name in sorted(set(source[~said]))}
    groups["statements as answers"] = said & known
    return {
        name: round(float(average_precision_score(harmful[kept] > HALF, worst[kept])), 4)
        for name, kept in groups.items()
    }


def calibrate_input(
    rows: Table,
    seen: features.Features,
    marks: np.ndarray,
    weight: np.ndarray,
    outputs: Figures,
) -> Figures:
    """Log odds and bands from held-out rows, with the shipped model."""
    model, kept = Model(WEIGHTS), np.flatnonzero(held(rows.asked))
    blends = read_blends()
    raw = _raw(model, blends["input"], seen, [rows.asked[row].text for row in kept])
    blends["input"] = stretched(blends["input"], raw, marks[kept], weight[kept])
    alike = _raw(model, blends["input"], seen, list(rows.lookalikes))
    violation, alike_violation = (
        1 / (1 + np.exp(-blends["input"].calibrated(found))) for found in (raw, alike)
    )
    found = {"input": input_bands(violation, marks[kept], alike_violation), "output": outputs}
    write(blends, {stage: _thresholds(told["heads"]) for stage, told in found.items()})
    return {"bands": found}


def _thresholds(heads: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float]]:
    bands = ("log", "block")
    return {
        head: {band: told[band] for band in bands if told[band] is not None}
        for head, told in heads.items()
    }


def read_blends() -> dict[str, Blend]:
    """The blends as last written."""
    told = json.loads((WEIGHTS / "lite.json").read_text(encoding="utf-8"))
    return {name: Blend.of(made) for name, made in told["blends"].items()}


def write(blends: Mapping[str, Blend], found: object) -> None:
    """The constants the runtime reads."""
    fields = ("weights", "bias", "slope", "shift")
    made = {
        name: {field: np.round(getattr(each, field), 6).tolist() for field in fields}
        for name, each in blends.items()
    }
    told = {"prior": 0.1, "bands": found, "blends": made}
    (WEIGHTS / "lite.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
