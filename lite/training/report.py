"""The figures of the shipped model, as a table and as JSON.

`python report.py DATA` measures what may be looked at as often as one likes; with `--open-eval`
the evaluation sets too, once per model, logged in EVAL_LOG.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import attacks
import numpy as np
from gemma_guard_lite.model import HEADS, WEIGHTS, Judgement, Model, fingerprint
from latency import latencies
from lookalikes import lookalikes
from sklearn.metrics import average_precision_score
from sources import read

HERE = Path(__file__).parent
LOG = HERE / "EVAL_LOG.md"
RESULTS = HERE / "results"
RESAMPLES = 1_000
_ON_COMPUTERS = re.compile(
    r"\bhack|malware|\bvirus|phish|ransom|keylog|exploit|denial.of.service|botnet|trojan|rootkit"
    r"|spyware|brute.force|password|cyber|backdoor",
    re.IGNORECASE,
)
NAMES = {
    "sexually_explicit": "sexual",
    "hate_speech": "hate",
    "harassment": "harassment",
    "dangerous_content": "dangerous",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 95 % interval, over clusters."""

    value: float
    low: float
    high: float
    rows: int
    clusters: int

    def __str__(self) -> str:
        """As shown in the table."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Measured:
    """One set: per row the violations of the four heads, the label, the cluster."""

    violation: np.ndarray
    harmful: np.ndarray
    cluster: np.ndarray

    @property
    def worst(self) -> np.ndarray:
        """The violation a guard with all four policies acts on."""
        return self.violation.max(1)

    def figure(self, of: Callable[[np.ndarray], float]) -> Figure:
        """`of` some rows, on all of them and on resampled clusters."""
        draw, names = np.random.default_rng(0), np.unique(self.cluster)
        members = {name: np.flatnonzero(self.cluster == name) for name in names}
        found = []
        for _ in range(RESAMPLES):
            chosen = draw.choice(names, len(names))
            value = of(np.concatenate([members[name] for name in chosen]))
            found.append(value)
        low, high = np.nanpercentile(found, (2.5, 97.5))
        every = np.arange(len(self.cluster))
        return Figure(of(every), float(low), float(high), len(every), len(names))

    def area(self) -> Figure:
        """AU-PRC of any harm."""
        return self.figure(lambda rows: _area(self.harmful[rows], self.worst[rows]))

    def share(self, thresholds: np.ndarray) -> Figure:
        """The share of rows at or above the threshold of any head."""
        reached = (self.violation >= thresholds).any(1)
        return self.figure(lambda rows: float(reached[rows].mean()))


def _area(harmful: np.ndarray, violation: np.ndarray) -> float:
    if not harmful.any():
        return float("nan")
    return float(average_precision_score(harmful, violation))


def main() -> None:
    """Measure, print the table, write both forms."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path, nargs="?", default=os.environ.get("GEMMA_GUARD_DATA"))
    asked.add_argument("--open-eval", action="store_true")
    told = asked.parse_args()
    model = Model()
    figures: dict[str, object] = {"setting": setting()}
    figures |= look_alikes(model, unseen=False) | {"latency": latencies(model)}
    if told.open_eval:
        open_once(LOG, fingerprint())
        figures |= evaluation(model, Path(told.data) / "eval") | look_alikes(model, unseen=True)
    write(figures, "released" if told.open_eval else "everyday")


