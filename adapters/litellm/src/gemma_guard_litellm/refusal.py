"""The one exception this adapter answers a call with, and what the caller learns from it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
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
    (503, which clients may retry); `case` says which case of it. LiteLLM writes the HTTP status
    into `error.code`, so `case` is found as `error.provider_specific_fields.code`, beside the
    policies and the decision's id. No text and no scores. `route` names the guard's route, and
    `said` is what it says instead of a blocked text.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str,  # noqa: A002  LiteLLM reads this name
        case: str,
        policies: Sequence[str] = (),
        decision: str | None = None,
        route: str = "",
        said: str = "",
    ) -> None:
        retryable = type == _UNAVAILABLE
        super().__init__(
            message=message,
            should_wrap_with_default_message=False,
            status_code=503 if retryable else 400,
            blocked_content=type == _BLOCKED,
        )
        self.type = type
        self.case = case
        self.code: str | None = str(self.status_code)
        self.openai_code = case
        self.param: str | None = None
        self.route = route
        self.said = said
        self.headers: dict[str, str] = {"retry-after": str(_RETRY_AFTER_S)} if retryable else {}
        self.provider_specific_fields: dict[str, Any] | None = {
            "code": case,
            "policies": list(policies),
            "decision": decision,
        }

    @property
    def is_of_content(self) -> bool:
        """Whether a policy asked for it."""
        return self.type == _BLOCKED

    def as_json(self) -> dict[str, Any]:
        """The error, in the form of OpenAI."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            "provider_specific_fields": self.provider_specific_fields,
        }


def blocked(verdict: Verdict) -> Refused:
    """The refusal that a blocking `verdict` asks for."""
    if verdict.fault == "content":
        return _of(verdict, verdict.refusal, type=_BLOCKED, case=_BLOCKED)
    if verdict.fault == "judge":
        message = "The guard cannot judge this now; try again later."
        return _of(verdict, message, type=_UNAVAILABLE, case=_cause(verdict))
    message = "The guard cannot judge this in the form it has."
    return _of(verdict, message, type=_INVALID, case=_cause(verdict))


def undelivered(verdict: Verdict) -> Refused:
    """The refusal where `verdict` asks for a redaction that has no place to be written to."""
    return _of(verdict, verdict.refusal, type=_BLOCKED, case=_BLOCKED)


def unplaced() -> Refused:
    """The refusal of a stream in which a redaction has no place to be written to."""
    message = "This was blocked: what had to be redacted has no place of its own."
    return _kind()(message, type=_BLOCKED, case=_BLOCKED)


def unsupported(case: str, message: str) -> Refused:
    """The refusal of a call that this adapter would otherwise let through unjudged."""
    return _kind()(f"gemma-guard: {message}", type=_INVALID, case=case)


def unavailable() -> Refused:
    """The refusal where the guard itself failed and there is no verdict."""
    message = "The guard cannot judge this now; try again later."
    return _kind()(message, type=_UNAVAILABLE, case="crashed")


def _of(verdict: Verdict, message: str, *, type: str, case: str) -> Refused:  # noqa: A002
    return _kind()(
        f"{message} ({verdict.summary})",
        type=type,
        case=case,
        policies=verdict.policies,
        decision=verdict.id,
        route=verdict.route,
        said=verdict.refusal,
    )


def _cause(verdict: Verdict) -> str:
    """The cause of the first gap on the side that is at fault."""
    wanted = (g.cause for g in verdict.gaps if g.cause.is_judges == (verdict.fault == "judge"))
    return str(next(wanted, "not_judged"))


def _kind() -> type[Refused]:
    """In a proxy also the exception that its every endpoint answers with, fields and all."""
    types = sys.modules.get("litellm.proxy._types")
    return _of_proxy(types.ProxyException) if types else Refused


@cache
def _of_proxy(proxy_exception: Any) -> type[Refused]:
    class Proxied(proxy_exception):  # type: ignore[misc]  # known only once a proxy is loaded
        def __init__(self, message: str) -> None:
            super().__init__(message, type="", param=None)

        def to_dict(self) -> dict[str, Any]:
            return Refused.as_json(self)  # every one is also `Refused`

    return type("Refused", (Refused, Proxied), {"to_dict": Proxied.to_dict})
