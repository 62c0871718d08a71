"""The route fields that the caller of a run chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackManager, Callbacks
from langchain_core.runnables import RunnableConfig

_OWN_KEYS = {"guard_tag": "tag", "guard_user": "user"}


def claims(
    tags: Sequence[str], metadata: Mapping[str, Any], *, user: Any = None
) -> dict[str, str | tuple[str, ...]]:
    """Tags, metadata and user as the guard names them.

    `metadata["guard_tag"]` is a tag and `metadata["guard_user"]` the user, where `user` is none.
    """
    found: dict[str, str | tuple[str, ...]] = {}
    if not (tags or metadata or user):
        return found
    every = [*tags]
    for key, value in metadata.items():
        if not isinstance(value, str | int | float):
            continue
        found[f"metadata.{key}"] = str(value)
        if _OWN_KEYS.get(key) == "tag":
            every.append(str(value))
        elif _OWN_KEYS.get(key) == "user":
            found["user"] = str(value)
    if every:
        found["tag"] = tuple(dict.fromkeys(every))
    if user:
        found["user"] = str(user)
    return found


def of_config(config: RunnableConfig) -> tuple[list[str], dict[str, Any]]:
    """The tags and metadata of a run, those it inherits included; what is configurable as well."""
    tags, metadata = inherited(config.get("callbacks"))
    tags += config.get("tags") or ()
    configurable = config.get("configurable") or {}
    said = {key: value for key, value in configurable.items() if not key.startswith("__")}
    return tags, {**said, **metadata, **(config.get("metadata") or {})}


def inherited(callbacks: Callbacks) -> tuple[list[str], dict[str, Any]]:
    """The tags and metadata that a run has from the one around it."""
    if isinstance(callbacks, BaseCallbackManager):
        return [*callbacks.tags], {**callbacks.metadata}
    return [], {}