def setting() -> dict[str, str]:
    """Where and when."""
    packages = ("onnxruntime", "tokenizers", "numpy")
    return {
        "model": fingerprint(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, one used",
        "python": platform.python_version(),
    } | {name: version(name) for name in packages}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.split(": ")[1] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def open_once(log: Path, model: str) -> None:
    """Log that `model` was shown the evaluation sets; refuse a second time."""
    told = log.read_text(encoding="utf-8")
    if model in told:
        sys.exit(f"{model} has seen the evaluation sets; its figures are in {RESULTS}")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    log.write_text(f"{told}| {now} | `{model}` |\n", encoding="utf-8")


def evaluation(model: Model, folder: Path) -> dict[str, object]:
    """Every figure on the evaluation sets."""
    began = time.monotonic()
    found = openai(model, folder) | toxic_chat(model, folder) | answers(model, folder)
    found |= shares(model, folder)
    return found | {"evaluation_seconds": round(time.monotonic() - began)}


def violations(judgements: Sequence[Judgement]) -> np.ndarray:
    """One row per text, one column per head."""
    margins = np.array([each.margins for each in judgements])
    return 1 / (1 + np.exp(-margins))


def bands(stage: str, band: str) -> np.ndarray:
    """The recommended thresholds of every head; infinite where a head does not earn one."""
    told = json.loads((WEIGHTS / "lite.json").read_text(encoding="utf-8"))["bands"][stage]
    return np.array([told[head].get(band, np.inf) for head in HEADS])


def _measured(model: Model, texts: Sequence[str], harmful: Sequence[object]) -> Measured:
    scored = violations([model.prompt(text) for text in texts])
    keys = [" ".join(text.lower().split()) for text in texts]
    cluster = np.unique(keys, return_inverse=True)[1]
    return Measured(scored, np.array([mark == 1 for mark in harmful]), cluster)


def openai(model: Model, folder: Path) -> dict[str, object]:
    """OpenAI's published moderation set, the half that may be used."""
    rows = read(folder / "openai_moderation_a.jsonl.gz")
    texts = [row["text"] for row in rows]
    seen = _measured(model, texts, [row["labels"]["harmful"] for row in rows])
    found: dict[str, object] = {"openai_moderation_a: AU-PRC": seen.area()}
    for column, head in enumerate(HEADS):
        marked = np.array([row["labels"][NAMES[head]] == 1 for row in rows])
        found[f"openai_moderation_a: AU-PRC {head}"] = seen.figure(
            lambda rows_, c=column, m=marked: _area(m[rows_], seen.violation[rows_, c])
        )
    found |= _at_bands("openai_moderation_a", seen)
    flagged = seen.harmful & (seen.violation >= bands("input", "log")).any(1)
    return found | flips(model, [t for t, kept in zip(texts, flagged, strict=True) if kept])


def _at_bands(name: str, seen: Measured, *, stage: str = "input") -> dict[str, object]:
    kinds = {"harmful": seen.harmful, "harmless": ~seen.harmful}
    noun = {"input": "texts", "output": "answers"}[stage]
    return {
        f"{name}: {kind} {noun} at the {band} band": Measured(
            seen.violation[kept], seen.harmful[kept], seen.cluster[kept]
        ).share(bands(stage, band))
        for kind, kept in kinds.items()
        for band in ("log", "block")
        if kept.any()
    }


def flips(model: Model, flagged: Sequence[str]) -> dict[str, object]:
    """The share of flagged texts that a disguise brings under the log band."""
    found: dict[str, object] = {}
    for name, disguise in attacks.ALL.items():
        seen = _measured(model, [disguise(text) for text in flagged], [1] * len(flagged))
        missed = (seen.violation < bands("input", "log")).all(1)
        found[f"flips by {name}"] = seen.figure(lambda rows, m=missed: float(m[rows].mean()))
    return found


def toxic_chat(model: Model, folder: Path) -> dict[str, object]:
    """ToxicChat's human-annotated training rows."""
    rows = read(folder / "toxicchat_train_human.jsonl.gz")
    marks = [row["labels"]["harmful"] for row in rows]
    seen = _measured(model, [row["text"] for row in rows], marks)
    return {"toxicchat_train_human: AU-PRC": seen.area()} | _at_bands("toxicchat_train_human", seen)


def answers(model: Model, folder: Path) -> dict[str, object]:
    """Answers in the light of their prompts against the same answers alone."""
    found: dict[str, object] = {}
    for name in ("diasafety_test", "gptfuzz_eval"):
        rows = [row for row in read(folder / f"{name}.jsonl.gz") if row["response"]]
        lit = violations([model.answer(row["response"], row["text"]) for row in rows])
        alone = violations([model.answer(row["response"], None) for row in rows])
        harmful = np.array([row["labels"]["harmful"] == 1 for row in rows])
        cluster = np.unique([row["text"] for row in rows], return_inverse=True)[1]
        seen = {
            k: Measured(v, harmful, cluster)
            for k, v in {"with prompt": lit, "answer alone": alone}.items()
        }
        found |= {f"{name}: AU-PRC, {kind}": each.area() for kind, each in seen.items()}
        gain = _gain(seen["with prompt"], seen["answer alone"])
        found[f"{name}: gain by the prompt"] = gain
        found |= _at_bands(name, seen["with prompt"], stage="output")
    return found


def _gain(one: Measured, other: Measured) -> Figure:
    def gain(rows: np.ndarray) -> float:
        marks = one.harmful[rows]
        return _area(marks, one.worst[rows]) - _area(marks, other.worst[rows])

    return one.figure(gain)


def shares(model: Model, folder: Path) -> dict[str, object]:
    """Sets of one class: how many of their texts reach a band."""
    found: dict[str, object] = {}
    benign = ("alpaca_harmless_test", "cyberseceval_frr", "i_physicalsafety_safe")
    for name in (*benign, "simplesafetytests", "advbench"):
        texts = [row["text"] for row in read(folder / f"{name}.jsonl.gz")]
        found |= _at_bands(name, _measured(model, texts, [name not in benign] * len(texts)))
        if name == "advbench":
            attacking = [text for text in texts if _ON_COMPUTERS.search(text)]
            seen = _measured(model, attacking, [1] * len(attacking))
            found |= _at_bands("advbench, attacks on computers", seen)
    return found


def look_alikes(model: Model, *, unseen: bool) -> dict[str, object]:
    """Benign texts that sound harmful."""
    texts = [text for _, text in lookalikes(HERE / "lookalikes.txt", unseen=unseen)]
    seen = _measured(model, texts, [0] * len(texts))
    which = "unseen" if unseen else "development"
    return _at_bands(f"look-alikes ({which} half)", seen)


def write(figures: Mapping[str, object], name: str) -> None:
    """JSON for machines, a table for people."""
    RESULTS.mkdir(exist_ok=True)
    plain = {k: _plain(v) for k, v in figures.items()}
    text = json.dumps(plain, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    table = "| figure | value (95 % interval) | rows | clusters |\n|---|---|---|---|"
    for key, figure in figures.items():
        if isinstance(figure, Figure):
            table += f"\n| {key} | {figure} | {figure.rows} | {figure.clusters} |"
    page = f"{table}\n\n{_lines(plain)}\n"
    (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)


def _plain(value: object) -> object:
    if isinstance(value, Figure):
        return {name: getattr(value, name) for name in Figure.__slots__}
    return value


def _lines(plain: Mapping[str, object]) -> str:
    parts = [plain["setting"], plain["latency"]]
    pairs = [f"{k} {v}" for part in parts if isinstance(part, dict) for k, v in part.items()]
    return "; ".join(pairs) + "."


if __name__ == "__main__":
    main()
