"""JSON kept as text: what is in it, and what a replacement leaves alone."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.jsontext import begins_as_json, is_json, leaves, with_values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def strings_in(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    if isinstance(tree, dict):
        return [part for key, value in tree.items() for part in (key, *strings_in(value))]
    if isinstance(tree, list):
        return [part for value in tree for part in strings_in(value)]
    return [str(tree)] if isinstance(tree, int) and not isinstance(tree, bool) else []


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_every_string_and_number_is_found_in_order(
    tree: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=indent)

    assert [leaf.value for leaf in leaves(text)] == strings_in(tree)


@given(JSON, st.data())
def test_a_replacement_changes_its_leaf_and_not_a_byte_beside_it(
    tree: Any, data: st.DataObject
) -> None:
    text = json.dumps(tree)
    values = list(leaves(text))
    if not values:
        return
    chosen = data.draw(st.sampled_from(values))
    new = data.draw(st.text())

    changed = with_values(text, {chosen.start: new})

    json.loads(changed)
    assert changed.startswith(text[: chosen.start])
    assert changed.endswith(text[chosen.end :])
    written = changed[chosen.start : len(changed) - len(text[chosen.end :])]
    assert json.loads(written) == new


@given(JSON, st.data())
def test_unfinished_json_is_read_as_far_as_it_goes(tree: Any, data: st.DataObject) -> None:
    text = json.dumps(tree)
    cut = text[: data.draw(st.integers(0, len(text)))]

    found = list(leaves(cut))

    assert all(0 <= leaf.start < leaf.end <= len(cut) for leaf in found)
    whole = [leaf for leaf in leaves(text) if leaf.end < len(cut)]
    assert [leaf.value for leaf in found[: len(whole)]] == [leaf.value for leaf in whole]


def test_escapes_do_not_hide_what_is_said() -> None:
    assert [leaf.value for leaf in leaves('{"to": "jane\\u0040example.com"}')] == [
        "to",
        "jane@example.com",
    ]
    assert [leaf.value for leaf in leaves('{"card": 4111111111111111}')][1] == "4111111111111111"


def test_text_that_is_no_json_is_told_apart() -> None:
    assert begins_as_json(' {"a": 1}')
    assert not begins_as_json("plain words")
    assert is_json('[1, {"a": null}]')
    assert not is_json('{"unfinished": ')


def test_words_outside_the_strings_of_broken_json_are_not_lost() -> None:
    assert [leaf.value for leaf in leaves('{"a": 1} and then, [more] words true')] == [
        "a", "1", "and", "then", "more", "words",
    ]  # fmt: skip
