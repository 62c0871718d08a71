"""The guardrails that a proxy's configuration file lists, checked for what LiteLLM passes over."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from litellm.types.guardrails import LitellmParams
from pydantic import ValidationError

from gemma_guard import ConfigError
from gemma_guard_litellm.selfcheck import check_modes

_KEY = "gemma_guard"


def check_running(*, required: bool = False) -> None:
    """Check the file that the running proxy was started with, if there is one.

    A stanza that LiteLLM passes over is found by any other that it does load, or by
    `gemma_guard_litellm.required`, where one of ours is `required`.
    """
    server = sys.modules.get("litellm.proxy.proxy_server")
    file = getattr(server, "user_config_file_path", None)
    if file and Path(file).is_file():
        listed = read(Path(file))
        check(listed)
        if required:
            check_any(names(listed))


def check_any(named: Iterable[Any]) -> None:
    """Refuse a configuration without a guardrail of ours."""
    if not list(named):
        raise ConfigError("guardrails: none has the key gemma_guard, so nothing would be guarded")


def read(config: Path) -> list[dict[str, Any]]:
    """The guardrails that the file at `config` lists."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{config}: cannot be read: {type(error).__name__}") from error
    stanzas = content.get("guardrails") if isinstance(content, Mapping) else None
    if not isinstance(stanzas, list) or not all(isinstance(one, dict) for one in stanzas):
        raise ConfigError(f"{config}: guardrails: a list is needed")
    return stanzas


def names(stanzas: list[dict[str, Any]]) -> Iterator[Any]:
    """What ours are called."""
    for stanza in stanzas:
        if _KEY in (stanza.get("litellm_params") or {}):
            yield stanza.get("guardrail_name")


def check(stanzas: list[dict[str, Any]]) -> None:
    """Refuse what LiteLLM would pass over; raises `ConfigError`."""
    ours = list(names(stanzas))
    for stanza in stanzas:
        name, given = stanza.get("guardrail_name"), stanza.get("litellm_params") or {}
        if name in ours:
            _check_one(f"guardrails: {name}: ", given)
    for name in ours:
        if [stanza.get("guardrail_name") for stanza in stanzas].count(name) > 1:
            raise ConfigError(f"guardrails: two are called {name!r}; LiteLLM would run either")


def _check_one(where: str, given: Mapping[str, Any]) -> None:
    if not given.get("mode"):
        raise ConfigError(f"{where}mode is needed, as [pre_call, post_call]")
    try:
        check_modes(given["mode"])
        LitellmParams(**given)
    except ValidationError as error:  # which is a `ValueError`, and LiteLLM would start without it
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{where}litellm_params.{at}: {first['msg']}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from None
