"""guard.yaml becomes routes, or one error with file, key and what is allowed."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from gemma_guard.configuration import ScorerSpec, Settings
from gemma_guard.errors import ConfigError
from gemma_guard.pacing import Pacing
from gemma_guard.policy import Bands
from gemma_guard.route import Fallback, Rule
from gemma_guard.settings import SHIPPED, load, loads
from gemma_guard.verdict import Action

PACK = """
name: mine
version: "1"
policies:
  harassment:
    guideline: {input: a, output: b}
    bands: {input: {log: 0.3, block: 0.8}, output: {redact: 0.5, block: 0.9}}
  dangerous_content:
    guideline: {input: c, output: d}
    bands: {input: {block: 0.5}, output: {block: 0.5}}
  secrets: {words: [hush], actions: {input: redact, output: block}}
"""
OTHER = """
name: other
version: "1"
policies:
  hate_speech:
    guideline: {input: e, output: f}
    bands: {input: {block: 0.5}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(PACK, encoding="utf-8")
    (tmp_path / "other.yaml").write_text(OTHER, encoding="utf-8")
    return tmp_path


def read(folder: Path, text: str) -> Settings:
    path = folder / "guard.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(folder, text)
    prefix = f"{folder / 'guard.yaml'}: "
    assert all(line.startswith(prefix) for line in str(refused.value).splitlines())
    return str(refused.value).replace(prefix, "")


def routes(rest: str, *, default: str = "packs: [mine.yaml]") -> str:
    scorer = "" if "scorer: " in default else ", scorer: fake"
    return f"routes:\n  default: {{{default}{scorer}}}\n{rest}"


def rule(settings: Settings, route: str, policy: str) -> Rule:
    [found] = [r for r in settings.routes.named(route).rules if r.policy.name == policy]
    return found


def names(settings: Settings, route: str) -> set[str]:
    return {r.policy.name for r in settings.routes.named(route).rules}


def test_a_route_takes_policies_bands_and_keys_from_its_packs(folder: Path) -> None:
    settings = read(folder, routes(""))
    harassment = rule(settings, "default", "harassment")
    assert names(settings, "default") == {"harassment", "dangerous_content", "secrets"}
    assert harassment.input == Bands(log=0.3, block=0.8)
    assert harassment.input_key == f"{folder / 'mine.yaml'}: policies.harassment.bands.input"
    assert harassment.scorer == "fake"
    assert rule(settings, "default", "secrets").scorer == "pattern"


def test_the_judge_is_lite_with_its_own_bands_unless_another_is_named(folder: Path) -> None:
    shipped = read(folder, "routes: {default: {}, other: {scorer: fake}}")

    assert rule(shipped, "default", "harassment").scorer == "lite"
    assert "lite.yaml" in rule(shipped, "default", "harassment").input_key
    assert rule(shipped, "other", "harassment").scorer == "fake"
    assert "default.yaml" in rule(shipped, "other", "harassment").input_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SHIPPED, "routes.default.packs: pack"),
        ("routes: {default: {packs: [mine.yaml]}}", "routes.default.scorer: scorer"),
        (routes("", default="on_error: {fallback: lite}"), "routes.default.on_error.fallback:"),
        ("scorers: {judge: {type: lite}}\n" + routes(""), "scorers.judge.type: scorer"),
    ],
)
def test_without_its_distribution_lite_stops_the_load_and_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, key: str
) -> None:
    # test_packaging has a real environment without it; slow
    installed = metadata.entry_points

    def without_lite(*, group: str) -> metadata.EntryPoints:
        return metadata.EntryPoints(p for p in installed(group=group) if p.name != "lite")

    monkeypatch.setattr(metadata, "entry_points", without_lite)
    message = refusal(folder, text)

    assert message.startswith(key)
    assert "'lite' is not installed: pip install \"gemma-guard[lite]\", or name" in message
    assert "\n" not in message


def test_a_route_says_what_it_changes_and_its_key_tells_where(folder: Path) -> None:
    settings = read(
        folder,
        routes(
            "    ",
            default="packs: [mine.yaml], policies: {harassment: {bands: {input: {log: 0.1}}},"
            " secrets: {actions: {output: log}, shadow: true},"
            " dangerous_content: {enabled: false}}",
        ),
    )
    harassment, secrets = (rule(settings, "default", n) for n in ("harassment", "secrets"))
    assert names(settings, "default") == {"harassment", "secrets"}
    assert harassment.input == Bands(log=0.1)
    assert harassment.output == Bands(redact=0.5, block=0.9)
    assert harassment.input_key == "routes.default.policies.harassment.bands.input"
    assert harassment.output_key.endswith("mine.yaml: policies.harassment.bands.output")
    assert secrets.shadow
    assert secrets.output == Bands.of(Action.LOG)
    assert secrets.output_key == "routes.default.policies.secrets.actions.output"


