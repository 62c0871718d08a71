"""Curves as SVG that a strict content policy lets through: no style, no script, nothing loaded."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from gemma_guard.evaluate.measures import REQUEST, Group, calibrated
from gemma_guard.evaluate.results import Floats
from gemma_guard.evaluate.tally import has_both
from gemma_guard.policy import Bands

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
CLEAN, VIOLATION = "#8a8f98", "#b3261e"
_POINTS = 200
_BINS = 25
_SETTINGS: Any = {  # matplotlib types the names of its settings one by one
    "svg.fonttype": "none",
    "svg.hashsalt": "gemma-guard",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Line:
    """The rows of one run, under the name that its curve gets."""

    name: str
    group: Group
    bands: Bands | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing and what it shows, for readers who cannot see it."""

    svg: str
    title: str


def charts(lines: Sequence[Line]) -> Iterator[Chart]:
    """Precision and recall, ROC, reliability, and one histogram a run."""
    drawn = [line for line in lines if has_both(line.group.label)]
    if drawn:
        yield _chart("precision and recall", lambda axes: precision_recall(axes, drawn))
        yield _chart("ROC", lambda axes: _roc(axes, drawn))
    if lines[0].group.policy != REQUEST:
        yield _chart("reliability", lambda axes: _reliability(axes, lines))
    for line in lines:
        named = f"violations, {line.name}" if len(lines) > 1 else "violations"
        yield _chart(named, lambda axes, line=line: _histogram(axes, line))  # type: ignore[misc]  # mypy reads no lambda with a default


def _chart(title: str, draw: Callable[[Axes], None]) -> Chart:
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(3.6, 2.9), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title, fontsize=10, loc="left")
        return Chart(as_svg(figure), title)


def precision_recall(axes: Axes, lines: Sequence[Line]) -> None:
    """Precision over recall, and the precision of flagging everything."""
    for line, colour in zip(lines, _colours(), strict=False):
        precision, recall, _ = precision_recall_curve(line.group.label, line.group.score)
        x, y = _thinned(recall[::-1], precision[::-1])
        axes.step(x, y, where="pre", color=colour, label=line.name)
    share = float(lines[0].group.label.mean())
    axes.axhline(share, color=CLEAN, linewidth=0.8, linestyle=":")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    _legend(axes, lines)


def _roc(axes: Axes, lines: Sequence[Line]) -> None:
    for line, colour in zip(lines, _colours(), strict=False):
        alarms, recall, _ = roc_curve(line.group.label, line.group.score)
        x, y = _thinned(alarms, recall)
        axes.step(np.maximum(x, 1e-4), y, where="post", color=colour, label=line.name)
    axes.set_xscale("log")
    axes.set(xlabel="false alarms", ylabel="recall", xlim=(1e-4, 1), ylim=(0, 1.02))
    axes.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.minorticks_off()
    _legend(axes, lines)


def _reliability(axes: Axes, lines: Sequence[Line]) -> None:
    axes.plot([0, 1], [0, 1], color=CLEAN, linewidth=0.8, linestyle=":")
    for line, colour in zip(lines, _colours(), strict=False):
        means, shares = zip(*calibrated(line.group.label, line.group.score).bins, strict=True)
        axes.plot(means, shares, color=colour, marker="o", markersize=3, label=line.name)
    axes.set(xlabel="violation", ylabel="share of violations", xlim=(0, 1), ylim=(0, 1.02))
    _legend(axes, lines)


def _histogram(axes: Axes, line: Line) -> None:
    label, score = line.group.label, line.group.score
    edges = np.linspace(0, 1, _BINS + 1)
    for value, colour, name in ((0, CLEAN, "clean"), (1, VIOLATION, "violations")):
        counts, _ = np.histogram(score[label == value], edges)
        axes.stairs(counts, edges, color=colour, label=name, fill=True, alpha=0.45)
    axes.set_yscale("symlog")
    for action, threshold in line.bands.thresholds if line.bands else ():
        axes.axvline(threshold, color="#1f2328", linewidth=0.9, linestyle="--")
        place = (threshold, 0.98)
        axes.annotate(
            str(action), place, xycoords=("data", "axes fraction"), fontsize=8, rotation=90,
            ha="right", va="top",
        )  # fmt: skip
    axes.set(xlabel="violation", ylabel="rows", xlim=(0, 1))
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)


def _legend(axes: Axes, lines: Sequence[Line]) -> None:
    if len(lines) > 1:
        axes.legend(fontsize=8)


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """As many points as can be told apart: evenly along x, and the first ones, where it jumps."""
    if len(x) <= 2 * _POINTS:
        return x, y
    even = np.searchsorted(x, np.linspace(0, x[-1], _POINTS))
    first = np.linspace(0, min(len(x) - 1, 2_000), _POINTS).astype(int)
    kept = np.unique(np.concatenate([[0], first, np.minimum(even, len(x) - 1), [len(x) - 1]]))
    return x[kept], y[kept]


def as_svg(figure: Figure) -> str:
    """`figure` for a page: attributes in place of styles, and no ids, of which a page has many."""
    written = io.StringIO()
    nobody = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", metadata=nobody)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL
    )
    svg = re.sub(r' style="([^"]*)"', lambda found: _attributes(found[1]), svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    )
    return _own_ids(re.sub(r">\s+<", "><", svg).strip())


def _attributes(style: str) -> str:
    """The properties of a style as attributes; of a font only its size, a page has its own."""
    written = []
    for part in filter(None, style.split(";")):
        name, _, value = (each.strip() for each in part.partition(":"))
        if name == "font":
            name, value = "font-size", re.search(r"[\d.]+px", value)[0]  # type: ignore[index]  # matplotlib always says a size
        written.append(f' {name}="{value}"')
    return "".join(written)


def _own_ids(svg: str) -> str:
    """Only ids that are pointed at, each told from those of other drawings."""
    wanted = dict.fromkeys(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in wanted else "", svg)
    salt = format(zlib.crc32(svg.encode()), "x")
    for name in wanted:
        svg = re.sub(rf'(id="|#){re.escape(name)}(?=["\)])', rf"\g<1>{salt}-{name}", svg)
    return svg
