"""Whatever a file says, the answer is a model or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gemma_guard.errors import ConfigError
from gemma_guard.schema import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_MILLISECONDS,
    Count,
    Flag,
    Milliseconds,
    Strict,
    Threshold,
    dump,
    either,
    parse,
    read_text,
)


class Small(Strict):
    """Something of every kind that files hold."""

    word: str = ""
    at: Threshold = 0.5
    flag: Flag = False
    count: Count = 1
    deadline_ms: Milliseconds = 1
    names: tuple[str, ...] = ()
    choice: Literal["red", "blue"] = "red"
    form: Annotated[int | tuple[int, ...], either("use a number or a list of them")] = 1
    inner: Small | None = None


class Needed(Strict):
    """Something with a key that must be there."""

    word: str


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(Small, text, source="a.yaml")
    return str(refused.value)


def test_a_file_within_the_rules_is_read() -> None:
    given_ = "{word: hi, at: 0.2, flag: true, names: [a, b], choice: blue, inner: {word: in}}"
    small = parse(Small, given_, source="a.yaml")
    assert small == Small(
        word="hi", at=0.2, flag=True, names=("a", "b"), choice="blue", inner=Small(word="in")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.yaml: a mapping is needed, got nothing"),
        ("# only a comment", "a.yaml: a mapping is needed, got nothing"),
        ("[1, 2]", "a.yaml: a mapping is needed, got a list"),
        ("hello", "a.yaml: a mapping is needed, got 'hello'"),
        ("inner: [1]", "a.yaml: inner: a mapping is needed, got a list"),
        ("inner: {inner: 7}", "a.yaml: inner.inner: a mapping is needed, got 7"),
        ("names: a", "a.yaml: names: a list is needed, got 'a'"),
        ("names: {a: b}", "a.yaml: names: a list is needed, got a mapping"),
        ("at: yes", "a.yaml: at: a number is needed, got True"),
        ("at: '0.5'", "a.yaml: at: a number is needed, got '0.5'"),
        ("at:", "a.yaml: at: a number is needed, got nothing"),
        ("flag: 1", "a.yaml: flag: true or false is needed, got 1"),
        ("flag: 'yes'", "a.yaml: flag: true or false is needed, got 'yes'"),
        ("count: 1.5", "a.yaml: count: a whole number is needed, got 1.5"),
        ("count: 1e3", "a.yaml: count: a whole number is needed, got '1e3'"),
        ("count: yes", "a.yaml: count: a whole number is needed, got True"),
        ("choice: green", "a.yaml: choice: 'green' is not allowed; use 'red' or 'blue'"),
        ("form: x", "a.yaml: form: 'x' is not allowed; use a number or a list of them"),
        ("form: {a: 1}", "a.yaml: form: a mapping is not allowed; use a number or a list of them"),
    ],
)
def test_a_wrong_value_is_named_by_file_and_key_with_what_is_needed(
    text: str, message: str
) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize("value", ["1.0", "1", "yes", "null", "[a]"])
def test_a_word_that_yaml_takes_for_something_else_needs_quotes(value: str) -> None:
    message = refusal(f"word: {value}")
    assert message.startswith("a.yaml: word: text is needed, in quotes if it looks like a number")


def test_a_date_is_text_as_people_expect_of_a_version() -> None:
    assert parse(Small, "word: 2026-11-24", source="a.yaml").word == "2026-11-24"


@pytest.mark.parametrize("value", ["0", "-1", str(MAX_MILLISECONDS + 1), "9" * 400])
def test_a_deadline_is_positive_and_no_longer_than_an_hour(value: str) -> None:
    assert "a.yaml: deadline_ms: Input should be " in refusal(f"deadline_ms: {value}")


def test_every_fault_of_a_file_is_told_at_once() -> None:
    assert refusal("{at: yes, count: 0, inner: {choice: x}}").splitlines() == [
        "a.yaml: at: a number is needed, got True",
        "a.yaml: count: Input should be greater than 0",
        "a.yaml: inner.choice: 'x' is not allowed; use 'red' or 'blue'",
    ]


def test_a_missing_key_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^a.yaml: word: this key is needed$"):
        parse(Needed, "{}", source="a.yaml")


@pytest.mark.parametrize(("text", "place"), [("wrod: x", ""), ("inner: {wrod: x}", "inner: ")])
def test_an_unknown_key_is_answered_with_the_nearest_and_all_allowed(text: str, place: str) -> None:
    allowed = ", ".join(sorted(Small.model_fields))
    assert refusal(text) == (
        f"a.yaml: {place}unknown key 'wrod'; did you mean 'word'? use one of: {allowed}"
    )


@pytest.mark.parametrize("text", ["word: a\nword: b", "inner: {at: 1, at: 1}"])
def test_a_key_given_twice_is_refused(text: str) -> None:
    assert "is given twice" in refusal(text)


@pytest.mark.parametrize("text", ["? [a]\n: b", "? {a: b}\n: c"])
def test_a_key_that_is_no_word_is_refused(text: str) -> None:
    assert refusal(text) == "a.yaml: line 1: a key must be a word, not a list or a mapping"


@pytest.mark.parametrize(
    "text",
    [
        "word: &w hi\ninner: {word: *w}",
        "names: &n [a]\ninner: {names: *n}",
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: &d [*c,*c]",
        "a: &a [*a]",
    ],
)
def test_aliases_and_the_bombs_made_of_them_are_refused_before_they_grow(text: str) -> None:
    assert refusal(text).startswith("a.yaml: YAML aliases (*name) are refused")


@pytest.mark.parametrize("deep", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("times", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_refused_before_it_costs_anything(deep: str, times: int) -> None:
    assert refusal(deep * times) == f"a.yaml: nested deeper than {MAX_DEPTH} levels"


def test_a_file_too_large_is_refused_unread() -> None:
    assert refusal("#" * (MAX_CHARS + 1)) == (
        f"a.yaml: {MAX_CHARS + 1:,} characters; at most {MAX_CHARS:,} are read"
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: [b",
        "a: b: c",
        "\t- x",
        "'",
        "a: \0",
        "word: \ud800",
        'word: "\\ud800"',
        "--- a\n--- b",
        "count: " + "9" * 5_000,
        "word: !!timestamp x",
        "count: !!int x",
        "word: !!binary gIGC",
        "names: !!set {a}",
        "word: !!python/object/apply:os.system [ls]",
        "word: !mine x",
        "<<: {word: x}",
    ],
)
def test_what_is_not_plain_yaml_is_refused_as_such(text: str) -> None:
    assert refusal(text).startswith("a.yaml: not YAML: ")


@given(st.text(st.sampled_from("ab01 :-?[]{},&*!|>'\"%@`#\n\t.<=~_") | st.characters()))
@example("at: 0b_")
@example("at: 1:2")
@example("!!float x")
@example("!!bool x")
@example("!!null {}")
def test_no_text_brings_anything_but_a_model_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(parse(Small, text, source="a.yaml"), Small)
    except ConfigError as error:
        assert str(error).startswith("a.yaml: ")  # noqa: PT017  either outcome is right


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(plain, max_size=3))
@example([{"\x85\u2028": "\u2029\ufeff a"}])
def test_what_is_dumped_loads_as_it_was_without_aliases(values: list[Any]) -> None:
    written = dump([*values, *values])
    assert yaml.safe_load(written) == [*values, *values]
    assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(written))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot be read: .*No such file"):
        read_text(tmp_path / "nope.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(tmp_path)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("word: grün".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: cannot be read: 'utf-8' codec"):
        read_text(path)
