"""The page holds everything it shows, runs nothing, and escapes whatever it is told."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gemma_guard import Action, Bands, Stage, UsageError
from gemma_guard.evaluate.comparing import differences
from gemma_guard.evaluate.curves import au_prc, auroc
from gemma_guard.evaluate.page import Named, page
from gemma_guard.evaluate.results import Collected, Result, Run, Subject
from gemma_guard.evaluate.tally import Tally

NASTY = "</style><script>alert(1)</script>&\"'"
BANDS = Bands(log=0.4, block=0.8)


def run(*, policies: int = 1, rows: int = 400, seed: int = 0, name: str = "judge") -> Run:
    draw = np.random.default_rng(seed)
    names = tuple(f"policy_{i}" for i in range(policies))
    collected = Collected(names)
    for number in range(rows):
        harmful = int(number % 4 == 0)
        violation = float(1 / (1 + np.exp(-draw.normal() - 2 * harmful)))
        scores = dict.fromkeys(names, violation)
        action = BANDS.judge(violation)[0]
        labels = dict.fromkeys(names, harmful)
        collected.take(
            Result(number, Stage.INPUT, action, "", labels, harmful, scores, {}, 50, 1.0, name)
        )
    bands = {(policy, Stage.INPUT): BANDS for policy in names}
    return collected.run(
        Subject(name, "default", "guard.yaml", "f", "r", ("a.csv",), bands, frozenset(names))
    )


class Seen(HTMLParser):
    """Every tag and every attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_the_page_loads_nothing_and_its_content_policy_allows_only_its_own_style() -> None:
    text = page([Named("a", run())])
    seen = Seen(text)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert not seen.tags & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert not [name for name, _ in seen.attributes if name == "style" or name.startswith("on")]
    assert all(v.startswith("#") for n, v in seen.attributes if n in {"href", "xlink:href", "src"})
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert ("content", policy) in seen.attributes


def test_names_that_are_markup_stay_text() -> None:
    one = run(name=NASTY)
    text = page([Named(NASTY, one), Named("other", run(seed=1))])

    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_every_drawing_keeps_its_ids_to_itself() -> None:
    text = page([Named("a", run(policies=2))])
    ids = re.findall(r' id="([^"]+)"', text)

    assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", text)) <= set(ids)


@pytest.mark.slow
def test_a_page_of_ten_policies_is_smaller_than_a_megabyte() -> None:
    text = page([Named("a", run(policies=10, rows=20_000))])

    assert len(text.encode()) < 1_000_000


def test_a_run_does_not_differ_from_itself_and_a_worse_one_does() -> None:
    first, other = run(), run(seed=1)
    for each in differences(first, first):
        assert (each.au_prc.low, each.au_prc.value, each.au_prc.high) == (0, 0, 0)

    worse = replace(
        first, violation={"policy_0": first.violation["policy_0"] * 0.5 + other.ms * 0.5}
    )
    blunt = replace(first, violation={"policy_0": np.round(first.violation["policy_0"], 1)})
    assert all(each.auroc.value == pytest.approx(0) for each in differences(first, worse))
    assert any(each.auroc.value != 0 for each in differences(first, blunt))


def test_a_difference_is_that_of_scikit_learns_figures() -> None:
    first, second = run(), run(seed=1)
    [request, policy] = differences(first, second)
    label = first.label["policy_0"]
    one, two = first.violation["policy_0"], second.violation["policy_0"]

    for of_both, area in ((policy.au_prc, au_prc), (policy.auroc, auroc)):
        before, after = (area(Tally.of(label, score)).value for score in (one, two))
        assert of_both.value == pytest.approx(after - before)
    assert request.auroc.low < request.auroc.value < request.auroc.high
    assert first.action.max() == Action.BLOCK


def test_runs_over_other_rows_are_not_compared() -> None:
    other = run()
    other = replace(other, subject=replace(other.subject, rows="others"))

    with pytest.raises(UsageError, match="different files"):
        page([Named("a", run()), Named("b", other)])
