"""What `doctor` examines: the judges of a guard, or of a server that is not in any guard.yaml."""

from __future__ import annotations

import json

from gemma_guard import settings
from gemma_guard.configuration import Settings
from gemma_guard.guard import Guard
from gemma_guard.health import Health

_PATIENCE_MS = 60_000


async def examined(guard: Guard) -> tuple[Health, ...]:
    """Open every scorer, and have each examine itself."""
    async with guard:
        return await guard.health(thorough=True)


def for_remote(url: str, **options: str) -> Settings:
    """One route whose judge is the server at `url`; `options` as the scorer `remote` has them."""
    written = {
        "scorers": {"remote": {"type": "remote", "urls": url, **options}},
        "routes": {
            "default": {"packs": ["default"], "scorer": "remote", "deadline_ms": _PATIENCE_MS}
        },
    }
    return settings.loads(json.dumps(written), source=f"--remote {url}")
