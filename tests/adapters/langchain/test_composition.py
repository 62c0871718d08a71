"""What LangChain puts around a guarded model keeps its guard, or is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import langchain_core.exceptions
import pytest
from gemma_guard_langchain import GuardBlocked, wrap
from langchain.chat_models import init_chat_model
from langchain_core.load import dumpd, load
from langchain_core.messages import HumanMessage
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableBinding,
    RunnableLambda,
    RunnableSequence,
)
from langchain_core.runnables.retry import RunnableRetry
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import BaseModel

from gemma_guard import (
    Bands,
    Batcher,
    Guard,
    Guideline,
    Job,
    Policy,
    Probe,
    Score,
    UsageError,
)
from gemma_guard.scorers.fake import Fake
from tests.adapters.langchain.conftest import VIOLENCE, WORDS, Local

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."
FIELD = ConfigurableField("which")


class Answer(BaseModel):
    text: str


class BrokenOnce(Fake):
    def __init__(self) -> None:
        super().__init__({})
        self.asked = 0

    async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("not now")
        return await super().score(probes, **options)


def _choice(config: str) -> Any:
    return {"configurable": {"which": config}}


def test_w5_an_unguarded_fallback_is_refused_and_a_guarded_one_works(
    local: Any, guard: Guard
) -> None:
    guarded = wrap(local(answers=[BAD]), guard, on_block="raise")

    with pytest.raises(UsageError, match="wrap it too"):
        guarded.with_fallbacks([local()])
    with pytest.raises(UsageError, match="wrap it too"):
        guarded.with_fallbacks([local().bind_tools([Answer])])
    second = wrap(local(answers=["second"]), guard).bind_tools([Answer])
    assert guarded.with_fallbacks([second]).invoke("hi").content == "second"
    nested = wrap(local(), guard).with_fallbacks([second]).with_retry()
    assert guarded.with_fallbacks([nested]).invoke("hi").content == "hello"


def _all_made_of(model: Any, guard: Guard) -> dict[str, Any]:
    """Whatever LangChain makes of a guarded model and of a guarded chain."""
    guarded, same = wrap(model, guard, on_block="raise"), RunnableLambda(lambda given: given)
    fields, other = ConfigurableField("which"), wrap(model, guard)
    return {
        "a binding": guarded.bind(stop=["."]),
        "tools": guarded.bind_tools([Answer]),
        "tools bound before": wrap(model.bind_tools([Answer]), guard),
        "a binding of a binding": guarded.bind_tools([Answer]).bind(stop=["."]).with_types(),
        "a configuration": guarded.with_config(tags=["a"]),
        "listeners": guarded.with_listeners(on_end=lambda _: None),
        "async listeners": guarded.with_alisteners(),
        "types": guarded.with_types(input_type=str),
        "retries": guarded.with_retry(),
        "retried tools": guarded.bind_tools([Answer]).with_retry(),
        "fallbacks": guarded.with_fallbacks([other]),
        "fallbacks before": wrap(model.with_fallbacks([model]), guard),
        "fields": guarded.configurable_fields(model_name=fields),
        "alternatives": guarded.configurable_alternatives(fields, default_key="a", b=other),
        "a structured answer": guarded.with_structured_output(Answer),
        "a chain": wrap(same | model, guard),
        "a configured chain": wrap(same | model, guard).with_config(tags=["a"]),
        "a choice": wrap(init_chat_model(), guard),
        "tools of a choice": wrap(init_chat_model(), guard).bind_tools([Answer]),
    }


@pytest.mark.parametrize("name", _all_made_of(Local(), Guard.of([VIOLENCE], Fake(WORDS))))
def test_w5_nothing_unguarded_can_be_put_beside_what_is_guarded(guard: Guard, name: str) -> None:
    raw, made = Local(answers=[BAD]), _all_made_of(Local(answers=[BAD]), guard)[name]

    for other in (raw, raw.bind_tools([Answer]), RunnableLambda(lambda _: raw) | raw):
        with pytest.raises(UsageError, match="wrap it too"):
            made.with_fallbacks([other])
        with pytest.raises(UsageError, match="wrap it too"):
            made.configurable_alternatives(FIELD, b=other)
    assert made.with_fallbacks([made, wrap(raw, guard)])


def test_w5_what_langchain_makes_is_still_of_its_class(guard: Guard) -> None:
    made = _all_made_of(Local(), guard)

    assert isinstance(made["tools"], RunnableBinding)
    assert isinstance(made["retries"], RunnableRetry)
    assert isinstance(made["a structured answer"], RunnableSequence)
    assert made["a structured answer"].get_name() == "RunnableSequence"
    assert made["tools"].get_name() == Local().bind_tools([Answer]).get_name()


def test_w5_what_is_asked_of_fallbacks_is_asked_of_each(
    local: Any, guard: Guard, tool_call: Any
) -> None:
    first = wrap(local(answers=[BAD]), guard, on_block="raise")
    second = wrap(local(answers=[tool_call("Answer", text="fine")]), guard)
    falling = first.with_fallbacks([second])

    assert falling.bind_tools([Answer]).invoke("hi").tool_calls[0]["name"] == "Answer"
    assert falling.with_structured_output(Answer).invoke("hi") == Answer(text="fine")


@pytest.mark.filterwarnings("ignore:The function `load`")
def test_r4_a_binding_cannot_be_loaded_from_what_is_traced(guard: Guard) -> None:
    for name in ("tools", "retries", "fallbacks", "a structured answer"):
        with pytest.raises((NotImplementedError, ValueError)):
            load(dumpd(_all_made_of(Local(), guard)[name]), allowed_objects="all")


def test_w7_a_chain_that_was_blocked_is_not_tried_again(guard: Guard) -> None:
    asked: list[Any] = []

    def say(given: Any) -> dict[str, str]:
        asked.append(given)
        return {"said": BAD}

    saying: Any = RunnableLambda(say)
    retrying = wrap(saying, guard).with_retry(wait_exponential_jitter=False)
    with pytest.raises(GuardBlocked):
        retrying.invoke("hi")
    assert asked == ["hi"]


def test_w7_a_fallback_can_be_for_blocks_alone(local: Any, guard: Guard) -> None:
    second = wrap(local(answers=["second"]), guard)
    guarded = wrap(local(answers=[BAD]), guard, on_block="raise")
    chosen = guarded.with_fallbacks([second], exceptions_to_handle=(GuardBlocked,))

    assert chosen.invoke("hi").content == "second"
    assert chosen.bind_tools([Answer]).invoke("hi").content == "second"


@pytest.mark.parametrize("bound", [False, True])
async def test_w7_what_was_blocked_is_not_tried_again(
    local: Any, guard: Guard, bound: bool
) -> None:
    model = local(answers=[BAD])
    guarded: Runnable[Any, Any] = wrap(model, guard, on_block="raise")
    if bound:
        guarded = guarded.bind(stop=["."])
    retrying = guarded.with_retry(wait_exponential_jitter=False)

    with pytest.raises(GuardBlocked):
        retrying.invoke("hi")
    with pytest.raises(GuardBlocked):
        await retrying.ainvoke("hi")
    assert len(model.heard) == 2


def test_w7_a_judge_that_failed_is_asked_again(local: Any) -> None:
    scorer, policy = BrokenOnce(), Policy("harm", Bands(block=0.5), None, Guideline("in", "out"))
    guarded = wrap(local(), Guard.of([policy], scorer))
    retrying = guarded.with_retry(wait_exponential_jitter=False)

    assert retrying.invoke("hi").content == "hello"


def test_w7_a_block_is_a_refusal_where_langchain_knows_of_refusals(
    local: Any, guard: Guard
) -> None:
    with pytest.raises(GuardBlocked) as blocked:
        wrap(local(), guard, on_block="raise").invoke(BAD)

    refusal: Any = getattr(langchain_core.exceptions, "ModelRefusalError", Exception)
    assert isinstance(blocked.value, refusal)
    assert (blocked.value.is_retryable, blocked.value.verdict.fault) == (False, "content")


def test_w7_what_may_be_tried_again_is_still_the_callers_choice(local: Any, guard: Guard) -> None:
    class Unlucky(local):  # type: ignore[misc]  # a fixture has no type
        def _generate(self, messages: Any, *_: Any, **__: Any) -> Any:
            self.heard.append(messages)
            raise ConnectionError

    model = Unlucky()
    options: Any = {"wait_exponential_jitter": False, "stop_after_attempt": 2}
    for kinds, heard in (((ValueError,), 1), ((ConnectionError,), 3), (lambda _: False, 4)):
        retrying = wrap(model, guard).with_retry(retry_if_exception_type=kinds, **options)
        with pytest.raises(ConnectionError):
            retrying.invoke("hi")
        assert len(model.heard) == heard


def test_w5_an_unguarded_alternative_is_refused_and_a_guarded_one_is_chosen(
    local: Any, guard: Guard
) -> None:
    guarded, other = wrap(local(), guard), wrap(local(answers=[BAD]), guard)

    with pytest.raises(UsageError, match="wrap it too"):
        guarded.configurable_alternatives(FIELD, default_key="a", b=local())
    lazy = guarded.configurable_alternatives(FIELD, default_key="a", b=local)
    with pytest.raises(UsageError, match="wrap it too"):
        lazy.invoke("hi", _choice("b"))
    choosing = guarded.configurable_alternatives(FIELD, default_key="a", b=other, c=lambda: other)
    assert choosing.invoke("hi").content == "hello"
    assert choosing.invoke("hi", _choice("b")).content == REFUSAL
    assert choosing.invoke("hi", _choice("c")).content == REFUSAL


async def test_w5_a_model_built_of_configured_fields_is_guarded(local: Any, guard: Guard) -> None:
    model = wrap(local(answers=[BAD]), guard).configurable_fields(model_name=FIELD)
    bound = model.with_config(_choice("m-2"))

    assert model.invoke("hi").content == REFUSAL
    assert model.invoke("hi", _choice("m-2")).content == REFUSAL
    assert (await bound.ainvoke("hi")).content == REFUSAL
    assert bound.bind_tools([Answer]).invoke("hi").content == REFUSAL
    again = model.configurable_fields(cache=ConfigurableField("cache"))
    assert again.invoke("hi", {"configurable": {"cache": False}}).content == REFUSAL


def test_w5_configured_fields_take_effect(local: Any, guard: Guard) -> None:
    model = wrap(local(), guard).configurable_fields(answers=FIELD)

    assert model.invoke("hi", {"configurable": {"which": ["other"]}}).content == "other"
    assert model.invoke("hi").content == "hello"


async def test_r2_a_tracer_sees_one_run_with_its_tags_and_metadata(
    local: Any, guard: Guard
) -> None:
    runs = RunCollectorCallbackHandler()
    guarded = wrap(local(), guard)
    guarded.invoke("hi", {"callbacks": [runs], "tags": ["one"], "metadata": {"a": 1}})
    await guarded.with_config(tags=["two"]).ainvoke("hi", {"callbacks": [runs]})

    assert [run.tags for run in runs.traced_runs] == [["one"], ["two"]]
    assert [run.name for run in runs.traced_runs] == ["Local", "Local"]
    assert runs.traced_runs[0].metadata["a"] == 1


async def test_a_batch_gives_each_question_its_own_answer(local: Any, guard: Guard) -> None:
    class Echo(local):  # type: ignore[misc]  # a fixture has no type
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            self.answers[:] = [messages[-1].text]
            return super()._generate(messages, *args, **kwargs)

    asked = ["one", BAD, "a punch", "two"]
    said = ["one", REFUSAL, "a [redacted: violence]", "two"]
    guarded = wrap(Echo(), guard)
    config: Any = {"max_concurrency": 1}

    assert [m.content for m in guarded.batch(asked, config)] == said
    assert [m.content for m in await guarded.abatch(asked, config)] == said
    messages = [[HumanMessage(each)] for each in asked]
    generated = guarded.generate(messages).generations
    assert [each.text for (each,) in generated] == said
    generated = (await guarded.agenerate(messages)).generations
    assert [each.text for (each,) in generated] == said


async def test_c8_calls_at_a_time_share_nothing_but_the_judge(local: Any, guard: Guard) -> None:
    class Echo(local):  # type: ignore[misc]  # a fixture has no type
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            self.answers[:] = [messages[-1].text]
            return super()._generate(messages, *args, **kwargs)

    asked = [f"{'pipe bomb' if number % 3 == 0 else 'punch'} {number}" for number in range(60)]
    said = [
        REFUSAL if number % 3 == 0 else f"[redacted: violence] {number}" for number in range(60)
    ]
    assert [m.content for m in await wrap(Echo(), guard).abatch(asked)] == said


async def test_c8_no_more_run_at_once_than_the_caller_wants(local: Any, guard: Guard) -> None:
    class Busy(local):  # type: ignore[misc]  # a fixture has no type
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            self.answers.append("x")
            most.append(len(self.answers))
            await asyncio.sleep(0.01)
            self.answers.pop()
            return self._generate(*args, **kwargs)

    most: list[int] = []
    guarded = wrap(Busy(), guard)
    await guarded.abatch([f"hi {n}" for n in range(12)], {"max_concurrency": 3})

    assert max(most) == 1 + 3
    assert len(most) == 12


async def test_c8_calls_at_a_time_are_judged_together(local: Any) -> None:
    sizes: list[int] = []

    class Batched(Fake):
        def __init__(self) -> None:
            super().__init__(WORDS)
            self.batcher: Batcher[Probe, Probe] = Batcher(self.run)

        def run(self, probes: Sequence[Probe]) -> Sequence[Probe]:
            sizes.append(len(probes))
            time.sleep(0.02)
            return probes

        async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
            jobs = [Job(probe, 1, options["deadline"]) for probe in probes]
            return await super().score(await self.batcher.ask(jobs), **options)

        async def __aexit__(self, *_error: object) -> None:
            await self.batcher.aclose()

    asked = [f"{BAD} {n}" if n % 2 else f"hi {n}" for n in range(20)]
    async with Guard.of([VIOLENCE], Batched(), sinks=()) as guard:
        guarded = wrap(local(answers=["fine"]), guard)
        answers = [m.text for m in await guarded.abatch(asked)]

    assert answers == ["fine", REFUSAL] * 10
    assert max(sizes) >= 10


async def test_c11_each_text_is_judged_once(local: Any) -> None:
    class Counting(Fake):
        def __init__(self) -> None:
            super().__init__({})
            self.probes: list[Probe] = []

        async def score(self, probes: Any, /, **options: Any) -> list[tuple[Score, ...]]:
            self.probes += probes
            return await super().score(probes, **options)

    bands = Bands(block=0.5)
    for call in ("invoke", "ainvoke", "generate"):
        scorer = Counting()
        guarded = wrap(
            local(), Guard.of([Policy("harm", bands, bands, Guideline("in", "out"))], scorer)
        )
        if call == "ainvoke":
            await guarded.ainvoke("hi")
        elif call == "invoke":
            guarded.invoke("hi")
        else:
            guarded.generate([[HumanMessage("hi")]])
        assert [(p.text, p.stage) for p in scorer.probes] == [("hi", "input"), ("hello", "output")]
