"""How good the shipped guard is on public sets: the tables and the picture of README.md.

    python benchmarks/shipped.py DATA

DATA holds the sets as JSON lines. Runs `gemma-guard eval` on them, writes results/shipped.json and
results/shipped.svg, and puts the tables into README.md. The sets are for reporting only: nothing
may be trained on them, chosen by them or tuned to them. Given a folder to keep runs in (--keep), it
goes on from there.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import machine
import matplotlib as mpl
from matplotlib.figure import Figure

from gemma_guard.evaluate import figures, runfile
from gemma_guard.evaluate.charts import Line, as_svg, precision_recall
from gemma_guard.evaluate.intervals import Interval
from gemma_guard.evaluate.measures import groups

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BY_POLICY = "openai_moderation_a"
SETS = {
    BY_POLICY: "OpenAI moderation, half a",
    "toxicchat_train_human": "ToxicChat, human-annotated",
    "simplesafetytests": "SimpleSafetyTests",
    "advbench": "AdvBench",
    "diasafety_test": "DiaSafety, answers",
    "gptfuzz_eval": "GPTFuzz, answers",
    "alpaca_harmless_test": "Alpaca, harmless instructions",
    "cyberseceval_frr": "CyberSecEval, harmless requests about security",
    "i_physicalsafety_safe": "PhysicalSafety, harmless",
}
FEWEST = 30
LABELS = ("sexually_explicit=sexual", "hate_speech=hate", "dangerous_content=dangerous")


def evaluated(data: Path, sets: Iterable[str], kept: Path, *options: str) -> dict[str, Any]:
    """What `gemma-guard eval --json` says of the shipped guard, or of another by `options`."""
    command = [str(Path(sys.executable).parent / "gemma-guard"), "eval"]
    command += [str(data / f"{name}.jsonl.gz") for name in sets]
    command += [part for label in LABELS for part in ("--label", label)]
    done = subprocess.run(
        [*command, *options, "--run", str(kept), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(data: Path, keep: Path) -> dict[str, Any]:
    one = evaluated(data, [BY_POLICY], keep / "policies.jsonl")
    every = evaluated(data, SETS, keep / "sets.jsonl")
    names = {stem(data / f"{name}.jsonl.gz"): title for name, title in SETS.items()}
    return {
        "judge": one["judge"],
        "policies": one["policies"],
        "sets": [
            {**each, "name": names[each["name"]]}
            for each in every["slices"]
            if each["name"] in names and each["rows"] >= FEWEST
        ],
    }


def stem(path: Path) -> str:
    """What the rows of a file call their source."""
    found = subprocess.run(["zcat", str(path)], capture_output=True, check=True)  # noqa: S607  gzip is everywhere
    return str(json.loads(found.stdout.splitlines()[0])["source"])


def tables(found: Mapping[str, Any]) -> str:
    """The Markdown of README.md."""
    told = (f"Judge: {found['judge']}.", "", *_policies(found["policies"]), "")
    return "\n".join([*told, *_sets(found["sets"])]) + "\n"


def _policies(policies: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield row("OpenAI moderation, by policy", "violations", "AU-PRC", *_BAND_HEADS)
    yield _RULE
    for each in policies:
        bands = {band["action"]: band for band in each["bands"]}
        name = each["policy"] + (" *" if each["is_indicative"] else "")
        cells = [name, str(each["violations"]), figures.area(_interval(each["au_prc"]))]
        cells += [share(bands[a][what]) for what in ("recall", "false_alarms") for a in _BANDS]
        yield row(*cells)


_BANDS = ("log", "block")
_BAND_HEADS = ("recall: log", "block", "false alarms: log", "block")
_SET_HEADS = ("violations", "pass unseen", "pass unblocked", "harmless", "wrongly blocked")
_RULE = "|---|" + "--:|" * 6


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _sets(sets: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield row("what it does not catch", *_SET_HEADS)
    yield _RULE.removesuffix("--:|")
    for each in sorted(sets, key=lambda one: one["caught"]["value"] or 2):
        clean = each["rows"] - each["violations"]
        cells = [each["name"], f"{each['violations']:,}"]
        cells += [_missed(each["caught"]), _missed(each["blocked"])]
        cells += [f"{clean:,}", share(each["wrongly_blocked"])]
        yield row(*cells)


def share(given: Mapping[str, float | None]) -> str:
    return figures.share(_interval(given))


def _missed(given: Mapping[str, float | None]) -> str:
    found = _interval(given)
    return figures.share(Interval(1 - found.value, 1 - found.high, 1 - found.low))


def _interval(given: Mapping[str, float | None]) -> Interval:
    unknown = float("nan")
    value, low, high = (given[end] for end in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return Interval(unknown, unknown, unknown)
    return Interval(value, low, high)


def picture(kept: Path) -> str:
    """Precision over recall of every policy."""
    run = runfile.read(kept)
    lines = [Line(group.policy, group) for group in groups(run)]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "shipped", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        precision_recall(figure.add_subplot(), lines)
        svg = as_svg(figure)
    return svg.replace("<svg ", '<svg font-family="sans-serif" width="640" ', 1) + "\n"


def put(text: str, into: str) -> str:
    """`into` with `text` between the two marks."""
    marks = r"(<!-- shipped: begin -->\n).*?(<!-- shipped: end -->)"
    return re.sub(marks, lambda found: found[1] + text + found[2], into, flags=re.DOTALL)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("--keep", type=Path)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep = given.keep or Path(folder)
        found = measured(given.data, keep)
        svg = picture(keep / "policies.jsonl")
    (machine.RESULTS / "shipped.svg").write_text(svg, encoding="utf-8")
    machine.keep("shipped", machine.describe(["gemma-guard", "gemma-guard-lite"]), found)
    README.write_text(put(tables(found), README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
