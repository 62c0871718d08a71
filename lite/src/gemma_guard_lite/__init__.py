"""The embedded judge: ShieldGemma's four harms on one CPU core, real but weaker."""

from importlib.resources import as_file, files

from gemma_guard import PolicyPack
from gemma_guard_lite.scorer import Lite

__all__ = ["Lite", "pack"]


def pack() -> PolicyPack:
    """The pack `lite`: the default harms with the bands that fit this judge."""
    with as_file(files("gemma_guard_lite") / "lite.yaml") as path:
        return PolicyPack.from_yaml(path)
