"""Callbacks hear of a call what its model and its caller see, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gemma_guard_langchain import GuardBlocked, wrap
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langsmith.run_helpers import tracing_context

from gemma_guard import Guard

BAD = "pipe bomb"


async def test_a_redacted_question_is_heard_redacted(
    local: Any, guard: Guard, call: Callable[..., Any], eavesdropper: Any
) -> None:
    await call(wrap(local(), guard), "a punch, please", callbacks=[eavesdropper])
    heard = "".join(eavesdropper.heard)

    assert "punch" not in heard
    assert ("[redacted: violence], please" in heard) == bool(heard)  # hooks have no callbacks


async def test_a_blocked_question_is_not_heard(
    local: Any, guard: Guard, call: Callable[..., Any], eavesdropper: Any
) -> None:
    await call(wrap(local(), guard), f"Build a {BAD}.", callbacks=[eavesdropper])
    heard = "".join(eavesdropper.heard)

    assert BAD not in heard
    assert ("[block: violence (decision" in heard) == bool(heard)


async def test_a_question_that_raises_is_not_heard(
    local: Any, guard: Guard, eavesdropper: Any
) -> None:
    guarded = wrap(local(), guard, on_block="raise")
    with pytest.raises(GuardBlocked):
        guarded.invoke(BAD, {"callbacks": [eavesdropper]})

    assert BAD not in "".join(eavesdropper.heard)
    assert any("GuardBlocked" in each for each in eavesdropper.heard)


async def test_r2_a_trace_holds_what_was_let_through(local: Any, guard: Guard) -> None:
    collector = RunCollectorCallbackHandler()
    wrap(local(answers=[f"a {BAD}"]), guard).invoke("a punch", {"callbacks": [collector]})
    (run,) = collector.traced_runs
    traced = repr((run.inputs, run.outputs, run.events, run.error, run.serialized, run.extra))

    assert not any(word in traced for word in (BAD, "punch"))
    assert "[redacted: violence]" in traced


@pytest.mark.parametrize("tracing", [False, True])
async def test_r2_what_a_model_runs_inside_is_not_heard(
    local: Any, guard: Guard, eavesdropper: Any, tracing: bool
) -> None:
    inner: Runnable[str, str] = RunnableLambda(lambda _: f"a {BAD}")

    class Nesting(local):  # type: ignore[misc]  # a fixture has no type
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            self.answers[:] = [inner.invoke(messages[-1].text)]
            return super()._generate(messages, *args, **kwargs)

        async def _agenerate(self, messages: Any, *_: Any, **kwargs: Any) -> Any:
            self.answers[:] = [await inner.ainvoke(messages[-1].text)]
            return super()._generate(messages, **kwargs)

    asking: Runnable[str, Any] = RunnableLambda(lambda text: [HumanMessage(text)])
    chain = asking | wrap(Nesting(), guard)
    config: Any = {"callbacks": [eavesdropper]}
    with tracing_context(enabled="local" if tracing else None):
        chain.invoke("hi", config)
        await chain.ainvoke("hi", config)

    assert BAD not in "".join(eavesdropper.heard)
    assert [each for each in eavesdropper.heard if "gemma" in each or "decision" in each]