def test_a_route_inherits_what_it_does_not_say(folder: Path) -> None:
    settings = read(
        folder,
        routes(
            "  child: {extends: default, deadline_ms: 100}\n"
            "  grandchild: {extends: child, on_error: {fallback: fake}}\n",
            default="packs: [mine.yaml], on_error: fail_open, refusal: No., media: gap,"
            " max_chars: 7, judge_system: true, policies: {secrets: {shadow: true}}",
        ),
    )
    child, grandchild = (settings.routes.named(n) for n in ("child", "grandchild"))
    for route in (child, grandchild):
        assert (route.refusal, route.media, route.max_chars) == ("No.", "gap", 7)
        assert (route.deadline_s, route.judge_system) == (0.1, True)
        assert rule(settings, route.name, "secrets").shadow
    assert child.on_error == "fail_open"
    assert child.fallback is None
    assert grandchild.on_error == "fail_closed"
    assert grandchild.fallback == Fallback("fake")


def test_a_match_is_not_inherited(folder: Path) -> None:
    settings = read(
        folder,
        routes(
            "  a: {extends: default, match: {trusted: {team: a}}}\n  b: {extends: a}\n",
        ),
    )
    assert settings.routes.resolve(trusted={"team": "a"}).name == "a"
    assert settings.routes.named("b").match.trusted == ()


def test_patterns_of_a_match_are_one_text_or_a_list(folder: Path) -> None:
    settings = read(
        folder, routes("  a: {extends: default, match: {trusted: {team: x, model: [y, 'z*']}}}\n")
    )
    match = settings.routes.named("a").match
    assert match.trusted == (("team", ("x",)), ("model", ("y", "z*")))


def test_scorers_are_those_the_routes_name_with_their_options(folder: Path) -> None:
    settings = read(
        folder,
        "scorers:\n  words: {type: fake, rest: 0.1}\n  spare: {type: fake}\n"
        + routes("", default="packs: [mine.yaml], scorer: words, on_error: {fallback: fake}"),
    )
    assert settings.scorers == {
        "fake": ScorerSpec("fake"),
        "pattern": ScorerSpec("pattern"),
        "words": ScorerSpec("fake", {"rest": 0.1}),
    }


