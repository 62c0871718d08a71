"""One guard per guard.yaml in this process, however many stanzas name it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemma_guard import ConfigError, Guard

_KEY = "litellm_params.gemma_guard"
_guards: dict[Path, Guard] = {}
_lock = threading.Lock()


def guard_for(options: Mapping[str, Any] | None) -> Guard:
    """The guard of the file that `options["config"]` names; raises `ConfigError`.

    A relative path starts at the folder of the proxy's configuration file, or at the working
    directory where there is none.
    """
    path = (_folder() / _config(options)).resolve()
    with _lock:
        if path not in _guards:
            _guards[path] = Guard.from_config(path)
        return _guards[path]


def _config(options: Mapping[str, Any] | None) -> str:
    if not isinstance(options, Mapping) or not isinstance(options.get("config"), str):
        raise ConfigError(f"{_KEY}: give the path of a guard.yaml, as {{config: guard.yaml}}")
    for key in options:
        if key != "config":
            raise ConfigError(f"{_KEY}: unknown key {key!r}; use one of: config")
    return str(options["config"])


def _folder() -> Path:
    """Looked up, not imported: the proxy imports this module while it starts."""
    proxy = sys.modules.get("litellm.proxy.proxy_server")
    file = getattr(proxy, "user_config_file_path", None)
    return Path(file).absolute().parent if file else Path.cwd()
