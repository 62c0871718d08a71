"""Values are set where they belong; the rest of a file stays as somebody wrote it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.evaluate.yamledit import set_at

FILE = """\
# who is on call: the platform team
records: {jsonl: decisions.jsonl}   # kept 30 days
routes:
  default:            # all other traffic
    packs: [default, privacy]
    policies:
      harassment:
        bands: {input: {log: 0.3, block: 0.6}}   # agreed with legal

      # too many false alarms before
      hate_speech:
        shadow: true
    on_error: fail_closed
  kids:
    extends: default
"""


@pytest.mark.parametrize(
    "path",
    [
        ("routes", "default", "policies", "harassment", "bands", "input"),
        ("routes", "default", "policies", "harassment", "bands", "output"),
        ("routes", "default", "policies", "hate_speech", "bands", "input"),
        ("routes", "default", "policies", "dangerous_content", "bands", "input"),
        ("routes", "kids", "policies", "harassment", "bands", "input"),
        ("routes", "default", "scorer"),
        ("scorers", "lite", "calibration"),
        ("records", "prometheus"),
    ],
)
def test_a_value_is_set_and_no_comment_is_lost(path: tuple[str, ...]) -> None:
    found = set_at(FILE, path, "{block: 0.9}")
    wanted = yaml.safe_load(FILE)
    _set(wanted, path, {"block": 0.9})

    assert yaml.safe_load(found) == wanted
    assert [
        line for line in FILE.splitlines() if "#" in line and line.split("#")[1] not in found
    ] == []


def _set(tree: Any, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[path[-1]] = value


KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.integers(0, 9) | st.none(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    tree=st.dictionaries(KEYS, TREES, min_size=1, max_size=3),
    path=st.lists(KEYS, min_size=1, max_size=4).map(tuple),
    is_flow=st.sampled_from([True, False, None]),
)
def test_a_value_is_set_in_any_tree_however_it_is_written(
    tree: dict[str, Any], path: tuple[str, ...], is_flow: bool | None
) -> None:
    text = yaml.safe_dump(tree, default_flow_style=is_flow)
    step: Any = tree
    for key in path[:-1]:
        step = step.get(key) if isinstance(step, dict) else step
        if not isinstance(step, dict | None):
            return  # a number stands in the way: guard.yaml has none there
        if step is None:
            break
    found = yaml.safe_load(set_at(text, path, "7"))
    _set(tree, path, 7)

    assert found == tree


def test_an_empty_file_gets_the_value() -> None:
    assert yaml.safe_load(set_at("", ("a", "b"), "1")) == {"a": {"b": 1}}
    assert yaml.safe_load(set_at("a:\n", ("a", "b"), "1")) == {"a": {"b": 1}}
