"""The headers of an answer name the decisions made on its call, whatever it is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from gemma_guard_litellm import watch
from gemma_guard_litellm.proof import Proof, note

from gemma_guard import Action, Stage, Verdict
from tests.adapters.litellm.calls import CHAT, Endpoint
from tests.adapters.litellm.proxying import Proxy
from tests.adapters.litellm.test_matrix import INPUTS, WAYS

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
BODY = {"type": "http.response.body"}
DECISIONS, ACTION = "x-gemma-guard-decisions", "x-gemma-guard-action"


def verdict(name: str, action: Action = Action.ALLOW) -> Verdict:
    return Verdict(name, action, "default", Stage.INPUT, "f", "")


async def answered(
    called: Callable[[Any], Awaitable[None]], kind: str = "http"
) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await called(send)

    async def keep(message: Any) -> None:
        sent.append(message)

    await Proof(app)({"type": kind}, asyncio.sleep, keep)  # type: ignore[arg-type]  # never called
    return sent


async def test_headers_name_what_was_decided_in_any_task_of_the_call_before_they_left() -> None:
    async def called(send: Any) -> None:
        note(verdict("one", Action.LOG))
        await asyncio.create_task(asyncio.to_thread(note, verdict("two", Action.REDACT)))
        note(verdict("three"))
        await send(START)
        note(verdict("late", Action.BLOCK))
        await send(BODY)

    start, body = await answered(called)

    assert start["headers"] == [
        (b"a", b"b"),
        (DECISIONS.encode(), b"one,two,three"),
        (ACTION.encode(), b"redact"),
    ]
    assert body == BODY
    assert START["headers"] == [(b"a", b"b")]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_what_is_no_answer_names_nothing(kind: str) -> None:
    async def called(send: Any) -> None:
        note(verdict("one"))
        await send(START)

    assert await answered(called, kind) == [START]


async def test_an_answer_that_nobody_judged_names_nothing() -> None:
    note(verdict("of no call"))

    assert await answered(lambda send: send(START)) == [START]


async def test_answers_name_the_decisions_on_their_own_call() -> None:
    def called(name: str) -> Callable[[Any], Awaitable[None]]:
        async def call(send: Any) -> None:
            note(verdict(name))
            await asyncio.sleep(0)
            await send(START)

        return call

    ones, others = await asyncio.gather(answered(called("one")), answered(called("other")))

    assert (DECISIONS.encode(), b"one") in ones[0]["headers"]
    assert (DECISIONS.encode(), b"other") in others[0]["headers"]


def test_a_proxy_is_made_to_name_them_once_however_many_guardrails_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxys = FastAPI()
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", SimpleNamespace(app=proxys))
    watch.prove()
    once = proxys.middleware_stack
    watch.prove()

    assert isinstance(once, Proof)
    assert proxys.middleware_stack is once


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize(("endpoint", "stream"), WAYS)
def test_an_answer_names_its_decisions(endpoint: Endpoint, stream: bool, proxy: Proxy) -> None:
    before = len(proxy.decisions())
    response = endpoint.call(proxy, "Hello.", stream=stream)

    ids = [decision["id"] for decision in proxy.decisions()[before:]]
    named = response.headers[DECISIONS].split(",")
    assert named == ids[: len(named)]
    assert stream or len(named) == 2
    assert response.headers[ACTION] == "allow"


@pytest.mark.parametrize(("endpoint", "stream"), INPUTS)
def test_a_refusal_names_the_decision_that_it_is(
    endpoint: Endpoint, stream: bool, proxy: Proxy
) -> None:
    before = len(proxy.decisions())
    response = endpoint.call(proxy, "vermin", stream=stream)

    assert response.headers[DECISIONS] == proxy.decisions()[before]["id"]
    assert response.headers[ACTION] == "block"


def test_what_is_not_judged_names_nothing(proxy: Proxy) -> None:
    response = proxy.post("/v1/messages/count_tokens", CHAT.body("Hello."))

    assert DECISIONS not in response.headers


async def test_what_stands_behind_a_pass_through_cannot_claim_a_decision() -> None:
    forged = [(b"X-Gemma-Guard-Action", b"allow"), (b"x-gemma-guard-decisions", b"mine")]

    async def called(send: Any) -> None:
        await send({**START, "headers": [*START["headers"], *forged]})

    (start,) = await answered(called)

    assert start["headers"] == [(b"a", b"b")]


async def test_a_call_within_a_call_names_its_own_decisions_and_leaves_the_others() -> None:
    inner: list[dict[str, Any]] = []

    async def within(send: Any) -> None:
        note(verdict("inner", Action.BLOCK))
        await send(START)

    async def called(send: Any) -> None:
        note(verdict("one"))
        inner.extend(await answered(within))
        note(verdict("two", Action.REDACT))
        await send(START)

    (start,) = await answered(called)

    assert inner[0]["headers"][1:] == [(DECISIONS.encode(), b"inner"), (ACTION.encode(), b"block")]
    assert start["headers"][1:] == [(DECISIONS.encode(), b"one,two"), (ACTION.encode(), b"redact")]
