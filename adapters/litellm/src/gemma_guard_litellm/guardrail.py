"""The hooks through which the LiteLLM proxy asks a guard."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import Any, ClassVar, NoReturn

from litellm.exceptions import ModifyResponseException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from gemma_guard import Action, GuardError, PluginError, Stage, Verdict
from gemma_guard_litellm import (
    afterwards,
    evidence,
    options,
    sdk,
    selfcheck,
    stanzas,
    traffic,
    watch,
)
from gemma_guard_litellm.asking import Call, ask
from gemma_guard_litellm.guards import guard_of
from gemma_guard_litellm.refusal import Refused, blocked, undelivered, unsupported
from gemma_guard_litellm.shape import Message, Shape
from gemma_guard_litellm.shapes import JUDGED_DURING, REPLAYED, SPOKEN, of_answer, of_stream
from gemma_guard_litellm.streamed import guarded
from gemma_guard_litellm.support import shape_of

_PRE, _DURING = GuardrailEventHooks.pre_call, GuardrailEventHooks.during_call
_POST = GuardrailEventHooks.post_call
_BEFORE = (_PRE, _DURING, _POST)
"""Where it runs at one of these, it is asked before the call."""
_ACTION = attrgetter("action")


class NotGuarding(GuardError):
    """This guardrail cannot be used as configured.

    No `ValueError`: LiteLLM would log it and start the proxy without the guardrail.
    """


class GemmaGuard(CustomGuardrail):
    """Judges what goes to the model and what comes back; what it cannot judge is refused."""

    use_native_lifecycle_hooks: ClassVar[bool] = True

    def __init_subclass__(cls, **options: object) -> None:
        """Repeat the hooks that the proxy would not look for in a base class."""
        for name in selfcheck.LEAF_HOOKS:
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))
        super().__init_subclass__(**options)

    def __init__(
        self,
        guardrail_name: str = "gemma-guard",
        event_hook: Any = None,
        default_on: bool | None = None,  # noqa: FBT001  as the proxy gives it
        gemma_guard: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Load the guard of `gemma_guard["config"]`; raises `NotGuarding`.

        The proxy hands over the parameters of every other vendor's guardrail too, as `others`.
        """
        try:
            selfcheck.check_options(others)
            selfcheck.check_modes(event_hook)
            super().__init__(
                guardrail_name=guardrail_name,
                supported_event_hooks=list(selfcheck.MODES),
                event_hook=event_hook or [_PRE, _POST],
                default_on=sdk.is_default(event_hook) if default_on is None else default_on,
            )
            self._events = tuple(filter(self._event_hook_is_event_type, GuardrailEventHooks))
            self.options = options.read(gemma_guard)
            self._polite_routes = frozenset(self.options.polite)
            self.guard = guard_of(self.options.path)
            self._check_itself()
        except (ValueError, TypeError, PluginError) as error:
            raise NotGuarding(f"guardrail {guardrail_name!r}: {error}") from error
        self._announce()

    def apply_stream_scope(self, stream_scope: Any) -> None:
        """Refuse to be left out of any call; the proxy asks for it after the constructor."""
        try:
            selfcheck.check_stream_scope(stream_scope)
        except ValueError as error:
            raise NotGuarding(f"guardrail {self.guardrail_name!r}: {error}") from error
        super().apply_stream_scope(stream_scope)

    def should_run_guardrail(self, data: Any, event_type: GuardrailEventHooks) -> bool:
        """Also before the call where it is judged later: to refuse what cannot be judged then."""
        for event in _BEFORE if event_type is _PRE else (event_type,):
            if event in self._events and (
                (self.default_on and not traffic.is_of_special_key(data))
                or super().should_run_guardrail(data, event)
            ):
                return True
        return False

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Judge the request, and write redactions into it."""
        del cache
        shape = self._shape(data, call_type, user_api_key_dict)
        if shape is None or not self._judges_now(call_type):
            return data
        messages = shape.request(data)
        call = Call(data, user_api_key_dict)
        (verdict,) = self._heard(
            [await ask(self.guard, messages, Stage.INPUT, call)], data, _PRE, shape
        )
        if verdict.action is Action.REDACT:
            _put_back(shape, data, verdict, messages)
        return data

    async def async_moderation_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, call_type: str
    ) -> Any:
        """Judge the request while the model answers; what would be redacted is refused."""
        shape = self._shape(data, call_type, user_api_key_dict)
        if shape is None:
            return
        call = Call(data, user_api_key_dict)
        said = await ask(self.guard, shape.request(data), Stage.INPUT, call)
        (verdict,) = self._heard([said], data, _DURING, shape)
        if verdict.action is Action.REDACT:
            raise undelivered(verdict)

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """Judge every choice of the answer, and write redactions into it."""
        shape = of_answer(response)
        if shape is None:
            return self._unknown(response, user_api_key_dict)
        answers = shape.answered(response)
        if not answers:
            return response
        asked = shape.asked(data)
        call = Call(data, user_api_key_dict)
        asking = [ask(self.guard, [*asked, answer], Stage.OUTPUT, call) for answer in answers]
        said = await asyncio.gather(*asking) if len(asking) > 1 else [await asking[0]]
        verdicts = self._heard(said, data, _POST, shape)
        for index, verdict in enumerate(verdicts):
            if verdict.action is Action.REDACT:
                _rewrite(shape, response, index, verdict, [*asked, answers[index]])
        return response

    async def async_logging_hook(
        self, kwargs: dict[str, Any], result: Any, call_type: str
    ) -> tuple[dict[str, Any], Any]:
        """Judge both sides of a call that is over, for the record only."""
        if GuardrailEventHooks.logging_only not in self._events:
            return kwargs, result
        said = await afterwards.judged(self.guard, kwargs, result, call_type)
        return afterwards.logged(self, kwargs, said), result

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: dict[str, Any]) -> None:
        """Be told that LiteLLM calls a model, or will not; report what no hook could judge."""
        del model, messages
        evidence.catch_up(kwargs.get("litellm_call_id"))
        if sdk.is_synchronous(kwargs) and not watch.is_proxy():
            sdk.report_once(kwargs["call_type"])

    async def async_pre_call_deployment_hook(
        self, kwargs: dict[str, Any], call_type: Any
    ) -> dict[str, Any] | None:
        """Judge what is asked through the SDK; what a proxy asks was judged as it came in."""
        if not self._is_of_sdk(kwargs, _PRE):
            return None
        key = traffic.key_of(kwargs)
        sdk.check_named(kwargs)
        sdk.check_stream(self.guard, kwargs, Call(kwargs, key))
        return await self.async_pre_call_hook(key, None, kwargs, sdk.word(call_type))

    async def async_post_call_success_deployment_hook(
        self, request_data: dict[str, Any], response: Any, call_type: Any
    ) -> Any:
        """Judge what is answered through the SDK; the hook above judges what a proxy answers."""
        del call_type
        if not self._is_of_sdk(request_data, _POST) or of_answer(response) is None:
            return None
        key = traffic.key_of(request_data)
        return await self.async_post_call_success_hook(request_data, key, response)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Let a stream go as it is judged, redacted where the guard says so."""
        shape = of_stream(getattr(user_api_key_dict, "request_route", None), request_data)
        asked = shape.asked(request_data)
        call = Call(request_data, user_api_key_dict)

        def over(verdict: Verdict) -> Exception | None:
            evidence.enter(verdict, self, request_data, _POST)
            refused = blocked(verdict) if verdict.blocked else None
            return None if refused is None or self._is_polite(refused) else refused

        async with aclosing(guarded(self.guard, response, asked, call, over=over)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def apply_guardrail(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse the proxy's own test call, which would look like a pass."""
        raise unsupported("unsupported_endpoint", "use `gemma-guard check` to try a text")

    def _check_itself(self) -> None:
        selfcheck.check_class(self)
        selfcheck.check_dispatch(self)
        stanzas.check_running()
        for name in self.options.polite:
            self.guard.routes.resolve(name)

    def _announce(self) -> None:
        """Shut the door on what is not judged, and say what is."""
        watch.prove()
        allowed = tuple(self.options.allow_unguarded)
        routes = watch.close(str(self.guardrail_name), allowed) if self.default_on else ""
        sys.stderr.write(f"{self.announcement}\n{routes}")

    @property
    def announcement(self) -> str:
        """What guards which endpoints at which hooks, in a few lines."""
        whose = "every call" if self.default_on else "calls that name it"
        first = f"gemma-guard: {self.guardrail_name} judges {whose} by {self.options.path.name}"
        allowed = tuple(self.options.allow_unguarded)
        table = watch.table(self.hooks, allowed) if watch.is_proxy() else sdk.TABLE
        return f"{first} ({self.guard.fingerprint})\n{table}"

    @property
    def hooks(self) -> list[str]:
        """The modes it runs in."""
        return [str(m.value) for m in selfcheck.MODES if m in self._events]

    def _is_of_sdk(self, data: dict[str, Any], event: GuardrailEventHooks) -> bool:
        """Whether no hook of a proxy sees this call, and it is to be judged."""
        return not data.get("proxy_server_request") and self.should_run_guardrail(data, event)

    def _judges_now(self, call_type: str) -> bool:
        """Before the call; also what LiteLLM asks no guardrail about during it."""
        return _PRE in self._events or (call_type not in JUDGED_DURING and _DURING in self._events)

    def _shape(self, data: dict[str, Any], call_type: str, key: Any) -> Shape | None:
        path = getattr(key, "request_route", None)
        return shape_of(data, call_type=call_type, path=path, allowed=self.options.allow_unguarded)

    def _unknown(self, response: Any, key: Any) -> Any:
        """An answer of no form that is known: let through only where its path is allowed."""
        path = getattr(key, "request_route", None) or ""
        if shape_of({}, call_type="", path=path, allowed=self.options.allow_unguarded) is None:
            return response
        raise unsupported("unsupported_answer", "an answer of this kind is not guarded")

    def _heard(
        self,
        said: Sequence[Verdict | Refused],
        data: dict[str, Any],
        event: GuardrailEventHooks,
        shape: Shape,
    ) -> list[Verdict]:
        """The verdicts, each entered into the log, if all of them let the call go on."""
        verdicts: list[Verdict] = []
        refusals: list[Refused] = []
        for one in said:
            if isinstance(one, Verdict):
                verdicts.append(one)
            else:
                refusals.append(one)
        may_wait = event is _PRE and _goes_on_as_it_came(verdicts, data, shape)
        enter = evidence.enter_soon if may_wait else evidence.enter
        for verdict in verdicts:
            enter(verdict, self, data, event)
            if verdict.blocked:
                refusals.append(blocked(verdict))
        if not refusals:
            return verdicts
        refused = refusals[0]
        raise self._polite(refused, data, shape) if self._is_polite(refused) else refused

    def _is_polite(self, refused: Refused) -> bool:
        """Whether the route that refused has the refusal said as an answer."""
        return refused.is_of_content and not self._polite_routes.isdisjoint(
            refused.route.split("+")[:1]
        )

    def _polite(self, refused: Refused, data: dict[str, Any], shape: Shape) -> Exception:
        """What LiteLLM answers as if the model had refused; elsewhere the refusal itself."""
        if shape not in SPOKEN:
            return refused
        return ModifyResponseException(
            message=refused.said,
            model=str(data.get("model")),
            request_data=data,
            guardrail_name=self.guardrail_name,
        )


def _goes_on_as_it_came(verdicts: Sequence[Verdict], data: Mapping[str, Any], shape: Shape) -> bool:
    """Whether a proxy sends this request on unchanged, and nothing in it needs a copy."""
    acts = max(map(_ACTION, verdicts), default=Action.ALLOW) >= Action.REDACT
    return bool(data.get("proxy_server_request")) and shape not in REPLAYED and not acts


def _put_back(
    shape: Shape, data: dict[str, Any], verdict: Verdict, judged: Sequence[Message]
) -> None:
    """Write what `verdict` redacted into the request; raises where it has no place there."""
    beside, *messages = verdict.apply(judged)
    if beside != judged[0]:
        raise undelivered(verdict)
    shape.put_back(data, messages)


def _rewrite(
    shape: Shape, response: Any, index: int, verdict: Verdict, judged: Sequence[Message]
) -> None:
    """Write what `verdict` redacted into an answer; raises where it has no place there."""
    if not shape.rewrite(response, index, verdict.apply(judged)[-1]):
        raise undelivered(verdict)
