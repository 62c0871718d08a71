"""The one exception this adapter answers a call with, and what the caller learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litellm.exceptions import GuardrailRaisedException

from gemma_guard import Verdict

_BLOCKED = "content_policy_violation"
_INVALID = "invalid_request_error"
_UNAVAILABLE = "guard_unavailable"
_RETRY_AFTER_S = 1


class Refused(GuardrailRaisedException):
    """A call that does not go on.

    `type` is `content_policy_violation` (400), `invalid_request_error` (400) or `guard_unavailable`
    (503, which clients may retry); `code` says which case of it. LiteLLM writes the HTTP status
    into `error.code`, so `code` is found in `error.provider_specific_fields`, beside the policies
    and the decision's id. No text and no scores.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str,  # noqa: A002  LiteLLM reads this name
        code: str,
        policies: Sequence[str] = (),
        decision: str | None = None,
    ) -> None:
        retryable = type == _UNAVAILABLE
        super().__init__(
            message=message,
            should_wrap_with_default_message=False,
            status_code=503 if retryable else 400,
            blocked_content=type == _BLOCKED,
        )
        self.type = type
        self.code = code
        self.param: str | None = None
        self.headers: dict[str, str] = {"retry-after": str(_RETRY_AFTER_S)} if retryable else {}
        self.provider_specific_fields: dict[str, Any] = {
            "code": code,
            "policies": list(policies),
            "decision": decision,
        }


def blocked(verdict: Verdict) -> Refused:
    """The refusal that a blocking `verdict` asks for."""
    if verdict.fault == "content":
        return _refused(verdict, verdict.refusal, type=_BLOCKED, code=_BLOCKED)
    if verdict.fault == "judge":
        message = "The guard cannot judge this now; try again later."
        return _refused(verdict, message, type=_UNAVAILABLE, code=_cause(verdict))
    message = "The guard cannot judge this in the form it has."
    return _refused(verdict, message, type=_INVALID, code=_cause(verdict))


def undelivered(verdict: Verdict) -> Refused:
    """The refusal where `verdict` asks for a redaction that has no place to be written to."""
    return _refused(verdict, verdict.refusal, type=_BLOCKED, code=_BLOCKED)


def unsupported(code: str, message: str) -> Refused:
    """The refusal of a call that this adapter would otherwise let through unjudged."""
    return Refused(f"gemma-guard: {message}", type=_INVALID, code=code)


def unavailable() -> Refused:
    """The refusal where the guard itself failed and there is no verdict."""
    message = "The guard cannot judge this now; try again later."
    return Refused(message, type=_UNAVAILABLE, code="crashed")


def _refused(verdict: Verdict, message: str, *, type: str, code: str) -> Refused:  # noqa: A002
    return Refused(
        f"{message} ({verdict.summary})",
        type=type,
        code=code,
        policies=verdict.policies,
        decision=verdict.id,
    )


def _cause(verdict: Verdict) -> str:
    """The cause of the first gap on the side that is at fault."""
    wanted = (g.cause for g in verdict.gaps if g.cause.is_judges == (verdict.fault == "judge"))
    return str(next(wanted, "not_judged"))
