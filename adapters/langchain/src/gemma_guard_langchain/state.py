"""The messages of a graph's state, judged before a model reads them, and what takes their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig, ensure_config

from gemma_guard import Action, Verdict
from gemma_guard_langchain.claims import claims, of_config
from gemma_guard_langchain.exchange import Question, Watch, refusal
from gemma_guard_langchain.messages import read_messages


class Gate:
    """One check of the messages of a state.

    The guard is asked `question`; then `admit` says what of the state changes. Whatever is put in
    the place of a message keeps its id, so that the state's reducer replaces it.
    """

    def __init__(
        self, messages: Sequence[BaseMessage], watch: Watch, config: RunnableConfig | None = None
    ) -> None:
        tags, metadata = of_config(ensure_config(config))
        asking = watch.asking(claims(tags, metadata))
        self._before = list(messages)
        self._question = Question(self._before, read_messages(self._before), asking, watch.on_block)

    def question(self) -> dict[str, Any]:
        """What the guard is asked."""
        return self._question.question()

    def admit(self, verdict: Verdict) -> tuple[list[BaseMessage], bool]:
        """The messages that change, and whether the model may be asked; else one is the refusal.

        Raises `GuardBlocked` where a refusal would mislead.
        """
        self._question.admit(verdict)
        if blocked := self._question.blocked:
            said = refusal(blocked, self._question.on_block)
            return [*self._withheld(blocked), said], False
        after = self._question.value
        changed = [new for old, new in zip(self._before, after, strict=True) if old is not new]
        return changed, True

    def _withheld(self, verdict: Verdict) -> list[BaseMessage]:
        judged = [p for p in verdict.passages if p.action is Action.BLOCK and p.place]
        places = sorted({int(passage.place[0]) for passage in judged})
        return [withheld(self._before[place], verdict) for place in places]


def withheld(message: BaseMessage, verdict: Verdict) -> BaseMessage:
    """A notice in the place of `message`, which keeps nothing of it but what it is and answers."""
    fields: dict[str, Any] = {"content": f"[{verdict.summary}]", "id": message.id}
    for key in ("tool_call_id", "role"):
        if hasattr(message, key):
            fields[key] = getattr(message, key)
    return type(message)(**fields)
