"""What the tests' proxy loads beside the guard: keys, a witness of its logs, a subclass."""

import json
import os
from pathlib import Path
from typing import Any

from gemma_guard_litellm import GemmaGuard
from litellm.exceptions import GuardrailRaisedException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth


async def authenticate(_request: Any, api_key: str) -> UserAPIKeyAuth:
    """`sk-alias-NAME` is the key called NAME of the team `NAMEs`; anything else the operator's."""
    alias = api_key.removeprefix("sk-alias-") if api_key.startswith("sk-alias-") else "operator"
    return UserAPIKeyAuth(
        api_key=api_key,
        key_alias=alias,
        team_id=f"id-of-{alias}s",
        team_alias=f"{alias}s",
        user_role=LitellmUserRoles.PROXY_ADMIN,
    )


class Witness(CustomLogger):
    """Writes what LiteLLM would send to a log store."""

    async def async_log_success_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
        self._write(kwargs)

    async def async_log_failure_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
        self._write(kwargs)

    def _write(self, kwargs: Any) -> None:
        payload = kwargs.get("standard_logging_object") or {}
        line = {
            "call": payload.get("id"),
            "tags": payload.get("request_tags"),
            "entries": payload.get("guardrail_information"),
        }
        with Path(os.environ["WITNESS"]).open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")


witness = Witness()


class Subclassed(GemmaGuard):
    """Inherits everything."""


class Foreign(CustomGuardrail):
    """Another vendor's, which refuses whatever is asked."""

    async def async_pre_call_hook(self, *_: Any, **__: Any) -> Any:
        raise GuardrailRaisedException(message="not here", status_code=400)
