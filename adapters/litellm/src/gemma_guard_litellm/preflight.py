"""What a proxy's configuration file comes to, tried without serving anybody."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gemma_guard import ConfigError
from gemma_guard_litellm import stanzas
from gemma_guard_litellm.guardrail import GemmaGuard


def guardrails(config: Path) -> list[GemmaGuard]:
    """Every guardrail of ours that the proxy would run with this file.

    Loaded as the proxy loads them, after what it would pass over in silence is refused. Raises
    `ConfigError` and `NotGuarding`.
    """
    listed = stanzas.read(config)
    stanzas.check(listed)
    _stand_in_for(config)
    from litellm.proxy.guardrails.init_guardrails import (  # noqa: PLC0415  the proxy comes along
        init_guardrails_v2,
    )

    before = {id(guardrail) for guardrail in _ours()}
    init_guardrails_v2(all_guardrails=listed, config_file_path=str(config))
    found = [guardrail for guardrail in _ours() if id(guardrail) not in before]
    _check_all_are_there(set(stanzas.names(listed)), found)
    return found


def warnings(found: list[GemmaGuard]) -> Iterator[str]:
    """What would run as configured and may yet not be what was meant."""
    if not any(guardrail.default_on for guardrail in found):
        yield "no guardrail has default_on: only calls that name one are judged"
    for stage, modes in (("input", {"pre_call", "during_call"}), ("output", {"post_call"})):
        if not any(modes.intersection(guardrail.hooks) for guardrail in found):
            yield f"no guardrail judges the {stage}"


def _stand_in_for(config: Path) -> None:
    """Load the proxy, and let it know where its configuration is."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm.proxy.proxy_server as server  # noqa: PLC0415  takes seconds

    server.user_config_file_path = str(config)
    sys.path.insert(0, str(config.absolute().parent))


def _ours() -> Iterator[GemmaGuard]:
    import litellm  # noqa: PLC0415  its environment is set first

    return (one for one in litellm.callbacks if isinstance(one, GemmaGuard))


def _check_all_are_there(wanted: set[str], found: list[GemmaGuard]) -> None:
    stanzas.check_any(wanted)
    for name in wanted - {str(guardrail.guardrail_name) for guardrail in found}:
        raise ConfigError(f"guardrails: {name}: LiteLLM would start without it")
