"""One call of a guarded model: what the guard is asked, and what its verdicts make of the answer.

Nothing is awaited here: `model` asks the guard and the model, each in its own colour.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from gemma_guard import Action, Fields, Guard, Stage, UsageError, Verdict
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.messages import Reading, read, read_messages, redacted, wordless
from gemma_guard_langchain.values import read_values

OnBlock: TypeAlias = Literal["refusal", "raise"]


@dataclass(frozen=True, slots=True)
class Watch:
    """A guard, with what the developer said about the traffic it guards."""

    guard: Guard
    route: str | None
    trusted: Fields
    on_block: OnBlock

    def asking(self, claimed: Fields, **trusted: str) -> dict[str, Any]:
        """What `Guard.check` is told of traffic with these fields."""
        return {
            "route": self.route,
            "trusted": {**trusted, **self.trusted} if trusted else self.trusted,
            "claimed": claimed,
        }


def watch_of(guard: Guard, route: str | None, trusted: Fields | None, on_block: OnBlock) -> Watch:
    """What the developer says about the traffic; raises `UsageError` for what no route knows."""
    if on_block not in ("refusal", "raise"):
        raise UsageError(f"on_block: unknown value {on_block!r}; use 'refusal' or 'raise'")
    guard.routes.resolve(route, trusted=trusted)
    return Watch(guard, route, dict(trusted or {}), on_block)


@dataclass(slots=True, eq=False)
class Question:
    """What is asked of a model or a runnable, and what of it may be seen.

    `asking` is what the guard is told of the route. The guard is asked `question`, `admit` takes
    its verdict, and from then on `value` is what may be seen.
    """

    value: Any = field(repr=False)
    readings: list[Reading] = field(repr=False)
    asking: Mapping[str, Any]
    on_block: OnBlock
    verdict: Verdict | None = None

    def question(self) -> dict[str, Any]:
        """What the guard is asked before the model is."""
        return self._check(Stage.INPUT, self.readings)

    def admit(self, verdict: Verdict) -> None:
        """Take the verdict on the question: redact it, or withhold it."""
        if verdict.action is Action.REDACT:
            verdict = self._redact(verdict)
        if verdict.blocked:
            self.value = self.withheld(f"[{verdict.summary}]")
        self.verdict = verdict

    @property
    def blocked(self) -> Verdict | None:
        """The verdict on the question where that is a block."""
        return self.verdict if self.verdict and self.verdict.blocked else None

    @property
    def is_changed(self) -> bool:
        """Whether it may not be seen as it was asked."""
        return self.verdict is not None and self.verdict.action >= Action.REDACT

    def expected(self) -> dict[str, Any]:
        """What the guard is told of the stream that answers."""
        return {"messages": [reading.shape for reading in self.readings], **self.asking}

    def answered(self, reading: Reading) -> dict[str, Any]:
        """What the guard is asked about an answer."""
        return self._check(Stage.OUTPUT, [*self.readings, reading])

    def read(self, value: Any) -> list[Reading]:
        """The readings of what is asked."""
        return list(read_values(value))

    def withheld(self, notice: str) -> Any:
        """What is seen in the place of a question that was blocked."""
        return notice

    def _check(self, stage: Stage, readings: Sequence[Reading]) -> dict[str, Any]:
        return {"messages": [r.shape for r in readings], "stage": stage, **self.asking}

    def _redact(self, verdict: Verdict) -> Verdict:
        """Write the redactions; a block if one does not fit into its place."""
        try:
            self.value = redacted(self.value, self.readings, verdict)
        except ValueError:
            return escalated(verdict)
        self.readings = self.read(self.value)
        return verdict


@dataclass(slots=True, eq=False)
class Exchange(Question):
    """The messages of one call of a chat model; `value` is a list of them.

    `cut_short` is the verdict on a stream of the answer, where that is a block.
    """

    cut_short: Verdict | None = None

    def read(self, value: Any) -> list[Reading]:
        """Messages only: nothing to look for."""
        return read_messages(value)

    def withheld(self, notice: str) -> Any:
        """A message."""
        return [HumanMessage(notice)]

    @property
    def mark(self) -> str:
        """Of the guard and the route that let the question through."""
        return f"{self.verdict.fingerprint}/{self.verdict.route}" if self.verdict else ""

    def refusal(self, *, listed: bool) -> ChatResult | None:
        """The refusal if the question was blocked; raises where a message would mislead."""
        if self.blocked is None:
            return None
        message = refusal(self.blocked, self.on_block, listed=listed)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def answer(self, generation: ChatGeneration) -> dict[str, Any]:
        """What the guard is asked after the model was: the answer, with what it answers."""
        return self.answered(read(generation.message))

    def release(
        self, result: ChatResult, verdicts: Sequence[Verdict], *, listed: bool
    ) -> ChatResult:
        """What of the `result` the caller sees, one verdict for each generation."""
        generations = [
            self._released(generation, verdict, listed=listed)
            for generation, verdict in zip(result.generations, verdicts, strict=True)
        ]
        if all(map(operator.is_, generations, result.generations)):
            return result
        return ChatResult(generations=generations, llm_output=wordless(result.llm_output or {}))

    def may_be_kept(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether a cache may hold what was released: all of it was judged, none is a refusal."""
        return not any(verdict.blocked or unjudged(verdict, self.verdict) for verdict in verdicts)

    def _released(
        self, generation: ChatGeneration, verdict: Verdict, *, listed: bool
    ) -> ChatGeneration:
        if verdict.action < Action.REDACT:
            return self._told(generation, verdict)
        if not verdict.blocked:
            try:
                return self._told(self._redacted(generation, verdict), verdict)
            except ValueError:
                verdict = escalated(verdict)
        answer = generation.message
        return ChatGeneration(message=refusal(verdict, self.on_block, answer, listed=listed))

    def _told(self, generation: ChatGeneration, verdict: Verdict) -> ChatGeneration:
        """With a note where a judge failed and the route lets that pass."""
        if not (note := unjudged(verdict, self.verdict)):
            return generation
        metadata = {**generation.message.response_metadata, **note}
        message = generation.message.model_copy(update={"response_metadata": metadata})
        return generation.model_copy(update={"message": message})

    def _redacted(self, generation: ChatGeneration, verdict: Verdict) -> ChatGeneration:
        readings = [*self.readings, read(generation.message)]
        info = wordless(generation.generation_info or {})
        message = redacted(generation.message, readings, verdict)
        return ChatGeneration(message=message, generation_info=info)


