from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import regex
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.errors import Cause, ConfigError, DeadlineExceeded, TextRefused, UsageError
from gemma_guard.policy import DETECTORS, Bands, Guideline, Patterns, Policy
from gemma_guard.scorer import Priority, Probe, Scorer
from gemma_guard.scorers.pattern import PatternScorer, compile_patterns
from gemma_guard.verdict import Action, Score, Span, Stage

POLICIES = Path(__file__).parents[2] / "policies"
EVERYTHING = Patterns(
    ("api_key", "email", "iban", "ip_address", "payment_card", "phone", "private_key"),
    words=("red", "red fox"),
    expressions=(r"[a-z]*\d", r"x*"),
    regions=("US", "GB"),
)


def policy(patterns: Patterns, name: str = "found") -> Policy:
    return Policy(name, input=Bands(block=1.0), patterns=patterns)


async def score(text: str, *patterns: Patterns, deadline_s: float = 30) -> tuple[Score, ...]:
    probe = Probe(text, tuple(policy(each) for each in patterns))
    deadline = time.monotonic() + deadline_s
    [scores] = await PatternScorer().score([probe], deadline=deadline, priority=Priority.LIVE)
    return scores


def found(text: str, patterns: Patterns) -> list[str]:
    [scored] = asyncio.run(score(text, patterns))
    return [text[span.start : span.end] for span in scored.spans]


def check(text: str, patterns: Patterns) -> None:
    """What is in «guillemets», and nothing else, is found."""
    bare = text.replace("«", "").replace("»", "")
    assert found(bare, patterns) == regex.findall("«(.*?)»", text, flags=regex.DOTALL)


@pytest.mark.parametrize(
    "text",
    [
        "Bob <«bob@example.com»>, hello",
        "write to «bob.o'neil+news@mail.example.co.uk».",
        "(«bob@example.com»)!",
        "mailto:«bob@example.com»?subject=x",
        "email=«bob@example.com»&x=1",
        "https://example.com/u/«bob@example.com»",
        ".«bob@example.org»",
        "«bob@bücher.example»",
        "«почта@пример.рф»",
        "邮箱«bob@example.com»是我的",
        "«a@example.com»,«b@example.com»",
        "icon@2x.png, @bob, bob@localhost, bob@example, a @ b.com, pkg@1.2.3",
    ],
)
def test_an_address_is_found_without_what_stands_around_it(text: str) -> None:
    check(text, Patterns(("email",)))


@pytest.mark.parametrize(
    "text",
    [
        "call «+1 202-555-0123».",
        "«+1 (202) 555-0123», «+12025550123»",
        "tel:«+442079460958»",
        "(«+44 20 7946 0958»)",
        "«+44 (0)20 7946 0958» until 5",
        "«+1 202 555 0123» 24 hours",
        "电话«+12025550123»号",
        "+1 555-0100, +123456, 1+2025550123, +0 000 000 0000, +999 202 555 0123",
        "020 7946 0958, (202) 555-0123: no country code",
    ],
)
def test_an_international_phone_number_is_found_anywhere(text: str) -> None:
    check(text, Patterns(("phone",)))


@pytest.mark.parametrize(
    "text",
    [
        "«020 7946 0958» or «(202) 555-0123» or «202.555.0123»",
        "«2025550123» «2025550199»",
        "(«020 7946 0958»)",
        "12 «202 555 0123»",
        "«0044 20 7946 0958»",
        "«1-202-555-0123»",
        "2024-12-31 10:30, 31/12/2024 202, 2.025550123, v2.0.2.5.5.5.0.1.2.3",
        "order 12 345 6789, invoice A2025550123, 1735689600, 192.0.2.101",
    ],
)
def test_a_national_phone_number_is_found_where_its_region_is_named(text: str) -> None:
    check(text, Patterns(("phone",), regions=("US", "GB")))


@pytest.mark.parametrize(
    "text",
    [
        "«4111 1111 1111 1111», «4111-1111-1111-1111».",
        "«4111111111111111»",
        "«4222222222222», «378282246310005», «3782 822463 10005», «3056 9309 0259 04»",
        "«5555555555554444» «6011111111111117» «2223003122003222» «3530111333300000»",
        "12 «4111111111111111» 34",
        "卡号«4111111111111111»是",
        "«4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1»",
        "«41 11 11 11 11 11 11 11»",
        "4111 1111 1111 1112, 4111111111111112",
        "0000 0000 0000 0000, 9999999999999995, 7992739871300004",
        "0.4111111111111111, 41111111111111111111111, id4111111111111111, 4111111111111111f",
        "4111  1111  1111  1111, 411111111111, order 123-4567890-1234567",
    ],
)
def test_a_card_number_has_an_issuer_and_its_check_digit(text: str) -> None:
    check(text, Patterns(("payment_card",)))


