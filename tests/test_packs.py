"""Packs load what they dump, and refuse everything else with file and key."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_guard.errors import ConfigError
from gemma_guard.packs import MAX_POLICIES, PolicyPack, find
from gemma_guard.policy import DETECTORS, Bands, Guideline, Patterns, Policy
from gemma_guard.verdict import Action, Stage

thresholds = st.floats(0, 1, exclude_min=True)
names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
words = st.text(min_size=1).filter(str.strip)


@st.composite
def some_bands(draw: st.DrawFn) -> Bands:
    rising = sorted(draw(st.lists(thresholds, min_size=3, max_size=3)))
    kept = draw(st.tuples(*[st.booleans()] * 3).filter(any))
    return Bands(*(at if keep else None for at, keep in zip(rising, kept, strict=True)))


judged = st.builds(
    Policy,
    name=names.filter(lambda name: name != "dangerous_content"),
    input=st.none() | some_bands(),
    output=st.none() | some_bands(),
    guideline=st.builds(Guideline, st.text(), st.text()),
    head=st.none() | st.text(min_size=1),
)
patterns = st.builds(
    Patterns,
    detectors=st.lists(st.sampled_from(DETECTORS)).map(tuple),
    words=st.lists(words).map(tuple),
    expressions=st.lists(st.sampled_from([r"\d+", "[a-z]: '\"", "ä|#"])).map(tuple),
    regions=st.lists(st.sampled_from(["DE", "NO"])).map(tuple),
).filter(bool)
pattern = st.builds(
    Policy,
    name=names.filter(lambda name: name != "dangerous_content"),
    input=st.none() | st.sampled_from(Action).map(Bands.of),
    output=st.none() | st.sampled_from(Action).map(Bands.of),
    patterns=patterns,
)
packs = st.builds(
    PolicyPack,
    name=st.text(),
    version=st.text(),
    policies=st.lists(judged | pattern, unique_by=lambda p: p.name, max_size=4).map(tuple),
    description=st.text(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pack=packs)
def test_a_pack_loads_as_it_was_dumped(pack: PolicyPack, tmp_path: Path) -> None:
    path = tmp_path / "pack.yaml"
    path.write_text(pack.to_yaml(), encoding="utf-8")
    loaded = PolicyPack.from_yaml(path)
    assert replace(loaded, source="") == pack
    assert loaded.source == str(path)


@pytest.mark.parametrize(
    "policy",
    [
        Policy("p", Bands(), guideline=Guideline("in", "out")),
        Policy("p", Bands(block=0.5), patterns=Patterns(("email",))),
        Policy("p", Bands(log=0.5, block=1.0), patterns=Patterns(("email",))),
    ],
)
def test_what_yaml_cannot_say_is_not_dumped_as_something_else(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="policy 'p': "):
        PolicyPack("mine", "1", (policy,)).to_yaml()


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def refusal(pack: Path, policies: str) -> str:
    pack.write_text(f"name: mine\nversion: '1'\npolicies: {policies}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        PolicyPack.from_yaml(pack)
    message = str(refused.value)
    assert message.startswith(f"{pack}: ")
    return message.removeprefix(f"{pack}: ")


GUIDELINE = "guideline: {input: a, output: b}"


@pytest.mark.parametrize("threshold", ["0", "0.0", ".nan", "1.5", "-0.1", ".inf"])
@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("action", ["log", "redact", "block"])
def test_a_threshold_outside_0_to_1_is_named_by_policy_stage_and_action(
    pack: Path, stage: Stage, action: str, threshold: str
) -> None:
    message = refusal(
        pack, f"{{p: {{{GUIDELINE}, bands: {{{stage}: {{{action}: {threshold}}}}}}}}}"
    )
    assert message.startswith(f"policies.p.bands.{stage}: {action}: ")
    assert message.endswith("is not a threshold; use a number above 0, at most 1")


@pytest.mark.parametrize("threshold", ["yes", "no", "'0.5'", "high", "[0.5]", "{a: 1}"])
def test_a_threshold_that_is_no_number_is_named_by_its_key(pack: Path, threshold: str) -> None:
    message = refusal(pack, f"{{p: {{{GUIDELINE}, bands: {{input: {{block: {threshold}}}}}}}}}")
    assert message.startswith("policies.p.bands.input.block: a number is needed, got ")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            "bands: {output: {log: 0.8, block: 0.2}}",
            (
                "policies.p.bands.output: bands must rise from log over redact to block, got"
                " {log: 0.8, block: 0.2}"
            ),
        ),
        ("bands: {input: {}}", "policies.p.bands.input: give at least one of log, redact, block"),
        (
            "bands: {input: {blok: 0.2}}",
            (
                "policies.p.bands.input: unknown key 'blok'; did you mean 'block'?"
                " use one of: block, log, redact"
            ),
        ),
        (
            "bands: {inptu: {block: 0.2}}",
            (
                "policies.p.bands: unknown key 'inptu'; did you mean 'input'?"
                " use one of: input, output"
            ),
        ),
        (
            "kidn: judged",
            (
                "policies.p: unknown key 'kidn'; did you mean 'kind'? use one of: actions, bands,"
                " expressions, guideline, head, kind, patterns, regions, words"
            ),
        ),
        ("kind: guessed", "policies.p.kind: 'guessed' is not allowed; use 'judged' or 'pattern'"),
        (
            "kind: pattern",
            "policies.p: a pattern policy has patterns and actions, no guideline or bands",
        ),
        (
            "kind: judged, words: [a]",
            "policies.p: a judged policy has a guideline and bands, no patterns or actions",
        ),
        ("words: [a]", "policies.p: policy 'p': give either a guideline or patterns"),
    ],
)
def test_a_wrong_judged_policy_is_named_by_its_key(pack: Path, policy: str, message: str) -> None:
    assert refusal(pack, f"{{p: {{{GUIDELINE}, {policy}}}}}") == message


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            "patterns: [emial]",
            (
                "policies.p.patterns.0: 'emial' is not allowed; use 'api_key', 'email', 'iban',"
                " 'ip_address', 'payment_card', 'phone' or 'private_key'"
            ),
        ),
        ("patterns: email", "policies.p.patterns: a list is needed, got 'email'"),
        (
            "words: [a], actions: {input: blok}",
            (
                "policies.p.actions.input: 'blok' is not allowed; use 'allow', 'log', 'redact' or"
                " 'block'"
            ),
        ),
        ("words: [a, ' ']", "policies.p: words: an empty word would be found everywhere"),
        ("words: [1.5]", "policies.p.words.0: text is needed, in quotes"),
        ("expressions: ['(']", "policies.p: expression '(': missing ) at position 1"),
        ("expressions: ['a*']", "policies.p: expression 'a*' matches the empty text"),
        ("kind: judged", "policies.p: policy 'p': give either a guideline or patterns"),
        ("regions: [DE]", "policies.p: policy 'p': give either a guideline or patterns"),
        ("guideline: {input: a}", "policies.p.guideline.output: this key is needed"),
    ],
)
def test_a_wrong_pattern_policy_is_named_by_its_key(pack: Path, policy: str, message: str) -> None:
    assert refusal(pack, f"{{p: {{{policy}}}}}").startswith(message)


def test_an_expression_too_deep_to_compile_is_an_error_of_the_file(pack: Path) -> None:
    deep = "(" * 5_000 + "a" + ")" * 5_000
    message = refusal(pack, f"{{p: {{expressions: ['{deep}']}}}}")
    assert message.startswith("policies.p: expression ")


def test_a_policy_without_a_proper_name_is_refused(pack: Path) -> None:
    message = refusal(pack, f"{{Not-Snake: {{{GUIDELINE}}}}}")
    assert (
        message == "policies.Not-Snake: policy name 'Not-Snake': use snake_case, at most 64 letters"
    )


def test_dangerous_content_is_never_redacted(pack: Path) -> None:
    message = refusal(
        pack, f"{{dangerous_content: {{{GUIDELINE}, bands: {{output: {{redact: 0.5}}}}}}}}"
    )
    assert message == (
        "policies.dangerous_content: policy 'dangerous_content' is never redacted,"
        " only logged or blocked"
    )


def test_two_policies_with_one_name_in_a_file_are_refused(pack: Path) -> None:
    message = refusal(pack, f"\n  p: {{{GUIDELINE}}}\n  p: {{{GUIDELINE}}}")
    assert message == "line 5: 'p' is given twice"


def test_two_policies_with_one_name_in_python_are_refused() -> None:
    policy = Policy("p", guideline=Guideline("a", "b"))
    with pytest.raises(ConfigError, match="pack 'mine': two policies are called 'p'"):
        PolicyPack("mine", "1", (policy, policy))


def test_ten_thousand_policies_are_refused_by_their_number(pack: Path) -> None:
    many = "".join(f"\n  p{n}: {{{GUIDELINE}}}" for n in range(10_000))
    assert refusal(pack, many) == f"policies: 10,000; a pack holds at most {MAX_POLICIES:,}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "1.0", "version: text is needed, in quotes if it looks like a number"),
        ("name", "[a]", "name: text is needed"),
        ("policies", "[a]", "policies: a mapping is needed, got a list"),
        ("policies", "", "policies: a mapping is needed, got nothing"),
        ("extends", "default", "extends: a list is needed, got 'default'"),
        ("extends", "[nope]", "unknown pack 'nope'; "),
        ("extends", "[nope.yaml]", "{folder}/nope.yaml: cannot be read: "),
        ("polices", "{}", "unknown key 'polices'; did you mean 'policies'?"),
    ],
)
def test_a_wrong_key_of_the_pack_is_named(pack: Path, key: str, value: str, message: str) -> None:
    keys = {"name": "mine", "version": "'1'", "policies": "{}", key: value}
    pack.write_text("\n".join(f"{k}: {v}" for k, v in keys.items()), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        PolicyPack.from_yaml(pack)
    assert str(refused.value).startswith(f"{pack}: {message.format(folder=pack.parent)}")


def write(path: Path, *, extends: str = "[]", policies: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"name: {path.stem}\nversion: '1'\nextends: {extends}\npolicies: {policies}\n"
    path.write_text(text, encoding="utf-8")
    return path


BASE = "{p: {guideline: {input: a, output: b}, bands: {input: {block: 0.8}, output: {log: 0.1}}}}"


def test_a_pack_that_extends_another_changes_only_what_it_says(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", policies=BASE)
    mine = write(
        tmp_path / "mine.yaml",
        extends="[base.yaml]",
        policies="{p: {bands: {input: {block: 0.5}}}, q: {words: [x], actions: {input: log}}}",
    )
    p, q = PolicyPack.from_yaml(mine).policies
    assert p == Policy("p", Bands(block=0.5), Bands(log=0.1), Guideline("a", "b"))
    assert q == Policy("q", Bands.of(Action.LOG), patterns=Patterns(words=("x",)))


def test_what_a_pack_extends_is_looked_for_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "base.yaml", policies=BASE)
    write(tmp_path / "deep" / "middle.yaml", extends="[base.yaml]")
    mine = write(tmp_path / "mine.yaml", extends="[deep/middle.yaml]")
    assert [p.name for p in PolicyPack.from_yaml(mine).policies] == ["p"]


def test_two_packs_that_differ_about_a_policy_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policies=BASE)
    write(tmp_path / "b.yaml", policies=BASE.replace("0.8", "0.7"))
    mine = write(tmp_path / "mine.yaml", extends="[a.yaml, b.yaml]")
    with pytest.raises(ConfigError, match=r"mine.yaml: extends: two packs .* called 'p'"):
        PolicyPack.from_yaml(mine)


def test_two_packs_that_agree_about_a_policy_are_fine(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", policies=BASE)
    write(tmp_path / "a.yaml", extends="[base.yaml]")
    write(tmp_path / "b.yaml", extends="[base.yaml]")
    mine = write(tmp_path / "mine.yaml", extends="[a.yaml, b.yaml]")
    assert [p.name for p in PolicyPack.from_yaml(mine).policies] == ["p"]


@pytest.mark.parametrize("spelling", ["mine.yaml", "./mine.yaml", "../{folder}/mine.yaml"])
def test_a_pack_that_extends_itself_is_refused_however_it_is_spelt(
    tmp_path: Path, spelling: str
) -> None:
    mine = write(tmp_path / "mine.yaml", extends=f"[{spelling.format(folder=tmp_path.name)}]")
    with pytest.raises(ConfigError, match="is a circle"):
        PolicyPack.from_yaml(mine)


def test_packs_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", extends="[b.yaml]")
    write(tmp_path / "b.yaml", extends="[a.yaml]")
    with pytest.raises(ConfigError, match=r"extends: .*a\.yaml -> .*b\.yaml -> .*a\.yaml is a"):
        PolicyPack.from_yaml(tmp_path / "a.yaml")


def test_a_pack_in_a_file_of_any_name_can_be_read(tmp_path: Path) -> None:
    assert PolicyPack.from_yaml(write(tmp_path / "pack.txt")).name == "pack"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"- a", b"a: [", b"a: &a 1\nb: *a"])
def test_a_file_that_is_no_pack_is_named(pack: Path, content: bytes) -> None:
    pack.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml: "):
        PolicyPack.from_yaml(pack)


def test_a_pack_nobody_has_is_answered_with_the_installed_ones_and_the_way_to_an_own() -> None:
    with pytest.raises(ConfigError) as refused:
        find("privcy", beside=Path())
    message = str(refused.value)
    assert message.startswith("unknown pack 'privcy'; did you mean 'privacy'? use one of: default")
    assert message.endswith("; a pack of your own is a file that ends in .yaml")


@pytest.mark.parametrize(("source", "given"), [("x = dict", "dict"), ("x = int", "int")])
def test_an_entry_point_that_gives_no_pack_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, given: Any
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"pack_of_{given}.py").write_text(source, encoding="utf-8")
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[gemma_guard.packs]\nacme = pack_of_{given}:x\n")
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match=f"pack 'acme': its entry point gave {given}, not a pack"):
        find("acme", beside=tmp_path)
