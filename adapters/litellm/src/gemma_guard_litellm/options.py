"""What stands under the key `gemma_guard` of a guardrail's parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gemma_guard import ConfigError
from gemma_guard_litellm.endpoints import FAMILIES, Label

_KEY = "litellm_params.gemma_guard"
_ALLOWABLE = tuple(family.name for family in FAMILIES if family.label is Label.UNGUARDED)


class Options(BaseModel):
    """`config` is the path of a guard.yaml.

    `allow_unguarded` names families of endpoints, or paths with `*`, that may be called although
    nobody judges them. `polite` names routes on which a block is answered with the refusal as if
    the model had said it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    config: str
    allow_unguarded: list[str] = []
    polite: list[str] = []

    @property
    def path(self) -> Path:
        """Of guard.yaml; it starts at the folder of the proxy's configuration file, if any."""
        return (_folder() / self.config).resolve()


def read(options: Mapping[str, Any] | None) -> Options:
    """The options as given; raises `ConfigError` for what is none."""
    if not isinstance(options, Mapping) or not isinstance(options.get("config"), str):
        raise ConfigError(f"{_KEY}: give the path of a guard.yaml, as {{config: guard.yaml}}")
    for key in options:
        if key not in Options.model_fields:
            allowed = ", ".join(Options.model_fields)
            raise ConfigError(f"{_KEY}: unknown key {key!r}; use one of: {allowed}")
    try:
        read = Options(**options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{_KEY}.{first['loc'][0]}: {first['msg']}") from None
    for name in read.allow_unguarded:
        if name not in _ALLOWABLE and not name.startswith("/"):
            allowed = ", ".join(_ALLOWABLE)
            raise ConfigError(
                f"{_KEY}.allow_unguarded: {name!r} is neither a path nor of: {allowed}"
            )
    return read


def _folder() -> Path:
    """Looked up, not imported: the proxy imports this module while it starts."""
    proxy = sys.modules.get("litellm.proxy.proxy_server")
    file = getattr(proxy, "user_config_file_path", None)
    return Path(file).absolute().parent if file else Path.cwd()
