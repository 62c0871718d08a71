"""A call of a tool: its arguments judged before it runs, its result before anybody hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.types import Command
from typing_extensions import override

from gemma_guard import Stage, Verdict
from gemma_guard_langchain.exchange import Question, Watch, escalated
from gemma_guard_langchain.messages import read, read_messages, redacted
from gemma_guard_langchain.runnable import question_of
from gemma_guard_langchain.seclusion import Secluded
from gemma_guard_langchain.values import read_values


class ToolUse:
    """One call of a tool by an agent; the guard is asked `arguments`, then about the result."""

    def __init__(
        self, call: Any, messages: Sequence[BaseMessage], watch: Watch, config: RunnableConfig
    ) -> None:
        self.call = call
        self.watch = watch
        self._config = config
        self._asking = question_of(None, watch, config).asking
        self._said = AIMessage("", tool_calls=[call])
        self._before = read_messages([m for m in messages if m.type in ("human", "system")])

    def arguments(self) -> dict[str, Any]:
        """What the guard is asked before the tool runs."""
        shapes = [reading.shape for reading in (*self._before, read(self._said))]
        return {"messages": shapes, "stage": Stage.OUTPUT, **self._asking}

    def admit(self, verdict: Verdict) -> ToolMessage | None:
        """What the model is told instead of the result; None if the tool may run `call`."""
        if not verdict.blocked:
            try:
                said = redacted(self._said, [*self._before, read(self._said)], verdict)
            except ValueError:
                verdict = escalated(verdict)
            else:
                self.call = said.tool_calls[0]
        return self._notice(verdict) if verdict.blocked else None

    def result(self, given: Any) -> Question:
        """What a tool gave back, as a question to the model; `value` is what may be seen."""
        seen = given.update if isinstance(given, Command) else given
        if isinstance(seen, str | list):
            seen = ToolMessage(seen, tool_call_id=self.call["id"])
        return Question(seen, list(read_values(seen)), self._asking, self.watch.on_block)

    def released(self, given: Any, question: Question, verdict: Verdict) -> Any:
        """What may be seen of what the tool gave back."""
        question.admit(verdict)
        if question.blocked:
            return self._notice(question.blocked)
        if not question.is_changed:
            return given
        if isinstance(given, Command):
            return replace(given, update=question.value)
        if isinstance(question.value, ToolMessage):
            return question.value.model_copy(update={"artifact": None})
        return question.value

    def _notice(self, verdict: Verdict) -> ToolMessage:
        return ToolMessage(
            f"[{verdict.summary}]",
            name=self.call["name"],
            tool_call_id=self.call["id"],
            status="error",
            response_metadata={"guardrail": {"decision": verdict.id, "stage": str(verdict.stage)}},
        )


class JudgedTool(Runnable[Any, Any]):
    """Stands in for `tool` in one use of it: callbacks hear of a tool that gave what was judged."""

    def __init__(self, tool: Any, use: ToolUse) -> None:
        self._tool = tool
        self._use = use
        self._broken: Exception | None = None
        self.has_answered = False
        self.name = tool.name

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        run = partial(self._run, input)
        return self._answered(self._call_with_config(run, self._use.call, config, "tool"))

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        run = partial(self._arun, input)
        return self._answered(await self._acall_with_config(run, self._use.call, config, "tool"))

    def _run(self, asked: Any, _: Any, config: RunnableConfig) -> Any:
        try:
            with Secluded():
                given = self._tool.invoke(asked, _silent(config))
        except Exception as error:  # noqa: BLE001  its message is the tool's: not for callbacks
            return self._breaking(error)
        question = self._use.result(given)
        verdict = self._use.watch.guard.check_sync(**question.question())
        return self._use.released(given, question, verdict)

    async def _arun(self, asked: Any, _: Any, config: RunnableConfig) -> Any:
        try:
            with Secluded():
                given = await self._tool.ainvoke(asked, _silent(config))
        except Exception as error:  # noqa: BLE001  its message is the tool's: not for callbacks
            return self._breaking(error)
        question = self._use.result(given)
        verdict = await self._use.watch.guard.check(**question.question())
        return self._use.released(given, question, verdict)

    def _breaking(self, error: Exception) -> str:
        self._broken = error
        return f"[{type(error).__name__}]"

    def _answered(self, said: Any) -> Any:
        if self._broken:
            raise self._broken
        self.has_answered = True
        return said


def _silent(config: RunnableConfig) -> RunnableConfig:
    """With the graph's own settings, which tools need for interrupts, but nobody who listens."""
    silent = config.copy()
    silent["callbacks"] = []
    silent.pop("run_id", None)
    return silent
