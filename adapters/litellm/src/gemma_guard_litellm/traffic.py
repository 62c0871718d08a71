"""A call → the fields a route matches on: what the proxy knows, what the caller says.

Also whose scores are known already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

_BUCKETS = ("metadata", "litellm_metadata")
_PROXYS_OWN = "user_api_key"
_SETTINGS = (f"{_PROXYS_OWN}_metadata", f"{_PROXYS_OWN}_team_metadata")
_PLAIN = (str, int, float)
_OF_KEY = {
    "key_alias": ("key_alias",),
    "team": ("team_alias", "team_id"),
    "path": ("request_route",),
}

Words = tuple[str, ...]


def trusted(name: str, data: Mapping[str, Any], key: Any) -> Words:
    """`model`, `key_alias`, `team` (alias and id) or `path`, of the authenticated `key`."""
    if name == "model":
        return _words(_names(data.get("model")))
    attributes = _OF_KEY.get(name, ())
    return _words([getattr(key, attribute, None) for attribute in attributes])


def claimed(name: str, data: Mapping[str, Any]) -> Words:
    """`tag`, `user`, `header.NAME` (lower case) or `metadata.NAME`, the two from either bucket."""
    family, _, rest = name.partition(".")
    if family == "user":
        return _words(data.get("user"))
    if family == "header":
        sent = (data.get("proxy_server_request") or {}).get("headers") or {}
        return _all_words(value for header, value in sent.items() if header.lower() == rest)
    field = "tags" if family == "tag" else rest
    if field.startswith(_PROXYS_OWN):
        return ()
    buckets = (data.get(bucket) for bucket in _BUCKETS)
    return _all_words(bucket.get(field) for bucket in buckets if isinstance(bucket, Mapping))


def tenant(key: Any) -> str:
    """The team of the authenticated `key`, or the key: how fast an answer comes tells no other."""
    for name in ("team_id", "token"):
        owner = getattr(key, name, None)
        if owner and isinstance(owner, str):
            return owner
    return ""


def is_of_special_key(data: Mapping[str, Any]) -> bool:
    """Whether a key or its team has settings: they alone can leave out what judges every call."""
    for name in _BUCKETS:
        bucket = data.get(name)
        if isinstance(bucket, dict) and any(map(bucket.get, _SETTINGS)):
            return True
    return False


def key_of(data: Mapping[str, Any]) -> SimpleNamespace:
    """The authenticated key, of what the proxy wrote into a call's metadata; else an empty one."""
    stamped = {
        name.removeprefix(f"{_PROXYS_OWN}_"): value
        for bucket in _BUCKETS
        for name, value in (data.get(bucket) or {}).items()
        if name.startswith(f"{_PROXYS_OWN}_")
    }
    return SimpleNamespace(
        key_alias=stamped.get("alias"),
        team_alias=stamped.get("team_alias"),
        team_id=stamped.get("team_id"),
        token=stamped.get("hash"),
        request_route=stamped.get("request_route"),
    )


def _names(model: Any) -> list[Any]:
    """The model as called, and the group that an alias or a deployment's id stands for.

    A caller who knows the id must not leave the route of the name by it.
    """
    router = getattr(sys.modules.get("litellm.proxy.proxy_server"), "llm_router", None)
    if router is None or not isinstance(model, str):
        return [model]
    alias = (router.model_group_alias or {}).get(model)
    group = alias.get("model") if isinstance(alias, Mapping) else alias
    deployment = router.get_deployment(model_id=model)
    return [model, group, getattr(deployment, "model_name", None)]


def _all_words(values: Iterable[Any]) -> Words:
    return tuple(word for value in values for word in _words(value))


def _words(value: Any) -> Words:
    """The words in `value`: itself, or those it lists; nothing for what is neither."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, _PLAIN):
        return (str(value),)
    if isinstance(value, list | tuple):
        return tuple(str(word) for word in value if isinstance(word, _PLAIN))
    return ()
