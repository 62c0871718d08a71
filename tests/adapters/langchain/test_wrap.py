"""A guarded model is still the model, and nothing passes it unjudged."""

# ruff: noqa: SLF001  the hooks of a subclass, and what a cache holds

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gemma_guard_langchain import GuardBlocked, wrap
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from gemma_guard import (
    Action,
    Bands,
    Blocked,
    Guard,
    Guideline,
    Policy,
    Probe,
    Score,
    UsageError,
    Verdict,
)
from gemma_guard.scorers.fake import Fake

REFUSAL = "This was blocked by a content policy."
BAD = "pipe bomb"


class Answer(BaseModel):
    text: str


class Kept:
    """A sink that keeps what is recorded."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def write(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


class Counting(Fake):
    def __init__(self, words: Any) -> None:
        super().__init__(words)
        self.probes: list[Probe] = []

    async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
        self.probes += probes
        return await super().score(probes, **options)


def test_w1_a_guarded_model_is_an_instance_of_its_class(local: Any, guard: Guard) -> None:
    raw = local(model_name="m-7")
    guarded = wrap(raw, guard)

    assert isinstance(guarded, local)
    assert (guarded.model_name, guarded._llm_type) == ("m-7", raw._llm_type)
    assert guarded._get_ls_params() == raw._get_ls_params()
    assert (guarded.profile, guarded.get_name()) == (raw.profile, raw.get_name())


async def test_an_allowed_call_gives_the_models_own_answer(
    local: Any, guard: Guard, call: Callable[..., Any]
) -> None:
    answer = AIMessage(
        "fine",
        id="own",
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"finish_reason": "stop"},
    )
    got = await call(wrap(local(answers=[answer]), guard), "hi")

    assert (got.content, got.id, got.usage_metadata) == ("fine", "own", answer.usage_metadata)
    assert got.response_metadata["finish_reason"] == "stop"


async def test_c1_a_blocked_input_never_reaches_the_model(
    local: Any, guard: Guard, call: Callable[..., Any]
) -> None:
    model = local()
    got = await call(wrap(model, guard), f"Build a {BAD}.")

    assert model.heard == []
    assert got.content == REFUSAL
    assert got.response_metadata["finish_reason"] == "content_filter"
    assert got.response_metadata["guardrail"]["stage"] == "input"


async def test_c2_a_blocked_answer_is_nowhere_to_be_found(
    local: Any, guard: Guard, call: Callable[..., Any], eavesdropper: Any
) -> None:
    answer = AIMessage(f"a {BAD}", id="own", response_metadata={"raw": BAD})
    got = await call(wrap(local(answers=[answer]), guard), "hi", callbacks=[eavesdropper])

    assert (got.content, got.id) == (REFUSAL, "own")
    assert BAD not in repr(got) + "".join(eavesdropper.heard)


async def test_a_redacted_answer_is_nowhere_to_be_found_whole(
    local: Any, guard: Guard, call: Callable[..., Any], eavesdropper: Any
) -> None:
    answer = AIMessage("a punch!", id="own", response_metadata={"finish_reason": "stop"})
    got = await call(wrap(local(answers=[answer]), guard), "hi", callbacks=[eavesdropper])

    assert (got.content, got.id) == ("a [redacted: violence]!", "own")
    assert got.response_metadata["finish_reason"] == "stop"
    assert "logprobs" not in got.response_metadata
    assert "punch" not in got.content + "".join(eavesdropper.heard).replace("'raw': 'a punch!'", "")


async def test_a_redacted_input_reaches_the_model_redacted_and_stays_as_it_was(
    local: Any, guard: Guard, call: Callable[..., Any]
) -> None:
    model, asked = local(), HumanMessage("Throw a punch", id="h1")
    await call(wrap(model, guard), [asked])

    assert [(m.content, m.id) for m in model.heard[0]] == [("Throw a [redacted: violence]", "h1")]
    assert asked.content == "Throw a punch"


def test_a_refusal_tells_policies_and_the_decision_but_no_score(local: Any) -> None:
    kept = Kept()
    bands = Bands(block=0.8)
    violence = Policy("violence", bands, bands, Guideline("in", "out"))
    guard = Guard.of([violence], Fake({"violence": {BAD: 0.9}}), sinks=[kept])
    got = wrap(local(), guard).invoke(BAD)

    assert got.response_metadata["guardrail"] == {
        "action": "block",
        "decision": kept.verdicts[0].id,
        "policies": ["violence"],
        "stage": "input",
        "route": "default",
    }
    assert kept.verdicts[0].action is Action.BLOCK


@pytest.mark.parametrize(("asked", "answer"), [(BAD, "fine"), ("hi", BAD)])
async def test_on_request_a_block_raises(
    local: Any, guard: Guard, eavesdropper: Any, asked: str, answer: str
) -> None:
    guarded = wrap(local(answers=[answer]), guard, on_block="raise")

    with pytest.raises(GuardBlocked) as sync:
        guarded.invoke(asked, {"callbacks": [eavesdropper]})
    with pytest.raises(Blocked) as blocked:
        await guarded.ainvoke(asked, {"callbacks": [eavesdropper]})
    assert BAD not in f"{sync.value}{blocked.value!r}{eavesdropper.heard}"
    assert sync.value.verdict.policies == ("violence",)


async def test_m1_an_image_nobody_can_judge_is_refused_aloud(
    local: Any, guard: Guard, call: Callable[..., Any]
) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    model = local()

    with pytest.raises(GuardBlocked, match="media"):
        await call(wrap(model, guard), [HumanMessage([{"type": "text", "text": "hi"}, image])])
    assert model.heard == []


def test_c11_each_text_is_judged_once_on_each_side(local: Any) -> None:
    scorer = Counting({})
    policy = Policy("violence", Bands(block=0.8), Bands(block=0.8), Guideline("in", "out"))
    wrap(local(answers=["fine"]), Guard.of([policy], scorer)).invoke("hi")

    asked, answered = scorer.probes
    assert (asked.text, asked.stage, asked.prompt) == ("hi", "input", None)
    assert (answered.text, answered.stage, answered.prompt) == ("fine", "output", "hi")


async def test_c11_a_sync_only_model_is_judged_once_in_async_calls() -> None:
    kept, scorer = Kept(), Counting({})
    policy = Policy("violence", Bands(block=0.8), Bands(block=0.8), Guideline("in", "out"))
    judged = Guard.of([policy], scorer, sinks=[kept])
    await wrap(FakeListChatModel(responses=["fine"]), judged).ainvoke("hi")

    assert [v.stage for v in kept.verdicts] == ["input", "output"]
    assert len(scorer.probes) == 2


async def test_c9_a_sync_call_inside_a_running_loop_works(local: Any, guard: Guard) -> None:
    assert wrap(local(), guard).invoke("hi").content == "hello"


def test_every_answer_of_several_is_judged(local: Any, guard: Guard) -> None:
    result = wrap(local(answers=[BAD]), guard).generate([[HumanMessage("hi")]], n=2)

    assert [generation.text for generation in result.generations[0]] == [REFUSAL, REFUSAL]
    assert BAD not in repr(result)


def test_w4_bound_tools_reach_the_model_and_their_calls_are_judged(
    local: Any, guard: Guard, tool_call: Callable[..., AIMessage]
) -> None:
    model = local(answers=[tool_call(text="hello"), tool_call(text=f"a {BAD}")])
    bound = wrap(model, guard).bind_tools([Answer])
    allowed, blocked = bound.invoke("hi"), bound.invoke("hi")

    assert allowed.tool_calls[0]["args"] == {"text": "hello"}
    assert (blocked.tool_calls, blocked.content) == ([], REFUSAL)
    assert BAD not in repr(blocked)


def test_m2_a_poisoned_tool_result_stops_before_the_model(local: Any, guard: Guard) -> None:
    model = local()
    got = wrap(model, guard).invoke(
        [
            HumanMessage("look it up"),
            AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]),
            ToolMessage(f"how to make a {BAD}", tool_call_id="1"),
        ]
    )

    assert (got.content, model.heard) == (REFUSAL, [])


@pytest.mark.parametrize("include_raw", [False, True])
def test_w4_a_blocked_structured_answer_raises_and_is_never_none(
    local: Any,
    guard: Guard,
    tool_call: Callable[..., AIMessage],
    include_raw: bool,
) -> None:
    model = local(answers=[tool_call("Answer", text=BAD)])
    structured = wrap(model, guard).with_structured_output(Answer, include_raw=include_raw)

    with pytest.raises(GuardBlocked):
        structured.invoke("hi")
    with pytest.raises(GuardBlocked):
        structured.invoke(BAD)


def test_w4_an_allowed_structured_answer_is_parsed_and_a_redacted_one_too(
    local: Any, guard: Guard, tool_call: Callable[..., AIMessage]
) -> None:
    answers = [tool_call("Answer", text="fine"), tool_call("Answer", text="a punch")]
    structured = wrap(local(answers=answers), guard).with_structured_output(Answer)

    assert structured.invoke("hi") == Answer(text="fine")
    assert structured.invoke("hi") == Answer(text="a [redacted: violence]")


def test_w2_a_model_guarded_twice_is_judged_once(local: Any, guard: Guard) -> None:
    guarded = wrap(local(), guard)

    assert wrap(guarded, guard) is guarded
    with pytest.raises(UsageError, match="guarded already"):
        wrap(guarded, guard, on_block="raise")


def test_the_wrapped_model_itself_stays_as_it_was(local: Any, guard: Guard) -> None:
    raw = local(answers=[BAD])
    wrap(raw, guard).cache = False

    assert (raw.invoke("hi").content, raw.cache, type(raw)) == (BAD, None, local)


def test_a_state_the_model_keeps_is_kept(guard: Guard) -> None:
    guarded = wrap(FakeListChatModel(responses=["one", "two"]), guard)

    assert [guarded.invoke("hi").content for _ in range(2)] == ["one", "two"]


def test_r4_a_guarded_model_cannot_be_loaded_from_what_is_traced(local: Any, guard: Guard) -> None:
    guarded = wrap(local(), guard)

    assert dumpd(guarded)["type"] == "not_implemented"
    assert guarded._serialized["type"] == "not_implemented"


def test_what_is_no_runnable_is_refused(guard: Guard) -> None:
    thing: Any = "a model"
    with pytest.raises(UsageError, match="a runnable is needed, got str"):
        wrap(thing, guard)


@pytest.mark.parametrize(
    "options", [{"route": "nope"}, {"trusted": {"nope": "x"}}, {"on_block": "nope"}]
)
def test_r1_an_unknown_option_is_refused_when_wrapping(
    local: Any, guard: Guard, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="nope"):
        wrap(local(), guard, **options)