def test_records_are_kept_beside_the_file(folder: Path) -> None:
    assert read(folder, "records: {jsonl: d.jsonl}\n" + routes("")).records == folder / "d.jsonl"
    assert read(folder, routes("")).records is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping is needed, got nothing"),
        ("- a", "a mapping is needed, got a list"),
        ("{}", "routes: this key is needed"),
        ("routes: {}", "routes: a route called 'default' is needed; it takes all other traffic"),
        ("routes: [a]", "routes: a mapping is needed, got a list"),
        ("routes: {default: }", "routes.default: a mapping is needed, got nothing"),
        ("version: 2\nroutes: {default: {packs: []}}", "version: 2 is not allowed; use 1"),
        (
            "rotues: {}",
            (
                "unknown key 'rotues'; did you mean 'routes'? use one of: cache, exceptions,"
                " hash_key, heartbeat_s, records, reload, routes, scorers, trust_claims, version"
            ),
        ),
        ("trust_claims: 1\nroutes: {}", "trust_claims: true or false is needed, got 1"),
        (
            "records: {json: x}\nroutes: {}",
            "records: unknown key 'json'; did you mean 'jsonl'? use one of: jsonl",
        ),
        ("scorers: {a: {x: 1}}\nroutes: {}", "scorers.a.type: this key is needed"),
        (
            "scorers: {a: {type: fkae}}\nroutes: {default: {packs: []}}",
            "scorers.a.type: unknown scorer 'fkae'; did you mean 'fake'? use one of: fake",
        ),
        (
            "scorers: {pattern: {type: fake}}\nroutes: {default: {packs: []}}",
            "scorers.pattern: this name is taken",
        ),
        ("heartbeat_s: -1\nroutes: {}", "heartbeat_s: Input should be greater than or equal to 0"),
        ("cache: {mb: -1}\nroutes: {}", "cache.mb: Input should be greater than or equal to 0"),
        (
            "exceptions: [{text: hello, reason: r, owner: o, expires: 2999-01-01}]\nroutes: {}",
            "exceptions.0: text: its hash is needed, not the text; see gemma-guard hash --help",
        ),
        (
            "exceptions: [{phrase: a, reason: r, owner: o, expires: 31.12.2026}]\nroutes: {}",
            "exceptions.0.expires: a date like 2027-01-31 is needed, got '31.12.2026'",
        ),
        (
            f"hash_key: {'k' * 65}\nroutes: {{default: {{packs: []}}}}",
            "hash_key: at most 64 bytes, got 65",
        ),
        ("routes: {default: {packs: []}}\nroutes: {}", "line 2: 'routes' is given twice"),
        ("routes: {default: {packs: []}, default: {}}", "line 1: 'default' is given twice"),
    ],
)
def test_a_wrong_file_is_named_by_its_key(folder: Path, text: str, message: str) -> None:
    assert refusal(folder, text).startswith(message)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (
            "pakcs: []",
            (
                "unknown key 'pakcs'; did you mean 'packs'? use one of: deadline_ms, extends,"
                " history, judge_system, match, max_chars, media, on_error, packs,"
                " placeholder, policies, refusal, scope, scorer, stream"
            ),
        ),
        ("packs: mine.yaml", "packs: a list is needed, got 'mine.yaml'"),
        ("stream: {mode: all}", "stream.mode: 'all' is not allowed; use 'window', 'buffer' or "),
        ("stream: {windows: 9}", "stream: unknown key 'windows'; did you mean 'window_chars'?"),
        ("stream: {confirm: 1.5}", "stream.confirm: a whole number is needed, got 1.5"),
        (
            "stream: {window_chars: 900}",
            "stream: max_hold_chars: at least window_chars (900) is needed, got 640",
        ),
        (
            "packs: [mine.yaml], stream: {mode: after}",
            "stream.mode: 'after' only looks on, and policy 'harassment' redacts or blocks answers",
        ),
        ("placeholder: 3", "placeholder: text is needed"),
        ("packs: [nope]", "packs: unknown pack 'nope'; use one of: default"),
        ("packs: [nope.yaml]", "packs: {folder}/nope.yaml: cannot be read: "),
        ("extends: nope", "extends: unknown route 'nope'; use one of: default, mine"),
        ("extends: mine", "extends: mine -> mine is a circle"),
        ("on_error: fail_close", "on_error: 'fail_close' is not allowed; use fail_closed,"),
        (
            "on_error: {fallbak: x}",
            "on_error: a mapping is not allowed; use fail_closed, fail_open or {{fallback",
        ),
        ("on_error: {fallback: 7}", "on_error: a mapping is not allowed; use fail_closed,"),
        ("deadline_ms: 0", "deadline_ms: Input should be greater than 0"),
        ("deadline_ms: soon", "deadline_ms: a whole number is needed, got 'soon'"),
        ("media: keep", "media: 'keep' is not allowed; use 'refuse' or 'gap'"),
        ("max_chars: -1", "max_chars: Input should be greater than 0"),
        ("judge_system: 1", "judge_system: true or false is needed, got 1"),
        ("match: {trust: {}}", "match: unknown key 'trust'; did you mean 'trusted'?"),
        (
            "match: {trusted: {taem: x}}",
            (
                "match: trusted: unknown field 'taem'; did you mean 'team'?"
                " use one of: key_alias, model, path, team"
            ),
        ),
        ("match: {claimed: {header: x}}", "match: claimed: unknown field 'header'"),
        ("match: {trusted: {team: []}}", "match: team: give at least one pattern"),
        (
            "match: {trusted: {team: 7}}",
            "match.trusted.team: 7 is not allowed; use text, * and ? in it, or a list of texts",
        ),
        (
            "packs: [mine.yaml], policies: {harasment: {shadow: true}}",
            (
                "policies.harasment: unknown policy 'harasment'; did you mean 'harassment'?"
                " use one of: dangerous_content, harassment, secrets"
            ),
        ),
        (
            "packs: [mine.yaml], policies: {harassment: }",
            "policies.harassment: a mapping is needed, got nothing",
        ),
        (
            "packs: [mine.yaml], policies: {harassment: {band: {}}}",
            (
                "policies.harassment: unknown key 'band'; did you mean 'bands'?"
                " use one of: actions, bands, enabled, shadow"
            ),
        ),
        (
            "packs: [mine.yaml], policies: {harassment: {shadow: 1}}",
            "policies.harassment.shadow: true or false is needed, got 1",
        ),
        (
            "packs: [mine.yaml], policies: {harassment: {actions: {input: log}}}",
            "policies.harassment.actions: a judged policy has bands",
        ),
        (
            "packs: [mine.yaml], policies: {secrets: {bands: {input: {log: 0.1}}}}",
            "policies.secrets.bands: a pattern policy has actions",
        ),
        (
            "packs: [mine.yaml], policies: {dangerous_content: {bands: {output: {redact: 0.1}}}}",
            "policies.dangerous_content.bands: policy 'dangerous_content' is never redacted",
        ),
        (
            "packs: [mine.yaml], policies: {harassment: {bands: {input: {log: 0.9, block: 0.1}}}}",
            "policies.harassment.bands.input: bands must rise from log over redact to block",
        ),
    ],
)
def test_a_wrong_route_is_named_by_its_key(folder: Path, route: str, message: str) -> None:
    found = refusal(folder, routes(f"  mine: {{{route}}}"))
    wanted = message.format(folder=folder)
    assert found.startswith((f"routes.mine.{wanted}", f"routes.mine: {wanted}"))


