"""What a guarded model raises."""

from __future__ import annotations

from typing import Any

from langchain_core import exceptions

from gemma_guard import Blocked, Verdict

# langchain-core 1.7.5 has it: what handles the refusals of any provider handles blocks too
_Refusal: Any = getattr(exceptions, "ModelRefusalError", Exception)


class GuardBlocked(Blocked, _Refusal):  # type: ignore[misc]  # a class of LangChain's, if it has it
    """A guarded model withheld an answer; carries the verdict, names policies and never text.

    `is_retryable` where the judge failed: the same content would be blocked again.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.is_retryable = verdict.fault == "judge"