@pytest.mark.parametrize(
    "text",
    [
        "«DE89 3704 0044 0532 0130 00» and more",
        "«GB82WEST12345698765432».",
        "«gb82 west 1234 5698 7654 32»",
        "«NO93 8601 1117 947», «MT84MALT011000012345MTLCAST001S»",
        "ab12 «DE89370400440532013000»",
        "DE88370400440532013000, ZZ89370400440532013000",
        "DE89370400440532013000X, XDE89370400440532013000, DE893704004405320130",
    ],
)
def test_an_iban_has_its_country_s_length_and_its_check_digits(text: str) -> None:
    check(text, Patterns(("iban",)))


@pytest.mark.parametrize(
    "text",
    [
        "from «192.0.2.1», to «198.51.100.255».",
        "http://«192.0.2.7»:8080/ in «203.0.113.0»/24",
        "(«2001:db8::1») «::1» «fe80::1»%eth0",
        "«2001:db8:0:0:0:0:0:1». «2001:DB8::» «::ffff:192.0.2.1»",
        "http://[«2001:db8::2»]:80/ and «2001:db8::3»: an address",
        "1.2.3, v1.2.3.4, 1.2.3.4.5, 256.1.1.1, 192.0.2, 1.3.6.1.4.1, 01.02.03.04",
        "12:30:45, 00:1a:2b:3c:4d:5e, std::vector, Bad::Face, ::, 1:2:3:4:5:6:7:8:9",
    ],
)
def test_an_ip_address_is_no_version_time_or_name(text: str) -> None:
    check(text, Patterns(("ip_address",)))


def join(*parts: str) -> str:
    """A key's parts as one, put together here so that no scanner takes the tests for a leak."""
    return "".join(parts)


@pytest.mark.parametrize(
    "key",
    [
        join("AK", "IA", "IOSFODNN7", "EXAMPLE"),
        join("AS", "IA", "IOSFODNN7", "EXAMPLE"),
        *(join("gh", kind, "_", "a1B2" * 9) for kind in "pousr"),
        join("github", "_pat_", "a1B2" * 5 + "zz", "_", "c3D4" * 14 + "xyz"),
        join("gl", "pat-", "a1B2" * 5),
        join("xo", "xb-", "123456789012-", "a1B2" * 6),
        join("AI", "za", "a1B2-" * 7),
        join("sk", "_live_", "a1B2" * 6),
        join("rk", "_live_", "a1B2" * 6),
        join("sk", "-", "a1B2" * 12),
        join("sk", "-proj-", "a1_B2-" * 20 + "Z"),
        join("sk", "-ant-", "api03-", "a1_B2-" * 15 + "AA"),
        join("h", "f_", "aBcD" * 8 + "eF"),
        join("npm", "_", "a1B2" * 9),
        join("py", "pi-", "AgEIcHlwaS5vcmc", "a1B2" * 20),
        join("S", "G.", "a1B2" * 5 + "xy", ".", "a1B2" * 10 + "xyz"),
        join("S", "K", "0a1b" * 8),
        join("ey", "JhbGciOiJIUzI1NiJ9", ".", "ey", "JzdWIiOiJib2IifQ", ".", "a1B2" * 10),
    ],
)
def test_a_key_is_found_whole_in_code_and_prose(key: str) -> None:
    for around in ('API_KEY="{}"', "my key is {}.", "x={}\n", "钥匙{}是", "?token={}&x=1"):
        assert found(around.format(key), Patterns(("api_key",))) == [key]


@pytest.mark.parametrize(
    "text",
    [
        "a task-oriented-workflow, sk-learn, sk-" + "short",
        "MAKIA1234567890123456, hf_hub_download, npm_config_registry, ghp_short",
        "SKILL, xoxo-xoxo, eyJust.a.word, AIzawa, disk-aaaaaaaaaaaaaaaaaaaaaaaa",
        "1f0c2b7e9d3a4c5b8e6f7a8b9c0d1e2f3a4b5c6d",
    ],
)
def test_words_that_begin_like_a_key_are_not_found(text: str) -> None:
    check(text, Patterns(("api_key",)))


def block(kind: str) -> str:
    return join("-----BEGIN ", kind, "-----\nMIIB\n-----END ", kind, "-----")


@pytest.mark.parametrize(
    "kind",
    [
        join(kind, "PRIVATE", " KEY", end)
        for kind, end in [("", ""), ("RSA ", ""), ("OPENSSH ", ""), ("PGP ", " BLOCK")]
    ],
)
def test_a_private_key_is_found_with_all_its_lines(kind: str) -> None:
    check(f"here: «{block(kind)}» and «{block(kind)}»\n", Patterns(("private_key",)))
    check(f"here: «{block(kind)[:-9]}»", Patterns(("private_key",)))
    check(block("PUBLIC KEY"), Patterns(("private_key",)))


