"""What would make LiteLLM skip a hook without a word, looked for before the first call."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from litellm.types.guardrails import GuardrailEventHooks, Mode

from gemma_guard import ConfigError

MODES = tuple(
    GuardrailEventHooks(word) for word in ("pre_call", "during_call", "post_call", "logging_only")
)
LEAF_HOOKS = ("apply_guardrail", "async_post_call_streaming_iterator_hook")
"""The proxy runs these only if they stand in the registered class itself."""

_LOSES_REDACTIONS = ("run_in_parallel", "scan_raw_request")


def check_modes(mode: Any) -> None:
    """Refuse a mode that LiteLLM would not run, or would let a caller's tags choose."""
    if isinstance(mode, Mode | Mapping):
        raise ConfigError("mode: by tags, callers would choose whether they are judged; use routes")
    for word in mode if isinstance(mode, list) else [mode]:
        if word is not None and word not in MODES:
            allowed = ", ".join(MODES)
            raise ConfigError(f"mode: {str(word)!r} is not supported; use of: {allowed}")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options under which LiteLLM drops what a guardrail redacted."""
    for name in _LOSES_REDACTIONS:
        if options.get(name):
            raise ConfigError(f"litellm_params.{name}: LiteLLM would drop what was redacted")


def check_stream_scope(scope: Any) -> None:
    """Refuse to be left out of streams, or of what is none."""
    words = scope.values() if isinstance(scope, Mapping) else [scope]
    if any(word not in (None, "both") for word in words):
        raise ConfigError("litellm_params.stream_scope: what it leaves out would not be judged")


def check_class(guardrail: Any) -> None:
    """Refuse a class whose hooks the proxy would not find."""
    missing = [name for name in LEAF_HOOKS if name not in vars(type(guardrail))]
    if missing or not guardrail.use_native_lifecycle_hooks:
        what = ", ".join(missing) or "use_native_lifecycle_hooks"
        raise ConfigError(f"{type(guardrail).__name__}: LiteLLM would not find its {what}")


def check_dispatch(guardrail: Any) -> None:
    """Ask LiteLLM itself which hooks of `guardrail` it would run, where a proxy is loaded."""
    logging = getattr(sys.modules.get("litellm.proxy.utils"), "ProxyLogging", None)
    if not hasattr(logging, "callback_capabilities"):
        return
    found = _capabilities(logging, guardrail)
    streams = tuple(found.iterator_overrides) == ((guardrail, "override"),)
    if not (found.has_guardrail and streams):
        raise ConfigError(f"{type(guardrail).__name__}: this LiteLLM would not run its hooks")


def _capabilities(logging: Any, guardrail: Any) -> Any:
    """What LiteLLM would make of `guardrail` alone; nothing runs in between."""
    litellm: Any = sys.modules["litellm"]
    before, litellm.callbacks = litellm.callbacks, [guardrail]
    try:
        return logging.callback_capabilities()
    finally:
        litellm.callbacks = before
