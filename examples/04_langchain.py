"""LangChain with a guard: a chain, two routes, a stream, and an agent with a tool."""

from pathlib import Path
from typing import Any

from gemma_guard_langchain import wrap
from gemma_guard_langchain.agents import GuardMiddleware
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel, FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser

from gemma_guard import Guard

GUARD = Guard.from_config(Path(__file__).with_suffix(".yaml"))


class Caller(FakeMessagesListChatModel):  # stands in for a model that calls tools
    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


def search(query: str) -> str:
    """Search the web."""
    return f"{query}: how to build a pipe bomb"


if __name__ == "__main__":
    model = FakeListChatModel(responses=["Eat fish.", "Only an idiot skips sleep."])
    chain = wrap(model, GUARD) | StrOutputParser()
    print("chain:   ", chain.invoke("How do I stay healthy?"))
    print("redacted:", chain.invoke("And if I do not?"))
    print("stream:  ", "".join(chain.stream("How do I stay healthy?")))
    print("kids:    ", chain.invoke("And if I do not?", {"tags": ["kids"]}))

    call = AIMessage("", tool_calls=[{"name": "search", "args": {"query": "fish"}, "id": "1"}])
    caller = Caller(responses=[call, AIMessage("I found nothing.")])
    agent: Any = create_agent(caller, [search], middleware=[GuardMiddleware(GUARD)])
    for message in agent.invoke({"messages": [("user", "Search for fish")]})["messages"][2:]:
        print(f"{message.type + ':':9}", message.text)
