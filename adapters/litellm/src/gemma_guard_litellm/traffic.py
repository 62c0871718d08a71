"""A call → the fields a route matches on: what the proxy knows, what the caller says.

Also whose scores are known already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

_BUCKETS = ("metadata", "litellm_metadata")
_PROXYS_OWN = "user_api_key"
_PLAIN = (str, int, float)

Words = tuple[str, ...]


def trusted(data: Mapping[str, Any], key: Any) -> dict[str, Words]:
    """`model`, `key_alias`, `team` (alias and id) and `path`, of the authenticated `key`."""
    fields = {
        "model": _words(_names(data.get("model"))),
        "key_alias": _words(getattr(key, "key_alias", None)),
        "team": _words([getattr(key, "team_alias", None), getattr(key, "team_id", None)]),
        "path": _words(getattr(key, "request_route", None)),
    }
    return {name: words for name, words in fields.items() if words}


def claimed(data: Mapping[str, Any]) -> dict[str, Words]:
    """`tag`, `user`, `header.NAME` (lower case) and `metadata.NAME`, from either bucket."""
    fields: dict[str, Words] = {}
    _claim(fields, "user", data.get("user"))
    for name in _BUCKETS:
        if isinstance(bucket := data.get(name), Mapping):
            _claim(fields, "tag", bucket.get("tags"))
            for key, value in bucket.items():
                if not key.startswith(_PROXYS_OWN):
                    _claim(fields, f"metadata.{key}", value)
    for name, value in ((data.get("proxy_server_request") or {}).get("headers") or {}).items():
        _claim(fields, f"header.{name.lower()}", value)
    return fields


def tenant(key: Any) -> str:
    """The team of the authenticated `key`, or the key: how fast an answer comes tells no other."""
    owners = (getattr(key, name, None) for name in ("team_id", "token"))
    return next((owner for owner in owners if owner and isinstance(owner, str)), "")


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


def _claim(fields: dict[str, Words], name: str, value: Any) -> None:
    """Add the words in `value` to those that `name` has already."""
    if words := _words(value):
        fields[name] = fields[name] + words if name in fields else words


def _words(value: Any) -> Words:
    """The words in `value`: itself, or those it lists; nothing for what is neither."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, _PLAIN):
        return (str(value),)
    if isinstance(value, list | tuple):
        return tuple(str(word) for word in value if isinstance(word, _PLAIN))
    return ()
