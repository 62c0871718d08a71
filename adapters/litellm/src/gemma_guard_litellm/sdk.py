"""LiteLLM as a library: what its callbacks cannot judge, and the wrapper that can."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import litellm

from gemma_guard import ConfigError, Guard, Stage, Verdict
from gemma_guard_litellm import traffic
from gemma_guard_litellm.asking import Call
from gemma_guard_litellm.refusal import blocked, undelivered, unsupported
from gemma_guard_litellm.shape import Shape
from gemma_guard_litellm.shapes import of_answer, of_call
from gemma_guard_litellm.streamed import guarded as guarded_stream

logger = logging.getLogger("gemma_guard_litellm")

_is_wrapped: ContextVar[bool] = ContextVar("is_wrapped", default=False)
_POSITIONS = {
    "acompletion": ("model", "messages"),
    "completion": ("model", "messages"),
    "atext_completion": ("prompt", "model"),
    "aresponses": ("input", "model"),
    "anthropic_messages": ("max_tokens", "messages", "model"),
}


_SYNCHRONOUS = frozenset(
    {"completion", "text_completion", "responses", "embedding", "image_generation", "speech"}
)
TABLE = """\
  judged                acompletion aresponses atext_completion aembedding anthropic_messages Router
  refused               streams of these where an answer may be stopped; call guarded(litellm)
  judged by nobody      completion and all that is not async; call guarded(litellm).completion"""


def is_default(event_hook: Any) -> bool:
    """Whether a guardrail judges every call though nobody said so: one that no proxy made does."""
    return event_hook is None


def word(call_type: Any) -> str:
    """What LiteLLM calls this type of call."""
    return str(getattr(call_type, "value", call_type) or "")


def check_named(data: Mapping[str, Any]) -> None:
    """Refuse a call whose arguments have no names: LiteLLM shows its callbacks no others."""
    if not data.get("model") or not any(key in data for key in ("messages", "prompt", "input")):
        raise unsupported(
            "positional_arguments", "give model and messages by name, or call guarded(litellm)"
        )


def check_stream(guard: Guard, data: Mapping[str, Any], call: Call) -> None:
    """Refuse a stream whose answer callbacks could only look at when it is out."""
    if not data.get("stream") or _is_wrapped.get():
        return
    route = guard.routes.resolve(trusted=call.trusted, claimed=call.claimed)
    if route.acts_on_answers:
        raise unsupported(
            "unsupported_stream",
            "LiteLLM's callbacks cannot hold back a stream;"
            " call gemma_guard_litellm.guarded(litellm) with the same arguments",
        )


def is_synchronous(data: Mapping[str, Any]) -> bool:
    """Whether a call goes to a model with nobody asked: LiteLLM lets no callback stop it."""
    return data.get("call_type") in _SYNCHRONOUS and not _is_wrapped.get()


@cache
def report_once(name: str) -> None:
    """Say so of the function called `name`, once in a process."""
    logger.error("litellm.%s() is judged by nobody: use guarded(litellm) or an async call", name)


class Guarded:
    """LiteLLM's functions with streams and the synchronous `completion` judged too.

    Everything else is LiteLLM's own, judged by the guardrail in `litellm.callbacks`.
    """

    def __init__(self, calls: Any, guard: Guard) -> None:
        self._calls = calls
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._calls, name)
        return self._judged(name, function) if name in _POSITIONS and name[0] == "a" else function

    def completion(self, *args: Any, **kwargs: Any) -> Any:
        """`completion`, which no callback of LiteLLM can stop; streams are refused."""
        data = _bound("completion", args, kwargs)
        if data.get("stream"):
            raise unsupported("unsupported_stream", "use acompletion to stream")
        shape = _shape("completion")
        messages = self._asked(shape, data)
        with _wrapped():
            response = self._calls.completion(**data)
        return self._answered(response, messages, Call(data, _key(data)))

    def _judged(self, name: str, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            data = _bound(name, args, kwargs)
            if not data.get("stream"):
                return await function(**data)
            with _wrapped():
                chunks = await function(**data)
            return self._stream(name, chunks, data)

        return call

    async def _stream(
        self, name: str, chunks: Any, data: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        asked = _shape(name).asked(data)
        call = Call(data, _key(data))
        async with aclosing(
            guarded_stream(self._guard, chunks, asked, call, over=_over)
        ) as released:
            async for chunk in released:
                yield chunk

    def _asked(self, shape: Shape, data: dict[str, Any]) -> list[Any]:
        """Judge the request, and write redactions into it; the messages as they go on."""
        messages = shape.request(data)
        verdict = self._check(messages, Stage.INPUT, Call(data, _key(data)))
        beside, *redacted = verdict.apply(messages)
        if beside != messages[0]:
            raise undelivered(verdict)
        shape.put_back(data, redacted)
        return redacted

    def _answered(self, response: Any, asked: list[Any], call: Call) -> Any:
        shape = of_answer(response)
        if shape is None:
            raise unsupported("unsupported_answer", "an answer of this kind is not guarded")
        for index, answer in enumerate(shape.answered(response)):
            verdict = self._check([*asked, answer], Stage.OUTPUT, call)
            redacted = verdict.apply([*asked, answer])[-1]
            if redacted != answer and not shape.rewrite(response, index, redacted):
                raise undelivered(verdict)
        return response

    def _check(self, messages: Any, stage: Stage, call: Call) -> Verdict:
        verdict: Verdict = self._guard.check_sync(
            messages=messages,
            stage=stage,
            trusted=call.trusted,
            claimed=call.claimed,
            tenant=call.tenant,
        )
        if verdict.blocked:
            raise blocked(verdict)
        return verdict


def guarded(calls: Any = litellm) -> Guarded:
    """`calls`, the module `litellm` or a `Router`, judged by the guardrail in `litellm.callbacks`.

    Raises `ConfigError` where none is there.
    """
    found = (getattr(one, "guard", None) for one in litellm.callbacks)
    guard = next((one for one in found if isinstance(one, Guard)), None)
    if guard is None:
        raise ConfigError("litellm.callbacks holds no GemmaGuard; put one there first")
    return Guarded(calls, guard)


@contextmanager
def _wrapped() -> Iterator[None]:
    """Calls made here are streamed through the guard by who makes them."""
    token = _is_wrapped.set(True)
    try:
        yield
    finally:
        _is_wrapped.reset(token)


def _over(verdict: Verdict) -> Exception | None:
    return blocked(verdict) if verdict.blocked else None


def _key(data: Mapping[str, Any]) -> Any:
    return traffic.key_of(data)


def _bound(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_POSITIONS[name], args, strict=False)), **kwargs}


def _shape(name: str) -> Shape:
    shape = of_call(name)
    if shape is None:
        raise unsupported("unsupported_endpoint", f"{name} is not guarded")
    return shape
