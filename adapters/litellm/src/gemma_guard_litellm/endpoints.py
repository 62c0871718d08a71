"""The paths of a LiteLLM proxy, and what this guardrail sees of the calls to each.

A path is looked up, never a list of routes: LiteLLM adds routers when they are first called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any


class Label(StrEnum):
    """How much of what goes through a path is judged."""

    GUARDED = "guarded"
    INPUT_ONLY = "input only"
    UNGUARDED = "unguarded"
    QUIET = "generates nothing"


@dataclass(frozen=True, slots=True)
class Family:
    """Paths that are treated alike. In a path `{}` is one part or more, `*` is anything."""

    name: str
    label: Label
    paths: tuple[str, ...]


WEBSOCKET = "WEBSOCKET"
OTHER = "other"
_DEPLOYED = ("/engines/{}", "/openai/deployments/{}")


def _everywhere(path: str) -> tuple[str, ...]:
    return (path, f"/v1{path}", *(f"{prefix}{path}" for prefix in _DEPLOYED))


def _v1(*paths: str) -> tuple[str, ...]:
    return (*paths, *(f"/v1{path}" for path in paths))


def _below(*paths: str) -> tuple[str, ...]:
    return (*paths, *(f"{path}/*" for path in paths))


_JUDGED = (
    Family("chat", Label.GUARDED, _everywhere("/chat/completions")),
    Family("messages", Label.GUARDED, ("/v1/messages",)),
    Family("responses", Label.GUARDED, (*_v1("/responses"), "/openai/v1/responses")),
    Family("completions", Label.GUARDED, _everywhere("/completions")),
    Family("embeddings", Label.INPUT_ONLY, _everywhere("/embeddings")),
    Family("images", Label.INPUT_ONLY, _everywhere("/images/generations")),
    Family("speech", Label.INPUT_ONLY, _v1("/audio/speech")),
    Family("moderations", Label.INPUT_ONLY, _v1("/moderations")),
    Family("rerank", Label.INPUT_ONLY, (*_v1("/rerank"), "/v2/rerank")),
)
_BOOKKEEPING = Family(
    "bookkeeping",
    Label.QUIET,
    (
        *("/v1/messages/count_tokens", "*:countTokens", "/utils/*", "/v1/mcp/*"),
        *(*_v1("/responses/input_tokens"), "/openai/v1/responses/input_tokens"),
    ),
)
_UNSEEN = (
    Family("stored-responses", Label.UNGUARDED, _below(*_v1("/responses"), "/openai/v1/responses")),
    Family("realtime", Label.UNGUARDED, ("/realtime*", "/v1/realtime*", "/openai/v1/realtime*")),
    Family("batches", Label.UNGUARDED, (*_below(*_v1("/batches", "/files")), "/{}/v1/batches*")),
    Family("files", Label.UNGUARDED, ("/{}/v1/files*",)),
    Family("assistants", Label.UNGUARDED, _below(*_v1("/assistants", "/threads"))),
    Family("fine-tuning", Label.UNGUARDED, ("/fine_tuning/*", "/v1/fine_tuning/*")),
    Family(
        "google",
        Label.UNGUARDED,
        ("*enerateContent", *_below("/interactions", "/v1beta/interactions", "/v1beta/agents")),
    ),
    Family("transcriptions", Label.UNGUARDED, _v1("/audio/transcriptions")),
    Family("image-edits", Label.UNGUARDED, _everywhere("/images/edits")),
    Family("videos", Label.UNGUARDED, _below(*_v1("/videos"))),
    Family("ocr", Label.UNGUARDED, _v1("/ocr")),
    Family("rag", Label.UNGUARDED, ("/rag/*", "/v1/rag/*")),
    Family("vector-stores", Label.UNGUARDED, _below(*_v1("/vector_stores", "/vector_store"))),
    Family("search", Label.UNGUARDED, _below(*_v1("/search"))),
    Family("containers", Label.UNGUARDED, _below(*_v1("/containers"))),
    Family("evals", Label.UNGUARDED, _below(*_v1("/evals"))),
    Family("skills", Label.UNGUARDED, _below(*_v1("/skills"))),
    Family("decisions", Label.UNGUARDED, _v1("/decisions", "/systemone")),
    Family("lens", Label.UNGUARDED, ("/lens*",)),
    Family("queue", Label.UNGUARDED, ("/queue/*",)),
    Family("mcp", Label.UNGUARDED, (*_below("/mcp", "/mcp-rest"), "/{}/mcp", "/{}/mcp/*")),
    Family("a2a", Label.UNGUARDED, ("/a2a/*", "/v1/a2a/*", "/agents")),
    Family("admin-tools", Label.UNGUARDED, ("/prompts/test", "/usage/ai/*", "/policy/templates/*")),
)
_LISTING = Family(
    "listing",
    Label.QUIET,
    (
        *_below(*_v1("/models"), "/model", "/v1/model", "/model_group"),
        *("/guardrails/*", "/apply_guardrail", *_below("/v1/traces", "/v1/logs")),
        *("/claude-code/*", "/introspect", "/token"),
    ),
)
_ANY = Family(OTHER, Label.UNGUARDED, ())
_CONFIGURED = Family("pass-through", Label.UNGUARDED, ())
_QUIET = Family("management", Label.QUIET, ())

FAMILIES = (*_JUDGED, *_UNSEEN, _CONFIGURED, _ANY)
"""Every family through which a model can be reached."""


def family(method: str, path: str) -> Family:
    """What a call with `method` (or `WEBSOCKET`) to `path` belongs to."""
    found: Family = _listed(method, path)
    return _CONFIGURED if found is _QUIET and _is_configured(path) else found


@lru_cache(maxsize=4096)
def _listed(method: str, path: str) -> Family:
    """Only a POST is judged: with any other method LiteLLM may pass the same path through."""
    judged = _JUDGED if method == "POST" else ()
    listed: tuple[Family, ...] = (*judged, _BOOKKEEPING, *_UNSEEN, _LISTING)
    for one in listed:
        if _pattern(one).fullmatch(path):
            return one
    if _is_mapped(path):
        return _CONFIGURED
    return _ANY if _reaches_a_model(path) else _QUIET


@lru_cache(maxsize=64)
def _pattern(one: Family) -> re.Pattern[str]:
    return re.compile("|".join(map(_expression, one.paths)), re.DOTALL)


def _expression(path: str) -> str:
    return re.escape(path).replace(r"\{\}", ".+").replace(r"\*", ".*")


def _is_mapped(path: str) -> bool:
    from litellm.proxy._types import LiteLLMRoutes  # noqa: PLC0415  only where a proxy is

    mapped = LiteLLMRoutes.mapped_pass_through_routes.value
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in mapped)


def _reaches_a_model(path: str) -> bool:
    """As LiteLLM says: what a later version adds is refused until it is known here."""
    from litellm.proxy.auth.route_checks import RouteChecks  # noqa: PLC0415  only where a proxy is

    return bool(RouteChecks.is_llm_api_route(path))


def _is_configured(path: str) -> bool:
    """Whether the operator made `path` a pass-through; the list changes while the proxy runs."""
    from litellm.proxy.pass_through_endpoints import (  # noqa: PLC0415  only where a proxy is
        pass_through_endpoints as configured,
    )

    return bool(configured.InitPassThroughEndpointHelpers.is_registered_pass_through_route(path))


def is_allowed(method: str, path: str, allowed: Iterable[str]) -> bool:
    """Whether `allowed` names the family of `path`, or a pattern that `path` fits."""
    name = family(method, path).name
    return any(one == name or (one[:1] == "/" and fnmatchcase(path, one)) for one in allowed)


def real_paths(app: Any) -> Iterator[tuple[str, str]]:
    """Method and path of every route of the proxy's `app`, those not loaded yet by their prefix."""
    yield from _walked(app.router.routes, "")
    for feature in _lazy_features():
        for prefix in feature.path_prefixes:
            yield "POST", prefix.rstrip("/") + ("/" if prefix.endswith("/") else "")


def _walked(routes: Iterable[Any], prefix: str) -> Iterator[tuple[str, str]]:
    for route in routes:
        if inner := getattr(route, "original_router", None):  # how new versions of FastAPI include
            yield from _walked(inner.routes, prefix + route.include_context.prefix)
        else:
            for method in getattr(route, "methods", None) or (WEBSOCKET,):
                yield method, prefix + getattr(route, "path", "")


def _lazy_features() -> Iterable[Any]:
    try:
        from litellm.proxy._lazy_features import LAZY_FEATURES  # noqa: PLC0415  not in every version
    except ImportError:
        return ()
    return LAZY_FEATURES