def refusal(
    verdict: Verdict, on_block: OnBlock, answer: BaseMessage | None = None, *, listed: bool = False
) -> AIMessage:
    """The refusal message in the place of `answer`; raises `GuardBlocked` where it would mislead.

    `listed` says that the content of messages is a list of blocks here.
    """
    if on_block == "raise" or verdict.fault != "content":
        raise GuardBlocked(verdict)
    metadata = {
        **wordless(answer.response_metadata if answer else {}),
        "finish_reason": "content_filter",
        "guardrail": _guardrail(verdict),
    }
    content: Any = verdict.refusal
    if listed:
        content = [{"type": "text", "text": verdict.refusal}]
        metadata["output_version"] = "v1"
    return AIMessage(
        content,
        id=answer.id if answer else None,
        usage_metadata=answer.usage_metadata if isinstance(answer, AIMessage) else None,
        response_metadata=metadata,
    )


def escalated(verdict: Verdict) -> Verdict:
    """A redaction that does not fit into its place, as a block."""
    findings = tuple(
        replace(finding, action=Action.BLOCK) if finding.action is Action.REDACT else finding
        for finding in verdict.findings
    )
    return replace(verdict, action=Action.BLOCK, findings=findings, edits=())


def unjudged(*verdicts: Verdict | None) -> dict[str, Any]:
    """The metadata that say which of `verdicts` rests on a judge that failed, if one does."""
    for verdict in verdicts:
        if verdict and verdict.gaps and any(gap.cause.is_judges for gap in verdict.gaps):
            return {"guardrail": {**_guardrail(verdict), "status": verdict.status}}
    return {}


def _guardrail(verdict: Verdict) -> dict[str, Any]:
    """What the caller learns: neither scores nor text."""
    return {
        "action": str(verdict.action),
        "decision": verdict.id,
        "policies": list(verdict.policies),
        "stage": str(verdict.stage),
        "route": verdict.route,
    }
