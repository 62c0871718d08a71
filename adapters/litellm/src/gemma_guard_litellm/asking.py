"""Asks a guard about one call, and turns what cannot be answered into a refusal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_guard import Guard, Stage, UsageError, Verdict
from gemma_guard_litellm import traffic
from gemma_guard_litellm.refusal import Refused, unavailable, unsupported

logger = logging.getLogger("gemma_guard_litellm")


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of one call: the fields its route is chosen by, and whose scores it shares."""

    trusted: Mapping[str, traffic.Words]
    claimed: Mapping[str, traffic.Words]
    tenant: str

    @classmethod
    def of(cls, data: Mapping[str, Any], key: Any) -> Call:
        """The call with this body, made with this authenticated key."""
        return cls(traffic.trusted(data, key), traffic.claimed(data), traffic.tenant(key))


async def ask(
    guard: Guard, messages: Sequence[Mapping[str, Any]], stage: Stage, call: Call
) -> Verdict | Refused:
    """The verdict, or the refusal where there is none. Whatever fails, fails closed.

    Returned, not raised: LiteLLM reads an `AttributeError` anywhere among an exception's contexts
    as the caller's fault.
    """
    try:
        return await guard.check(
            messages=messages,
            stage=stage,
            trusted=call.trusted,
            claimed=call.claimed,
            tenant=call.tenant,
        )
    except UsageError as error:
        return unsupported("invalid_messages", str(error))
    except Exception as error:  # noqa: BLE001  its message may quote the text: only its name is told
        logger.error("the guard failed: %s", type(error).__name__)  # noqa: TRY400
        return unavailable()