def test_a_route_that_only_logs_answers_may_judge_streams_afterwards(folder: Path) -> None:
    (folder / "logs.yaml").write_text(
        "name: logs\nversion: '1'\ndescription: d\npolicies:\n"
        "  insult: {kind: pattern, words: [idiot], actions: {input: block, output: log}}\n"
    )
    read(folder, routes("  mine: {packs: [logs.yaml], on_error: fail_open, stream: {mode: after}}"))
    closed = refusal(folder, routes("  mine: {packs: [logs.yaml], stream: {mode: after}}"))
    assert "a judge that fails would block answers here" in closed


def test_how_streams_are_held_and_redactions_look_comes_from_the_route(folder: Path) -> None:
    written = "stream: {mode: buffer, confirm: 2}, placeholder: '[{policy} removed]'"
    route = read(folder, routes(f"  mine: {{{written}}}")).routes.named("mine")
    assert route.pacing == Pacing("buffer", confirm=2)
    assert route.placeholder == "[{policy} removed]"


@pytest.mark.parametrize("threshold", ["0", ".nan", "1.5", "-0.2", "yes", "'0.5'", "high"])
def test_a_wrong_threshold_of_a_route_is_named_by_its_key(folder: Path, threshold: str) -> None:
    found = refusal(
        folder,
        routes(
            "", default=f"policies: {{harassment: {{bands: {{output: {{block: {threshold}}}}}}}}}"
        ),
    )
    assert found.startswith("routes.default.policies.harassment.bands.output")
    assert "number" in found


def test_default_matches_nothing_because_it_takes_the_rest(folder: Path) -> None:
    found = refusal(folder, routes("", default="packs: [], match: {trusted: {team: a}}"))
    assert found == "routes.default.match: 'default' takes all other traffic, unmatched"


@pytest.mark.parametrize(
    "circle", ["  a: {extends: b}\n  b: {extends: a}", "  a: {extends: b}\n  b: {extends: b}"]
)
def test_routes_that_extend_each_other_in_a_circle_are_refused(folder: Path, circle: str) -> None:
    assert refusal(folder, routes(circle)).endswith("is a circle")


def test_a_policy_that_two_packs_tell_differently_is_refused(folder: Path) -> None:
    (folder / "twin.yaml").write_text(PACK.replace("0.8", "0.7"), encoding="utf-8")
    found = refusal(folder, routes("", default="packs: [mine.yaml, twin.yaml]"))
    assert found == "routes.default.packs: two packs have a policy called 'harassment'"


def test_a_bad_pack_is_named_by_route_file_and_key(folder: Path) -> None:
    (folder / "bad.yaml").write_text(PACK.replace("0.8", "1.8"), encoding="utf-8")
    found = refusal(folder, routes("", default="packs: [bad.yaml]"))
    assert found.startswith(
        f"routes.default.packs: {folder / 'bad.yaml'}: policies.harassment.bands.input: block: 1.8"
    )