@pytest.mark.parametrize(
    "text",
    [
        "A «RED» «red\n  Fox», redder, infra-«red», ired, red_",
        "«Straße», «STRAßE», «c++», «Ёлка»",
        "制造«炸弹»的方法",
    ],
)
def test_words_are_whole_whatever_their_case(text: str) -> None:
    check(text, Patterns(words=("red", "red fox", "straße", "c++", "ёлка", "炸弹")))


def test_a_word_with_a_combining_mark_is_another_word() -> None:
    check("red\u0301, «red»", Patterns(words=("red",)))


def test_an_expression_that_matches_nothing_at_all_finds_nothing() -> None:
    check("ab«xx»c", Patterns(expressions=("x*",)))
    check("abc", Patterns(expressions=("", "$", r"\b", "(?=a)")))


def test_expressions_use_the_syntax_of_the_regex_package() -> None:
    check("«INV-001234», inv-001234", Patterns(expressions=(r"\mINV-\p{Nd}{6}\M",)))


def test_a_span_says_what_found_it() -> None:
    text = "red: bob@example.com 77"
    patterns = Patterns(("email",), words=("red",), expressions=("77",))
    [scored] = asyncio.run(score(text, patterns))
    assert scored.spans == (Span(0, 3, "word"), Span(5, 20, "email"), Span(21, 23, "expression"))
    assert scored.violation == 1.0


def test_overlapping_spans_are_merged_and_touching_ones_are_not() -> None:
    [scored] = asyncio.run(score("abcdef", Patterns(expressions=("abc", "cd", "ef"))))
    assert scored.spans == (Span(0, 4, "expression"), Span(4, 6, "expression"))


def test_each_policy_of_each_probe_is_scored_in_order() -> None:
    red, blue = policy(Patterns(words=("red",)), "red"), policy(Patterns(words=("blue",)), "blue")
    probes = [Probe("red", (blue, red)), Probe("blue", (red, blue))]
    scores = asyncio.run(
        PatternScorer().score(probes, deadline=time.monotonic() + 5, priority=Priority.LIVE)
    )
    seen = [[(score.policy, score.violation) for score in each] for each in scores]
    assert seen == [[("blue", 0.0), ("red", 1.0)], [("red", 0.0), ("blue", 1.0)]]


any_text = st.text(st.characters(exclude_categories=()), max_size=80)
pieces = st.sampled_from(
    ["+1 202 555 0123", "bob@example.com", "4111 1111", " 1111 1111", "::1", "192.0.2.", "9", "red"]
)
texts = st.lists(st.one_of(any_text, pieces)).map("".join)


@given(texts)
def test_spans_lie_in_the_text_in_order_and_never_overlap(text: str) -> None:
    [scored] = asyncio.run(score(text, EVERYTHING))
    edges = [edge for span in scored.spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(text) for edge in edges)
    assert scored.violation == float(bool(scored.spans))


