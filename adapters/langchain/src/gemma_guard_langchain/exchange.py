"""One call of a guarded model: what the guard is asked, and what its verdicts make of the answer.

Nothing is awaited here: `model` asks the guard and the model, each in its own colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from gemma_guard import Action, Fields, Guard, Stage, Verdict
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.messages import Reading, read, redacted, wordless

OnBlock: TypeAlias = Literal["refusal", "raise"]


@dataclass(frozen=True, slots=True)
class Watch:
    """A guard, with what the developer said about the traffic it guards."""

    guard: Guard
    route: str | None
    trusted: Fields
    on_block: OnBlock

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same guard: it holds loops and devices, and watches copies of its model as well."""
        return self

    def asking(self, claimed: Fields, **trusted: str) -> dict[str, Any]:
        """What `Guard.check` is told of traffic with these fields."""
        return {
            "route": self.route,
            "trusted": {**trusted, **self.trusted} if trusted else self.trusted,
            "claimed": claimed,
        }


@dataclass(slots=True, eq=False)
class Exchange:
    """The messages of one call, from the caller to the model and back.

    `asking` is what the guard is told of the route. The guard is asked `question`, `admit` takes
    its verdict, and from then on `messages` are what may be seen of the question.
    """

    messages: Sequence[BaseMessage] = field(repr=False)
    asking: Mapping[str, Any]
    on_block: OnBlock
    verdict: Verdict | None = None
    _readings: list[Reading] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read what the caller supplied."""
        self._readings = [read(message) for message in self.messages]

    def question(self) -> dict[str, Any]:
        """What the guard is asked before the model is."""
        return self._check(Stage.INPUT, self._readings)

    def admit(self, verdict: Verdict) -> None:
        """Take the verdict on the question: redact it, or withhold it."""
        if verdict.action is Action.REDACT:
            verdict = self._redact(verdict)
        if verdict.blocked:
            self.messages = [HumanMessage(f"[{verdict.summary}]")]
        self.verdict = verdict

    @property
    def mark(self) -> str:
        """Of the guard and the route that let the question through."""
        return f"{self.verdict.fingerprint}/{self.verdict.route}" if self.verdict else ""

    @property
    def is_changed(self) -> bool:
        """Whether the question may not be seen as it was asked."""
        return self.verdict is not None and self.verdict.action >= Action.REDACT

    def refusal(self, *, listed: bool) -> ChatResult | None:
        """The refusal if the question was blocked; raises where a message would mislead."""
        if self.verdict is None or not self.verdict.blocked:
            return None
        message = refusal(self.verdict, self.on_block, listed=listed)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def answer(self, generation: ChatGeneration) -> dict[str, Any]:
        """What the guard is asked after the model was: the answer, with what it answers."""
        return self._check(Stage.OUTPUT, [*self._readings, read(generation.message)])

    def release(
        self, result: ChatResult, verdicts: Sequence[Verdict], *, listed: bool
    ) -> ChatResult:
        """What of the `result` the caller sees, one verdict for each generation."""
        if all(verdict.action < Action.REDACT for verdict in verdicts):
            return result
        generations = [
            self._released(generation, verdict, listed=listed)
            for generation, verdict in zip(result.generations, verdicts, strict=True)
        ]
        return ChatResult(generations=generations, llm_output=wordless(result.llm_output or {}))

    def _check(self, stage: Stage, readings: Sequence[Reading]) -> dict[str, Any]:
        return {"messages": [r.shape for r in readings], "stage": stage, **self.asking}

    def _redact(self, verdict: Verdict) -> Verdict:
        """Write the redactions of the input; a block if one does not fit into its place."""
        try:
            self.messages = redacted(self.messages, self._readings, verdict)
        except ValueError:
            return escalated(verdict)
        self._readings = [read(message) for message in self.messages]
        return verdict

    def _released(
        self, generation: ChatGeneration, verdict: Verdict, *, listed: bool
    ) -> ChatGeneration:
        if verdict.action < Action.REDACT:
            return generation
        if not verdict.blocked:
            try:
                return self._redacted(generation, verdict)
            except ValueError:
                verdict = escalated(verdict)
        answer = generation.message
        return ChatGeneration(message=refusal(verdict, self.on_block, answer, listed=listed))

    def _redacted(self, generation: ChatGeneration, verdict: Verdict) -> ChatGeneration:
        before = [*self.messages, generation.message]
        readings = [*self._readings, read(generation.message)]
        info = wordless(generation.generation_info or {})
        message = redacted(before, readings, verdict)[-1]
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


def _guardrail(verdict: Verdict) -> dict[str, Any]:
    """What the caller learns: neither scores nor text."""
    return {
        "action": str(verdict.action),
        "decision": verdict.id,
        "policies": list(verdict.policies),
        "stage": str(verdict.stage),
        "route": verdict.route,
    }
