"""How an endpoint writes requests and answers, and how they read as messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
Request: TypeAlias = dict[str, Any]


def nothing(_: Any) -> list[Message]:
    """The messages of an answer that holds no text."""
    return []


def nowhere(answer: Any, index: int, redacted: Message) -> bool:
    """Write no answer."""
    del answer, index, redacted
    return False


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One endpoint's form of a conversation.

    `beside`: what stands in the request beside the conversation, as a message.
    `asked`: the conversation, as messages.
    `put_back`: writes these, as redacted, into the request.
    `answered`: every answer as a message; none where the answer holds no text.
    `rewrite`: writes one answer as redacted; False where it has no place to be written to.
    """

    beside: Callable[[Mapping[str, Any]], Message]
    asked: Callable[[Mapping[str, Any]], list[Message]]
    put_back: Callable[[Request, Sequence[Message]], None]
    answered: Callable[[Any], list[Message]] = nothing
    rewrite: Callable[[Any, int, Message], bool] = nowhere

    def request(self, data: Mapping[str, Any]) -> list[Message]:
        """All that is asked: what stands beside the conversation, and the conversation."""
        return [self.beside(data), *self.asked(data)]