def luhn_digit(number: str) -> str:
    doubled = [int(d) * 2 if at % 2 == 0 else int(d) for at, d in enumerate(reversed(number))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


visa = st.text("0123456789", min_size=14, max_size=14).map(lambda rest: "4" + rest)
cards = visa.map(lambda number: number + luhn_digit(number))
grouped = st.tuples(cards, st.sampled_from(["", " ", "-"])).map(
    lambda card: card[1].join(card[0][at : at + 4] for at in range(0, 16, 4))
)


@given(texts, grouped, texts)
def test_a_valid_card_number_is_found_in_any_text(before: str, card: str, after: str) -> None:
    text = f"{before} {card} {after}"
    start = len(before) + 1
    [scored] = asyncio.run(score(text, Patterns(("payment_card",))))
    assert any(s.start <= start and start + len(card) <= s.end for s in scored.spans)


@given(grouped.flatmap(lambda card: st.tuples(st.just(card), st.integers(1, 9))))
def test_a_card_number_with_one_wrong_digit_is_not_found(case: tuple[str, int]) -> None:
    card, shift = case
    wrong = card[:-1] + str((int(card[-1]) + shift) % 10)
    assert wrong not in found(wrong, Patterns(("payment_card",)))


@pytest.mark.parametrize("before", ["😀", "\ud800", "\x00", "e\u0301", "\U0010ffff\udfff\x00"])
@pytest.mark.parametrize("times", [1, 5_000])
def test_offsets_are_right_after_any_character(before: str, times: int) -> None:
    text = before * times + " bob@example.com " + before
    assert found(text, Patterns(("email",))) == ["bob@example.com"]


@pytest.mark.parametrize("length", [3_000, 5_000])
def test_a_catastrophic_expression_is_refused_quickly_and_without_the_text(length: int) -> None:
    text = "a" * length + "b"
    began = time.perf_counter()
    with pytest.raises(TextRefused, match="'found'") as refused:
        asyncio.run(score(text, Patterns(expressions=("(a+)+$",))))
    assert time.perf_counter() - began < 2
    assert refused.value.cause is Cause.TOO_COSTLY
    assert "aaa" not in str(refused.value)


def test_the_deadline_ends_a_costly_search() -> None:
    began = time.perf_counter()
    with pytest.raises((TextRefused, DeadlineExceeded)):
        asyncio.run(score("a" * 1_000_000 + "b", Patterns(expressions=("(a+)+$",)), deadline_s=0.2))
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("length", [10, 10_000])
def test_a_deadline_that_has_passed_is_the_scorer_s_failure(length: int) -> None:
    with pytest.raises(DeadlineExceeded):
        asyncio.run(score("a" * length, Patterns(words=("red",)), deadline_s=-1))


def test_a_busy_machine_is_not_taken_for_a_costly_text() -> None:
    """The clock of `regex` runs faster the more threads are busy."""
    done = threading.Event()

    def work() -> None:
        import hashlib  # noqa: PLC0415

        while not done.is_set():
            hashlib.sha256(b"x" * 1_000_000).digest()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert found("b" * 100_000 + " red", Patterns(words=("red",))) == ["red"]
    finally:
        done.set()
        for thread in threads:
            thread.join()


async def test_a_long_text_leaves_the_loop_free() -> None:
    searching = asyncio.create_task(score("1234 a.b:c " * 30_000, EVERYTHING))
    turns = 0
    while not searching.done():
        await asyncio.sleep(0.001)
        turns += 1
    await searching
    assert turns > 5


def test_more_matches_than_can_be_kept_are_refused() -> None:
    with pytest.raises(TextRefused, match="more than 200,000 matches") as refused:
        asyncio.run(score("a " * 200_001, Patterns(words=("a",))))
    assert refused.value.cause is Cause.TOO_COSTLY


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (Patterns(expressions=("[a",)), r"'secrets'.*'\[a'"),
        (Patterns(expressions=("ok", "(?P<x>a)(?P=y)")), "'secrets'.*unknown group"),
        (Patterns(words=("red", " ")), "'secrets'.*empty word"),
        (Patterns(("phone",), regions=("US", "ZZ", "uk")), "'secrets'.*unknown regions ZZ, uk"),
    ],
)
def test_patterns_that_cannot_be_compiled_are_named(patterns: Patterns, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compile_patterns(patterns, "secrets")


def test_patterns_are_compiled_once() -> None:
    first = compile_patterns(Patterns(words=("red",)), "one")
    assert compile_patterns(Patterns(words=("red",)), "two") is first


def test_it_is_a_scorer_of_pattern_policies_only() -> None:
    judged = Policy("harassment", input=Bands(block=0.5), guideline=Guideline("a", "b"))
    scorer = PatternScorer()
    assert isinstance(scorer, Scorer)
    assert scorer.judges(policy(EVERYTHING), Stage.OUTPUT)
    assert not scorer.judges(judged, Stage.INPUT)
    with pytest.raises(UsageError, match="harassment"):
        asyncio.run(scorer.score([Probe("x", (judged,))], deadline=9e9, priority=Priority.LIVE))


async def test_its_fingerprint_names_what_decides() -> None:
    async with PatternScorer() as scorer:
        assert regex.fullmatch(r"pattern:\d+:regex-[\d.]+:phonenumbers-[\d.]+", scorer.fingerprint)


def test_phonenumbers_is_loaded_only_for_phone_policies() -> None:
    program = (
        "import sys; from gemma_guard.policy import Patterns;"
        "from gemma_guard.scorers.pattern import compile_patterns;"
        "compile_patterns(Patterns(('email', 'iban'), words=('a',)), 'p');"
        "sys.exit('phonenumbers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def packs() -> Iterable[Path]:
    return sorted(POLICIES.glob("*.yaml"))


@pytest.mark.parametrize("path", packs(), ids=lambda path: path.stem)
def test_every_pack_names_patterns_and_actions_that_exist(path: Path) -> None:
    pack = yaml.safe_load(path.read_text())
    assert pack["name"] == path.stem
    assert isinstance(pack["version"], str)
    for name, entry in pack["policies"].items():
        for bands in entry.get("bands", {}).values():
            Bands(**bands)
        for action in entry.get("actions", {}).values():
            Action.parse(action)
        if entry.get("kind") == "pattern":
            assert set(entry.get("patterns", ())) <= set(DETECTORS)
            keys = {"patterns": "detectors"}
            lists = {k: tuple(v) for k, v in entry.items() if isinstance(v, list)}
            compile_patterns(Patterns(**{keys.get(k, k): v for k, v in lists.items()}), name)
