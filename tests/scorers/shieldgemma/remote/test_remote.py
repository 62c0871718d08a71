"""A real server on loopback in each dialect: the same scores, whatever fails over, by the deadline.

The server's model is a table of logits made from the token ids; it shows the protocol, not an
engine. None of the dialects has met a live engine here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from gemma_guard import (
    Action,
    ConfigError,
    DeadlineExceeded,
    Guard,
    NotServing,
    Overloaded,
    Patterns,
    Policy,
    Priority,
    Probe,
    Score,
    ScoringError,
    ScoringFailed,
    Stage,
    TextRefused,
    Unreachable,
    plugins,
)
from gemma_guard.packs import default
from gemma_guard.prompt import template
from gemma_guard.scorer import Check
from gemma_guard.scorers.remote import dialects
from gemma_guard.scorers.remote.dialects import Completions
from gemma_guard.scorers.remote.endpoints import endpoints, pick
from gemma_guard.scorers.remote.scorer import Remote
from gemma_guard.scorers.shieldgemma import ShieldGemma
from gemma_guard.scorers.shieldgemma.engine import Reading
from gemma_guard.scorers.shieldgemma.scores import scores
from gemma_guard.scorers.shieldgemma.tokens import Encoder, tokenizer_for_text

DIALECTS = ["vllm", "completions", "sglang"]
FOUR = default().policies
CANARY = "canary-7f3a"
Ids = Sequence[int]


def logprobs(ids: Ids) -> dict[str, float]:
    """Every prompt has logits of its own over a vocabulary of thirty tokens."""
    seed = hashlib.sha256(json.dumps(list(ids)).encode()).digest()
    chance = random.Random(seed)  # noqa: S311  a table, no secret
    logits = {f"t{i}": chance.uniform(-9, 3) for i in range(28)}
    logits |= {"Yes": chance.uniform(1, 9), "No": chance.uniform(1, 9)}
    norm = math.log(sum(map(math.exp, logits.values())))
    return {token: logit - norm for token, logit in logits.items()}


class Quiet(ThreadingHTTPServer):
    """Says nothing of callers who hang up."""

    daemon_threads = True

    def handle_error(self, _request: Any, _address: Any) -> None:
        pass


class Server:
    """One engine. `before` may answer in its place: a status, or None to go on."""

    def __init__(self, *, model: str = "shieldgemma", most_tokens: int = 8192) -> None:
        self.model, self.most_tokens = model, most_tokens
        self.logprobs: Callable[[Ids], dict[str, float]] = logprobs
        self.before: Callable[[str], int | None] = lambda _path: None
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.longest = 0
        self.labels: dict[int, str] = {}
        self.is_broken = False
        self.refuses_over = 10**6
        self._arrived = threading.Semaphore(0)
        self._http = Quiet(("127.0.0.1", 0), self._responder())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    async def arrivals(self, count: int) -> None:
        """Wait until so many requests have come."""
        for _ in range(count):
            await asyncio.to_thread(self._arrived.acquire)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _responder(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Responder(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                models = [{"id": server.model, "max_model_len": server.most_tokens}]
                self._send(server.before(self.path) or 200, {"object": "list", "data": models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                server.keys.append(self.headers["Authorization"])
                server._arrived.release()
                status = server.before(self.path)
                if status == HANG_UP:
                    self.close_connection = True
                    return
                told = None if status else server.answer(self.path, body)
                if told is None:
                    self._send(status or 400, {"error": {"message": CANARY}})
                else:
                    self._send(200, told)

            def _send(self, status: int, told: Any) -> None:
                written = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)

            def log_message(self, *_: Any) -> None:
                pass

        return Responder

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/completions" and "logprobs" not in body:
            return {"choices": [{"index": 0, "text": f"Yes.\nBecause of {body['max_tokens']}."}]}
        if path == "/v1/completions":
            found = [self._read(prompt) for prompt in body["prompt"]]
            return {"choices": [_choice(i, row, body["logprobs"]) for i, row in enumerate(found)]}
        prompts = [[*body["query"], *item] for item in body["items"]]
        if max(map(len, prompts)) > self.refuses_over:
            return None
        found = [self._read(prompt) for prompt in prompts]
        one, other = (self.labels.get(i, "") for i in body["label_token_ids"])
        both = [(row[one], row[other]) for row in found]
        if path == "/v1/score":
            return {"scores": [_softmax(*row) for row in both], "token_logprobs": both}
        assert path == "/generative_scoring"
        of_labels = body["apply_softmax"] and not self.is_broken
        shares = [_softmax(*row)[0] if of_labels else math.exp(row[0]) for row in both]
        data = [{"index": i, "score": share} for i, share in enumerate(shares)]
        return {"object": "list", "data": data}

    def _read(self, ids: Ids) -> dict[str, float]:
        self.longest = max(self.longest, len(ids))
        return self.logprobs(ids[: self.most_tokens])


HANG_UP = -1


def labels(tokenizer: Path) -> dict[int, str]:
    """Which ids stand for which label."""
    vocabulary = Tokenizer.from_file(str(tokenizer))
    found = {vocabulary.token_to_id(label): label for label in ("Yes", "No")}
    return {token: label for token, label in found.items() if token is not None}


def _softmax(yes: float, no: float) -> tuple[float, float]:
    top, bottom = math.exp(yes), math.exp(no)
    return top / (top + bottom), bottom / (top + bottom)


def _choice(index: int, row: dict[str, float], count: int) -> dict[str, Any]:
    ranked = sorted(row.items(), key=lambda item: -item[1])[:count]
    return {"index": index, "text": ranked[0][0], "logprobs": {"top_logprobs": [dict(ranked)]}}


@contextmanager
def serving(**options: Any) -> Iterator[Server]:
    server = Server(**options)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def remote(server: Server, small_tokenizer: Path) -> Callable[..., Remote]:
    def made(*more: Server, **options: Any) -> Remote:
        urls = [one.url for one in (server, *more)]
        for one in (server, *more):
            one.labels = labels(small_tokenizer)
        given = {"tokenizer": str(small_tokenizer), **options}
        return Remote("shieldgemma", given.pop("urls", urls), **given)

    return made


async def asked(
    scorer: Remote, *probes: Probe, seconds: float = 30.0
) -> Sequence[tuple[Score, ...]]:
    deadline = time.monotonic() + seconds
    return await scorer.score(probes, deadline=deadline, priority=Priority.LIVE)


def here(file: Path, probe: Probe, **options: Any) -> tuple[Score, ...]:
    """The same questions, read without a server."""
    encoder = Encoder(tokenizer_for_text(file), template("hf-chat"), **options)
    found = encoder.questions(probe)
    readings = [
        [_reading(logprobs([*question.prefix, *suffix])) for suffix in question.suffixes]
        for _, question in found
    ]
    return scores(probe.policies, [window for window, _ in found], readings)


def _reading(row: dict[str, float]) -> Reading:
    return Reading(row["Yes"], row["No"])


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200), st.one_of(st.none(), st.text(max_size=50)), st.sampled_from(Stage))
def test_a_text_scores_there_what_it_scores_here(
    remote: Callable[..., Remote],
    small_tokenizer: Path,
    dialect: str,
    text: str,
    prompt: str | None,
    stage: Stage,
) -> None:
    probe = Probe(text, FOUR, stage, prompt)

    async def both() -> None:
        async with remote(dialect=dialect) as scorer:
            (there,) = await asked(scorer, probe)
        for one, other in zip(there, here(small_tokenizer, probe), strict=True):
            assert one.policy == other.policy
            assert one.violation == pytest.approx(other.violation, abs=1e-9)
            assert one.margin == pytest.approx(other.margin, abs=1e-6)

    asyncio.run(both())


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_model_scores_behind_a_server_what_it_scores_in_a_process_of_ours(
    server: Server,
    remote: Callable[..., Remote],
    gemma: ShieldGemma,
    make_model: Callable[[int], Any],
    small_tokenizer: Path,
    dialect: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "completions", Completions(top=10**6))
    server.logprobs = of_model(make_model(0), small_tokenizer)
    probes = [Probe("hello", FOUR), Probe("hello", FOUR, Stage.OUTPUT, "The train leaves at nine.")]
    async with remote(dialect=dialect) as scorer:
        there = await asked(scorer, *probes, seconds=300)
    deadline = time.monotonic() + 300
    here = await gemma.score(probes, deadline=deadline, priority=Priority.LIVE)
    for one, other in zip(chain(*there), chain(*here), strict=True):
        assert one.violation == pytest.approx(other.violation, abs=1e-4)
        assert one.margin == pytest.approx(other.margin, abs=1e-3)


def of_model(model: Any, tokenizer: Path) -> Callable[[Ids], dict[str, float]]:
    """What an engine computes: the log-probability of every token that may come next."""
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()

    @torch.inference_mode()
    def of(ids: Ids) -> dict[str, float]:
        logits = model(torch.tensor([list(ids)])).logits[0, -1]
        found = torch.log_softmax(logits.double(), -1).tolist()
        return {token: found[i] for token, i in vocabulary.items()}

    return of


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_long_text_is_windowed_and_no_prompt_is_ever_longer_than_the_context(
    server: Server, remote: Callable[..., Remote], small_tokenizer: Path, dialect: str
) -> None:
    server.most_tokens = 1024
    probe = Probe("the library opens at nine " * 60, FOUR)
    async with remote(dialect=dialect, context=1024) as scorer:
        (there,) = await asked(scorer, probe)
    assert server.longest < 1024
    for one, other in zip(there, here(small_tokenizer, probe, context=1023), strict=True):
        assert one.window == other.window
        assert one.window is not None
        assert one.violation == pytest.approx(other.violation, abs=1e-9)


async def test_policies_share_one_request_and_many_texts_are_asked_at_once(
    server: Server, remote: Callable[..., Remote]
) -> None:
    async with remote() as scorer:
        answers = await asked(scorer, *(Probe(f"text {i}", FOUR) for i in range(10)))
    assert len(server.bodies) == 10
    assert [len(body["items"]) for body in server.bodies] == [4] * 10
    assert len(set(answers)) == 10


async def test_tenants_get_a_salt_each_that_does_not_name_them(
    server: Server, remote: Callable[..., Remote]
) -> None:
    async with remote() as scorer:
        for tenant in ("team-a", "team-b", "team-a", ""):
            await asked(scorer, Probe("hello", FOUR, tenant=tenant))
    salts = [body.get("cache_salt") for body in server.bodies]
    assert salts[0] == salts[2] != salts[1]
    assert salts[3] is None
    assert "team" not in repr(salts)


async def test_a_guard_hands_its_tenant_on(server: Server, remote: Callable[..., Remote]) -> None:
    async with Guard.of(FOUR, remote(), sinks=()) as guard:
        await guard.check("hello", tenant="team-a")
    assert server.bodies[0]["cache_salt"]


async def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    server: Server, remote: Callable[..., Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", CANARY)
    scorer = remote(key_env="JUDGE_KEY")
    async with scorer:
        await asked(scorer, Probe("hello", FOUR))
    assert server.keys == [f"Bearer {CANARY}"]
    assert CANARY not in repr(vars(scorer)) + scorer.fingerprint


def test_a_key_that_is_not_there_stops_the_load(remote: Callable[..., Remote]) -> None:
    with pytest.raises(ConfigError, match="the environment has no NO_SUCH_KEY"):
        remote(key_env="NO_SUCH_KEY")


# failures


def down() -> str:
    """The URL of a server that is not there."""
    server = Server()
    server.stop()
    return server.url


async def test_another_endpoint_answers_for_one_that_is_down(
    server: Server, remote: Callable[..., Remote]
) -> None:
    async with remote(urls=[down(), server.url]) as scorer:
        for _ in range(5):
            await asked(scorer, Probe("hello", FOUR))
    assert len(server.bodies) == 5


@pytest.mark.parametrize("status", [500, 502, 503, 429, HANG_UP])
async def test_another_endpoint_answers_for_one_that_fails(
    server: Server, remote: Callable[..., Remote], status: int
) -> None:
    server.before = lambda path: None if path == "/v1/models" else status
    with serving() as other:
        async with remote(other) as scorer:
            for _ in range(5):
                await asked(scorer, Probe("hello", FOUR))
        assert len(other.bodies) == 5
    assert len(server.bodies) <= 2


async def test_an_endpoint_that_hangs_leaves_time_for_another(
    server: Server, remote: Callable[..., Remote]
) -> None:
    release = threading.Event()
    server.before = lambda path: None if path == "/v1/models" else int(release.wait(20)) * 500
    with serving() as other:
        async with remote(other, attempt_s=0.2) as scorer:
            await asked(scorer, Probe("hello", FOUR))
            release.set()
        assert len(other.bodies) == 1


async def test_one_that_comes_back_is_asked_again(
    server: Server, remote: Callable[..., Remote]
) -> None:
    failing = [500]
    server.before = lambda _path: failing[0] if failing else None
    async with remote(check_every_s=0.02) as scorer:
        with pytest.raises(ScoringFailed, match="answers HTTP 500"):
            await asked(scorer, Probe("hello", FOUR), seconds=0.3)
        failing.clear()
        await asked(scorer, Probe("hello", FOUR))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, ScoringFailed),
        (400, ScoringFailed),
        (404, ScoringFailed),
        (429, Overloaded),
        (503, Overloaded),
        (HANG_UP, Unreachable),
    ],
)
async def test_a_failure_has_a_name_and_quotes_nothing(
    server: Server, remote: Callable[..., Remote], status: int, kind: type[ScoringError]
) -> None:
    server.before = lambda path: None if path == "/v1/models" else status
    async with remote() as scorer:
        with pytest.raises(kind) as failed:
            await asked(scorer, Probe(f"{CANARY} text", FOUR), seconds=0.3)
    assert CANARY not in str(failed.value)


async def test_nothing_is_tried_past_the_deadline(
    server: Server, remote: Callable[..., Remote]
) -> None:
    release = threading.Event()
    server.before = lambda path: None if path == "/v1/models" else int(release.wait(20)) * 500
    async with remote() as scorer:
        with pytest.raises((DeadlineExceeded, Unreachable)):
            await asked(scorer, Probe("hello", FOUR), seconds=0.2)
        with pytest.raises(DeadlineExceeded):
            await asked(scorer, Probe("hello", FOUR), seconds=-1.0)
        release.set()
    assert len(server.bodies) == 1


async def test_too_many_requests_at_once_are_refused_at_once(
    server: Server, remote: Callable[..., Remote]
) -> None:
    release = threading.Event()
    server.before = lambda path: None if path == "/v1/models" else int(not release.wait(20)) or None
    async with remote(most_at_once=2) as scorer:
        held = [asyncio.create_task(asked(scorer, Probe(f"{i}", FOUR))) for i in range(2)]
        await server.arrivals(2)
        with pytest.raises(Overloaded, match="2 requests are under way"):
            await asked(scorer, Probe("one more", FOUR))
        release.set()
        await asyncio.gather(*held)


async def test_closing_answers_those_who_wait(
    server: Server, remote: Callable[..., Remote]
) -> None:
    release = threading.Event()
    server.before = lambda path: None if path == "/v1/models" else int(release.wait(20)) * 500
    scorer = remote()
    async with scorer:
        waiting = asyncio.create_task(asked(scorer, Probe("hello", FOUR)))
        await server.arrivals(1)
    with pytest.raises(NotServing):
        await waiting
    release.set()
    with pytest.raises(NotServing):
        await asked(scorer, Probe("hello", FOUR))


async def test_callers_on_several_loops_are_served(remote: Callable[..., Remote]) -> None:
    async with remote() as scorer:
        probe = Probe("hello", FOUR)
        here = await asked(scorer, probe)
        there = await asyncio.to_thread(lambda: asyncio.run(asked(scorer, probe)))
    assert here == there


# opening


async def test_a_server_of_another_model_stops_the_load(
    server: Server, remote: Callable[..., Remote]
) -> None:
    server.model = "gemma-2-2b-it"
    with pytest.raises(ConfigError, match=r"serves gemma-2-2b-it, not 'shieldgemma'"):
        async with remote():
            pass


async def test_a_server_that_would_cut_prompts_off_stops_the_load(
    server: Server, remote: Callable[..., Remote]
) -> None:
    server.most_tokens = 4096
    with pytest.raises(ConfigError, match=r"would cut off more: set context: 4096"):
        async with remote():
            pass


@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_refuses_the_key_stops_the_load(
    server: Server, remote: Callable[..., Remote], status: int
) -> None:
    server.before = lambda _path: status
    with pytest.raises(ConfigError, match=f"refuses the key \\(HTTP {status}\\)"):
        async with remote():
            pass


async def test_a_server_that_is_not_up_yet_does_not_stop_the_load(
    remote: Callable[..., Remote],
) -> None:
    async with remote(urls=down()) as scorer:
        with pytest.raises(Unreachable):
            await asked(scorer, Probe("hello", FOUR), seconds=0.3)


def test_a_tokenizer_that_is_not_there_stops_the_load(
    remote: Callable[..., Remote], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer: .*tokenizer\.json is not there"):
        remote(tokenizer=str(tmp_path))


@pytest.mark.parametrize("urls", [[], "localhost:8000", ["ftp://a"]])
def test_a_url_that_is_none_stops_the_load(remote: Callable[..., Remote], urls: Any) -> None:
    with pytest.raises(ConfigError, match="urls: "):
        remote(urls=urls)


def test_it_judges_any_guideline_at_the_stages_of_its_template(
    remote: Callable[..., Remote],
) -> None:
    card = Policy("card", patterns=Patterns(words=("card",)))
    assert all(remote().judges(policy, stage) for policy in FOUR for stage in Stage)
    assert not remote(template="model-card").judges(FOUR[0], Stage.OUTPUT)
    assert not remote().judges(card, Stage.INPUT)


def test_the_fingerprint_changes_with_what_is_sent(remote: Callable[..., Remote]) -> None:
    made = [remote(), remote(dialect="sglang"), remote(template="notebook"), remote(context=4096)]
    assert len({scorer.fingerprint for scorer in made}) == len(made)


def test_it_is_found_by_its_name() -> None:
    assert plugins.load("scorers", "remote") is Remote


async def test_a_guard_judges_by_it(server: Server, small_tokenizer: Path, tmp_path: Path) -> None:
    file = tmp_path / "guard.yaml"
    file.write_text(
        "scorers:\n"
        f"  judge: {{type: remote, model: shieldgemma, urls: '{server.url}/v1',"
        f" tokenizer: '{small_tokenizer}'}}\n"
        "routes: {default: {packs: [default], scorer: judge}}\n"
    )
    server.labels = labels(small_tokenizer)
    async with Guard.from_config(file, sinks=()) as guard:
        verdict = await guard.check("hello")
    assert verdict.status == "scored"
    assert len(verdict.scores) == 4
    assert verdict.unvalidated
    assert verdict.action in Action


# examining


async def checked(scorer: Remote) -> dict[str, Check]:
    async with scorer:
        found = await scorer.examine(deadline=time.monotonic() + 30)
    return {check.name: check for check in found}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_server_that_keeps_to_its_dialect_is_found_well(
    remote: Callable[..., Remote], dialect: str
) -> None:
    found = await checked(remote(dialect=dialect))
    assert not found.pop("token ids").is_well  # the small tokenizer has ids of its own
    assert all(check.is_well for check in found.values()), found
    assert {"label mass", "truncation"} <= set(found)


async def test_a_server_that_leaves_the_softmax_out_is_found_out(
    server: Server, remote: Callable[..., Remote]
) -> None:
    server.is_broken = True
    found = await checked(remote())
    assert not found["labels"].is_well
    assert not found["softmax"].is_well


async def test_prompts_that_a_server_cuts_off_in_silence_are_told(
    server: Server, remote: Callable[..., Remote]
) -> None:
    server.most_tokens = 1024
    found = await checked(remote(context=1024))
    assert "cut off in silence" in found["truncation"].detail


async def test_a_server_that_refuses_long_prompts_is_told(
    server: Server, remote: Callable[..., Remote]
) -> None:
    server.refuses_over = server.most_tokens = 1024
    found = await checked(remote(context=1024))
    assert found["truncation"].detail == "more than 1024 tokens are refused"


def test_what_it_describes_names_model_servers_template_and_licence(
    server: Server, remote: Callable[..., Remote]
) -> None:
    told = remote().describe()
    assert told["model"] == "shieldgemma"
    assert told["servers"] == server.url
    assert told["template"] == template("hf-chat").fingerprint
    assert "Gemma Terms of Use" in told["licence"]


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "gemma-guard"), "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_doctor_examines_a_server_by_its_url(
    server: Server, remote: Callable[..., Remote], real_tokenizer: Path
) -> None:
    remote()
    server.labels = {3553: "Yes", 1294: "No"}
    named = ("--model", "shieldgemma", "--tokenizer", str(real_tokenizer))
    done = doctor("--remote", server.url, *named)
    assert "token ids    ok: Yes 3553, No 1294" in done.stdout, done.stderr
    assert "label mass   ok" in done.stdout
    assert "not yet run on a live server" in done.stdout


def test_doctor_says_that_a_server_is_not_there(small_tokenizer: Path) -> None:
    done = doctor("--remote", down(), "--tokenizer", str(small_tokenizer))
    assert done.returncode == 1
    assert "remote: NOT WELL: unreachable" in done.stdout


# words


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_model_says_why_in_its_own_words_and_is_held_to_their_number(
    server: Server, remote: Callable[..., Remote], dialect: str
) -> None:
    async with remote(dialect=dialect) as scorer:
        probe = Probe("hello", FOUR[:1])
        told = await scorer.reason(probe, tokens=40, deadline=time.monotonic() + 30)
    assert told == "Yes.\nBecause of 40."
    assert server.bodies[-1]["max_tokens"] == 40


async def test_a_text_that_leaves_no_room_for_words_is_refused_before_it_is_sent(
    server: Server, remote: Callable[..., Remote]
) -> None:
    server.most_tokens = 1024
    async with remote(context=1024) as scorer:
        probe = Probe("the library opens at nine " * 60, FOUR[:1])
        with pytest.raises(TextRefused, match="leave no 200 to write"):
            await scorer.reason(probe, tokens=200, deadline=time.monotonic() + 30)
    assert not server.bodies


async def test_explain_asks_for_words_apart_from_the_verdict(
    server: Server, small_tokenizer: Path, tmp_path: Path
) -> None:
    server.labels = labels(small_tokenizer)
    written = {
        "scorers": {
            "judge": {
                "type": "remote",
                "model": "shieldgemma",
                "urls": server.url,
                "tokenizer": str(small_tokenizer),
            }
        },
        "routes": {"default": {"packs": ["default"], "scorer": "judge"}},
    }
    (tmp_path / "guard.yaml").write_text(json.dumps(written))
    command = [str(Path(sys.executable).parent / "gemma-guard"), "explain", "hello", "-c"]
    command += [str(tmp_path / "guard.yaml"), "--policy", "harassment"]
    quiet = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    asked_before = len(server.bodies)
    spoken = await asyncio.to_thread(
        subprocess.run, [*command, "--reasoning"], capture_output=True, text=True
    )
    assert asked_before == 1
    assert "own words" not in quiet.stdout
    assert 'asked      "No Harassment": The prompt shall not' in spoken.stdout, spoken.stderr
    assert "    Because of 256." in spoken.stdout


# deciding


def test_the_endpoint_with_least_to_do_is_asked_and_one_that_failed_left_alone() -> None:
    one, two, three = endpoints(["http://a", "http://b/v1", "http://c/"])
    assert [e.url for e in (one, two, three)] == ["http://a", "http://b", "http://c"]
    one.under_way, two.under_way, three.under_way = 2, 1, 0
    assert pick((one, two, three), now=100.0) is three
    three.failed(now=100.0)
    assert pick((one, two, three), now=100.5) is two
    assert pick((one, two, three), now=101.5) is three


@given(st.integers(1, 40))
def test_one_that_keeps_failing_rests_longer_and_never_for_long(times: int) -> None:
    (endpoint,) = endpoints("http://a")
    rests = []
    for _ in range(times):
        endpoint.failed(now=0.0)
        rests.append(endpoint.rests_until)
    assert rests == sorted(rests)
    assert rests[-1] <= 30.0


def test_where_all_rest_the_first_to_come_back_is_asked() -> None:
    one, two = endpoints(["http://a", "http://b"])
    one.failed(now=0.0)
    one.failed(now=0.0)
    two.failed(now=0.0)
    assert pick((one, two), now=0.1) is two
