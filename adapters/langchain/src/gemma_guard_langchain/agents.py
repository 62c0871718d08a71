"""A guard for agents of `create_agent` and for graphs; needs `gemma-guard-langchain[agents]`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from typing_extensions import override

from gemma_guard import Fields, Guard
from gemma_guard_langchain.exchange import OnBlock, watch_of
from gemma_guard_langchain.state import Gate
from gemma_guard_langchain.wrapping import guarded

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, hook_config
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command
except ImportError as missing:  # pragma: no cover  the tests have it
    raise ImportError("agents need more: pip install gemma-guard-langchain[agents]") from missing

from gemma_guard_langchain.tools import JudgedTool, ToolUse


class GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Guards an agent: what it is asked, its model, its tools' arguments and their results.

    Put it last: then it guards the model that the others choose, and every try of theirs. The
    options are those of `wrap`. A blocked question ends the run with the refusal. A blocked call
    or result of a tool is told to the model as a tool's error, and the agent goes on. With a
    `response_format` a blocked answer raises `GuardBlocked`.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        route: str | None = None,
        trusted: Fields | None = None,
        on_block: OnBlock = "refusal",
    ) -> None:
        super().__init__()
        self._watch = watch_of(guard, route, trusted, on_block)

    @hook_config(can_jump_to=["end"])
    @override
    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        gate = Gate(state["messages"], self._watch)
        return _update(*gate.admit(self._watch.guard.check_sync(**gate.question())))

    @hook_config(can_jump_to=["end"])
    @override
    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        gate = Gate(state["messages"], self._watch)
        return _update(*gate.admit(await self._watch.guard.check(**gate.question())))

    @override
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]
    ) -> Any:
        return handler(self._guarded(request))

    @override
    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        return await handler(self._guarded(request))

    @override
    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]
    ) -> Any:
        use, check = self._use(request), self._watch.guard.check_sync
        if told := use.admit(check(**use.arguments())):
            return told
        tool, request = _judged(request, use)
        given = handler(request)
        if tool and tool.has_answered:
            return given
        question = use.result(given)
        return use.released(given, question, check(**question.question()))

    @override
    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        use, check = self._use(request), self._watch.guard.check
        if told := use.admit(await check(**use.arguments())):
            return told
        tool, request = _judged(request, use)
        given = await handler(request)
        if tool and tool.has_answered:
            return given
        question = use.result(given)
        return use.released(given, question, await check(**question.question()))

    def _guarded(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        watch = self._watch
        if request.response_format is not None:
            watch = replace(watch, on_block="raise")
        return request.override(model=guarded(request.model, watch))

    def _use(self, request: ToolCallRequest) -> ToolUse:
        messages = request.state.get("messages", []) if isinstance(request.state, dict) else []
        return ToolUse(request.tool_call, messages, self._watch, ensure_config())


def guard_node(
    guard: Guard,
    *,
    goto: str,
    on_block_goto: str = "__end__",
    route: str | None = None,
    trusted: Fields | None = None,
    on_block: OnBlock = "refusal",
) -> Runnable[Any, Any]:
    """A node that judges the messages of a graph's state, and goes to `goto` if they may go on.

    What is redacted is replaced in the state. After a block the refusal is added, and the graph
    goes to `on_block_goto`. Put it before a model, also behind the tools; and give the graph a
    guarded model, for what a node behind it could check has been streamed by then.
    """
    watch = watch_of(guard, route, trusted, on_block)

    def check(state: Any, config: RunnableConfig) -> Any:
        gate = Gate(_messages(state), watch, config)
        return command(*gate.admit(guard.check_sync(**gate.question())))

    async def acheck(state: Any, config: RunnableConfig) -> Any:
        gate = Gate(_messages(state), watch, config)
        return command(*gate.admit(await guard.check(**gate.question())))

    def command(changed: list[Any], may_go_on: bool) -> Any:  # noqa: FBT001  as `admit` gives it
        return Command(update={"messages": changed}, goto=goto if may_go_on else on_block_goto)

    return RunnableLambda(check, acheck, name="guard")


def _messages(state: Any) -> Any:
    return state["messages"] if isinstance(state, dict) else state.messages


def _judged(request: ToolCallRequest, use: ToolUse) -> tuple[JudgedTool | None, ToolCallRequest]:
    if request.tool is None:
        return None, request.override(tool_call=use.call)
    tool: Any = JudgedTool(request.tool, use)
    return tool, request.override(tool=tool, tool_call=use.call)


def _update(changed: list[Any], may_go_on: bool) -> dict[str, Any] | None:  # noqa: FBT001  likewise
    if may_go_on:
        return {"messages": changed} if changed else None
    return {"messages": changed, "jump_to": "end"}