LOOSER = [
    "policies: {harassment: {bands: {input: {log: 0.3, block: 0.9}}}}",
    "policies: {harassment: {bands: {output: {log: 0.5, block: 0.9}}}}",
    "policies: {harassment: {shadow: true}}",
    "policies: {secrets: {actions: {output: redact}}}",
    "policies: {dangerous_content: {enabled: false}}",
    "packs: [other.yaml]",
]


@pytest.mark.parametrize("change", LOOSER)
def test_a_route_that_callers_choose_may_not_be_looser_than_default(
    folder: Path, change: str
) -> None:
    text = routes(f"  loose: {{extends: default, match: {{claimed: {{tag: x}}}}, {change}}}\n")
    found = refusal(folder, text)
    assert found.startswith("routes.loose.match.claimed: callers choose this route themselves, yet")
    assert found.endswith("or set trust_claims: true")


@pytest.mark.parametrize("change", LOOSER)
def test_a_looser_route_is_fine_where_claims_are_trusted_or_the_gateway_says_so(
    folder: Path, change: str
) -> None:
    claimed = f"  loose: {{extends: default, match: {{claimed: {{tag: x}}}}, {change}}}\n"
    trusting = read(folder, "trust_claims: true\n" + routes(claimed))
    assert trusting.routes.resolve(claimed={"tag": "x"}).name == "loose"
    gateway = read(folder, routes(claimed.replace("claimed: {tag", "trusted: {team")))
    assert gateway.routes.resolve(trusted={"team": "x"}).name == "loose"


def test_a_stricter_route_may_be_chosen_by_callers(folder: Path) -> None:
    strict = "policies: {harassment: {bands: {input: {log: 0.1, block: 0.5}}}}"
    text = routes(f"  kids: {{extends: default, match: {{claimed: {{tag: x}}}}, {strict}}}\n")
    assert read(folder, text).routes.resolve(claimed={"tag": "x"}).name == "default+kids"


CHANGES = [
    ("guard.yaml", "shadow: true", "shadow: false"),
    ("guard.yaml", "deadline_ms: 100", "deadline_ms: 101"),
    ("guard.yaml", "rest: 0.1", "rest: 0.2"),
    ("mine.yaml", "block: 0.8", "block: 0.81"),
    ("mine.yaml", "input: a,", "input: A,"),
    ("mine.yaml", "words: [hush]", "words: [hush, hush]"),
    ("mine.yaml", 'version: "1"', 'version: "2"'),
]
GUARD = "scorers: {w: {type: fake, rest: 0.1}}\n" + routes(
    "", default="packs: [mine.yaml], deadline_ms: 100, policies: {secrets: {shadow: true}}"
)


@pytest.mark.parametrize(("file", "old", "new"), CHANGES)
def test_the_fingerprint_changes_with_every_word_of_file_and_packs(
    folder: Path, file: str, old: str, new: str
) -> None:
    before = read(folder, GUARD).fingerprint
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    assert load(folder / "guard.yaml").fingerprint != before


def test_the_fingerprint_does_not_change_with_the_folder_or_with_comments(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.yaml").write_text("# mine" + PACK, encoding="utf-8")
    assert read(elsewhere, "# hi\n" + GUARD).fingerprint == read(folder, GUARD).fingerprint


@pytest.mark.parametrize("content", [b"\xff\xfea", b"a: [", b"a: &a 1\nb: *a", b"[" * 9_999])
def test_a_file_that_cannot_be_read_is_named(folder: Path, content: bytes) -> None:
    path = folder / "guard.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"guard\.yaml: "):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"guard\.yaml: cannot be read: .*No such file"):
        load(tmp_path / "guard.yaml")


def test_a_text_is_named_by_what_the_caller_calls_it() -> None:
    with pytest.raises(ConfigError, match=r"^the demo: a mapping is needed"):
        loads("[]", source="the demo")


def test_a_pack_that_fails_to_import_is_named_by_route_and_distribution(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    (folder / "a_broken_pack.py").write_text("raise RuntimeError('no licence')", encoding="utf-8")
    info: Any = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gemma_guard.packs]\nacme = a_broken_pack:x\n")
    importlib.invalidate_caches()
    found = refusal(folder, routes("", default="packs: [acme]"))
    assert found.startswith("routes.default.packs: 'acme' (a_broken_pack:x, from acme) fails to")
    assert "RuntimeError: no licence" in found
