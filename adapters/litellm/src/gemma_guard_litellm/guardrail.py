"""The hooks through which the LiteLLM proxy asks a guard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks
from litellm.types.utils import ModelResponse

from gemma_guard import ConfigError, GuardError, PluginError, Stage, UsageError, Verdict
from gemma_guard_litellm import chat, traffic
from gemma_guard_litellm.evidence import enter
from gemma_guard_litellm.guards import guard_for
from gemma_guard_litellm.refusal import Refused, blocked, unavailable, unsupported

logger = logging.getLogger("gemma_guard_litellm")

_PRE, _POST = GuardrailEventHooks.pre_call, GuardrailEventHooks.post_call
_LOSES_REDACTIONS = ("run_in_parallel", "scan_raw_request")

# the proxy runs these only if they stand in the registered class itself
_LEAF_HOOKS = ("apply_guardrail", "async_post_call_streaming_iterator_hook")


class NotGuarding(GuardError):
    """This guardrail cannot be used as configured.

    No `ValueError`: LiteLLM would log it and start the proxy without the guardrail.
    """


class GemmaGuard(CustomGuardrail):
    """Judges what goes to the model and what comes back, for `/v1/chat/completions`.

    What it cannot judge yet is refused: other endpoints, and streams.
    """

    use_native_lifecycle_hooks: ClassVar[bool] = True

    def __init_subclass__(cls, **options: object) -> None:
        """Repeat the hooks that the proxy would not look for in a base class."""
        for name in _LEAF_HOOKS:
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))
        super().__init_subclass__(**options)

    def __init__(
        self,
        guardrail_name: str = "gemma-guard",
        event_hook: Any = None,
        default_on: bool | None = None,  # noqa: FBT001  as the proxy gives it
        gemma_guard: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Load the guard of `gemma_guard["config"]`; raises `NotGuarding`.

        The proxy hands over the parameters of every other vendor's guardrail too, as `options`.
        """
        try:
            _check_edits_are_kept(options)
            super().__init__(
                guardrail_name=guardrail_name,
                supported_event_hooks=[_PRE, _POST],
                event_hook=event_hook,
                default_on=bool(default_on),
            )
            self.guard = guard_for(gemma_guard)
        except (ValueError, TypeError, PluginError) as error:
            raise NotGuarding(f"guardrail {guardrail_name!r}: {error}") from error

    def should_run_guardrail(self, data: Any, event_type: GuardrailEventHooks) -> bool:
        """Also before the call where only the answer is judged: to refuse it while that helps."""
        if super().should_run_guardrail(data, event_type):
            return True
        return event_type is _PRE and super().should_run_guardrail(data, _POST)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Judge the request, and write redactions into it."""
        del cache
        path = getattr(user_api_key_dict, "request_route", None)
        chat.check_supported(data, call_type=call_type, path=path)
        if super().should_run_guardrail(data, _PRE):
            messages = chat.asked(data)
            said = await self._ask(messages, Stage.INPUT, data, user_api_key_dict)
            (verdict,) = self._heard([said], data, _PRE)
            chat.put_back(data, verdict, messages)
        return data

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """Judge every choice of the answer, and write redactions into it."""
        if not isinstance(response, ModelResponse):
            raise unsupported("unsupported_answer", "an answer of this kind is not guarded yet")
        answers = chat.answered(response)
        asked = data.get("messages") or []
        said = await asyncio.gather(
            *(self._ask([*asked, a], Stage.OUTPUT, data, user_api_key_dict) for a in answers)
        )
        verdicts = self._heard(said, data, _POST)
        for index, verdict in enumerate(verdicts):
            chat.rewrite(response, index, verdict, [*asked, answers[index]])
        return response

    async def async_post_call_success_deployment_hook(
        self, request_data: dict[str, Any], response: Any, call_type: Any
    ) -> Any:
        """Leave what the proxy asked for to the hook above, so that it is judged once."""
        if request_data.get("proxy_server_request"):
            return None
        return await super().async_post_call_success_deployment_hook(
            request_data, response, call_type
        )

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Refuse a stream that came although none was asked for; none of it leaves."""
        del user_api_key_dict, response, request_data
        raise chat.unstreamed()
        yield

    async def apply_guardrail(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse the proxy's own test call, which would look like a pass."""
        raise unsupported("unsupported_endpoint", "use `gemma-guard check` to try a text")

    async def _ask(
        self, messages: Sequence[Mapping[str, Any]], stage: Stage, data: Mapping[str, Any], key: Any
    ) -> Verdict | Refused:
        """The verdict, or the refusal where there is none. Whatever fails, fails closed.

        Returned, not raised: LiteLLM reads an `AttributeError` anywhere among an exception's
        contexts as the caller's fault.
        """
        try:
            return await self.guard.check(
                messages=messages,
                stage=stage,
                trusted=traffic.trusted(data, key),
                claimed=traffic.claimed(data),
                tenant=traffic.tenant(key),
            )
        except UsageError as error:
            return unsupported("invalid_messages", str(error))
        except Exception as error:  # noqa: BLE001  its message may quote the text: only its name is told
            logger.error("the guard failed: %s", type(error).__name__)  # noqa: TRY400
            return unavailable()

    def _heard(
        self, said: Sequence[Verdict | Refused], data: dict[str, Any], event: GuardrailEventHooks
    ) -> list[Verdict]:
        """The verdicts, each entered into the log, if all of them let the call go on."""
        verdicts = [verdict for verdict in said if isinstance(verdict, Verdict)]
        for verdict in verdicts:
            enter(verdict, self, data, event)
        refusals = [answer for answer in said if isinstance(answer, Refused)]
        refusals += [blocked(verdict) for verdict in verdicts if verdict.blocked]
        if refusals:
            raise refusals[0]
        return verdicts


def _check_edits_are_kept(options: Mapping[str, Any]) -> None:
    for name in _LOSES_REDACTIONS:
        if options.get(name):
            raise ConfigError(f"litellm_params.{name}: LiteLLM would drop what was redacted")
