"""Asks a guard about one call, and turns what cannot be answered into a refusal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from gemma_guard import Guard, Stage, UsageError, Verdict
from gemma_guard_litellm import traffic
from gemma_guard_litellm.refusal import Refused, unavailable, unsupported

logger = logging.getLogger("gemma_guard_litellm")


class Call:
    """What is known of one call: the fields its route is chosen by, and whose scores it shares.

    A field is looked up when a route asks for it, once: later it says what it said then.
    """

    __slots__ = ("_data", "_found", "_key", "tenant")

    def __init__(self, data: Mapping[str, Any], key: Any) -> None:
        """The call with the body `data`, made with the authenticated `key`."""
        self._data = data
        self._key = key
        self._found: dict[str, traffic.Words] = {}
        self.tenant = traffic.tenant(key)

    def trusted(self, name: str) -> traffic.Words:
        """The words of a trusted field."""
        if name not in self._found:
            self._found[name] = traffic.trusted(name, self._data, self._key)
        return self._found[name]

    def claimed(self, name: str) -> traffic.Words:
        """The words of a claimed field."""
        if name not in self._found:
            self._found[name] = traffic.claimed(name, self._data)
        return self._found[name]


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
