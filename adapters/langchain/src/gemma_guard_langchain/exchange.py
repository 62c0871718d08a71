"""One call of a guarded model: what the guard is asked, and what its verdicts make of the answer.

Nothing is awaited here: `model` asks the guard and the model, each in its own colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

from langchain_core.callbacks import BaseRunManager
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from gemma_guard import Action, Fields, Guard, Stage, Verdict
from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.messages import Reading, read, redacted

OnBlock: TypeAlias = Literal["refusal", "raise"]

_TOLD_OF_A_BLOCKED_ANSWER = frozenset(
    {"id", "model", "model_name", "model_provider", "system_fingerprint", "token_usage"}
)


@dataclass(frozen=True, slots=True)
class Watch:
    """The guard of a model, with what the developer said about the model's traffic."""

    guard: Guard
    route: str | None
    trusted: Fields
    on_block: OnBlock

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same guard: it holds loops and devices, and watches copies of its model as well."""
        return self


@dataclass(slots=True)
class Exchange:
    """The messages of one call, from the caller to the model and back."""

    watch: Watch
    messages: Sequence[BaseMessage] = field(repr=False)
    trusted: Fields
    claimed: Fields
    listed: bool = False
    _readings: list[Reading] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read what the caller supplied."""
        self._readings = [read(message) for message in self.messages]

    def question(self) -> dict[str, Any]:
        """What the guard is asked before the model is."""
        return self._check(Stage.INPUT, self._readings)

    def admit(self, verdict: Verdict) -> ChatResult | None:
        """The refusal where `verdict` is a block; None if the model may be asked `messages`."""
        if not verdict.blocked:
            verdict = self._redact(verdict)
        if not verdict.blocked:
            return None
        return ChatResult(generations=[ChatGeneration(message=self._refusal(verdict))])

    def answer(self, generation: ChatGeneration) -> dict[str, Any]:
        """What the guard is asked after the model was: the answer, with what it answers."""
        return self._check(Stage.OUTPUT, [*self._readings, read(generation.message)])

    def release(self, result: ChatResult, verdicts: Sequence[Verdict]) -> ChatResult:
        """What of the `result` the caller sees, one verdict for each generation."""
        generations = [
            self._released(generation, verdict)
            for generation, verdict in zip(result.generations, verdicts, strict=True)
        ]
        output = result.llm_output
        if output and any(verdict.blocked for verdict in verdicts):
            output = _told(output)
        return ChatResult(generations=generations, llm_output=output)

    def _check(self, stage: Stage, readings: Sequence[Reading]) -> dict[str, Any]:
        return {
            "messages": [reading.shape for reading in readings],
            "stage": stage,
            "route": self.watch.route,
            "trusted": self.trusted,
            "claimed": self.claimed,
        }

    def _redact(self, verdict: Verdict) -> Verdict:
        """Write the redactions of the input; a block if one does not fit into its place."""
        try:
            clean = redacted(self.messages, self._readings, verdict)
        except ValueError:
            return _escalated(verdict)
        if verdict.action is Action.REDACT:
            self.messages, self._readings = clean, [read(message) for message in clean]
        return verdict

    def _released(self, generation: ChatGeneration, verdict: Verdict) -> ChatGeneration:
        if verdict.action < Action.REDACT:
            return generation
        message = generation.message
        if not verdict.blocked:
            try:
                return self._redacted(generation, verdict)
            except ValueError:
                verdict = _escalated(verdict)
        return ChatGeneration(message=self._refusal(verdict, message))

    def _redacted(self, generation: ChatGeneration, verdict: Verdict) -> ChatGeneration:
        before = [*self.messages, generation.message]
        readings = [*self._readings, read(generation.message)]
        info = {k: v for k, v in (generation.generation_info or {}).items() if k != "logprobs"}
        message = redacted(before, readings, verdict)[-1]
        return ChatGeneration(message=message, generation_info=info)

    def _refusal(self, verdict: Verdict, answer: BaseMessage | None = None) -> AIMessage:
        """The refusal message in the place of `answer`; raises where a message would mislead."""
        if self.watch.on_block == "raise" or verdict.fault != "content":
            raise GuardBlocked(verdict)
        metadata = {
            **_told(answer.response_metadata if answer else {}),
            "finish_reason": "content_filter",
            "guardrail": _guardrail(verdict),
        }
        content: Any = verdict.refusal
        if self.listed:
            content = [{"type": "text", "text": verdict.refusal}]
            metadata["output_version"] = "v1"
        return AIMessage(
            content,
            id=answer.id if answer else None,
            usage_metadata=answer.usage_metadata if isinstance(answer, AIMessage) else None,
            response_metadata=metadata,
        )


def claims(manager: BaseRunManager | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The route fields that the caller of a run chose: tags, metadata and user."""
    if manager is None:
        return {}
    metadata = {k: str(v) for k, v in manager.metadata.items() if isinstance(v, str | int | float)}
    tags = [*manager.tags, *(metadata[k] for k in ("guard_tag",) if k in metadata)]
    user = parameters.get("user") or metadata.get("guard_user")
    claimed = {
        "tag": tuple(dict.fromkeys(tags)),
        "user": str(user or ""),
        **{f"metadata.{name}": value for name, value in metadata.items()},
    }
    return {name: value for name, value in claimed.items() if value}


def _guardrail(verdict: Verdict) -> dict[str, Any]:
    """What the caller learns: neither scores nor text."""
    return {
        "action": str(verdict.action),
        "decision": verdict.id,
        "policies": list(verdict.policies),
        "stage": str(verdict.stage),
        "route": verdict.route,
    }


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of a provider's metadata holds nothing of a blocked answer."""
    return {k: v for k, v in metadata.items() if k in _TOLD_OF_A_BLOCKED_ANSWER}


def _escalated(verdict: Verdict) -> Verdict:
    """A redaction that does not fit into its place, as a block."""
    findings = tuple(
        replace(finding, action=Action.BLOCK) if finding.action is Action.REDACT else finding
        for finding in verdict.findings
    )
    return replace(verdict, action=Action.BLOCK, findings=findings, edits=())
