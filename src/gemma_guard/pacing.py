"""How a stream is held back while it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from gemma_guard.errors import ConfigError, unknown

Mode: TypeAlias = Literal["window", "buffer", "after"]
MODES: tuple[str, ...] = get_args(Mode)
_STRICTNESS = ("after", "window", "buffer")


@dataclass(frozen=True, slots=True)
class Pacing:
    """`window` judges as the text grows, `buffer` all of it at the end, `after` once it is out.

    A window has at least `window_chars` and ends with a sentence; it is judged without one when
    `max_hold_chars` wait, or the oldest has waited for `max_hold_ms`. A judge may think worse of
    half an answer than of all of it: where it cannot point at what is wrong, a block or a redaction
    stands when as many windows in a row as `confirm` agree, or at the end. All of it is held
    meanwhile; while nothing comes, the same text counts again every `max_hold_ms`. No text is read
    beyond `max_chars`: it is judged then, and refused.
    """

    mode: Mode = "window"
    window_chars: int = 160
    max_hold_chars: int = 640
    max_hold_ms: int = 1000
    confirm: int = 5
    max_chars: int = 200_000

    def __post_init__(self) -> None:
        """Refuse a mode that is none, windows that can never fill, and no confirmation at all."""
        if self.mode not in MODES:
            raise ConfigError(f"mode: {unknown('mode', self.mode, MODES)}")
        for key in ("window_chars", "max_hold_chars", "max_hold_ms", "confirm"):
            value = getattr(self, key)
            if not isinstance(value, int) or value is True or value < 1:
                raise ConfigError(f"{key}: a whole number of at least 1 is needed, got {value!r}")
        if self.max_hold_chars < self.window_chars:
            raise ConfigError(
                f"max_hold_chars: at least window_chars ({self.window_chars}) is needed,"
                f" got {self.max_hold_chars}"
            )

    @property
    def is_windowed(self) -> bool:
        """Whether anything is judged before the end."""
        return self.mode == "window"


def stricter(one: Pacing, other: Pacing) -> Pacing:
    """Of two the one that shows a text later; the first where they show it alike."""
    return max(one, other, key=lambda pacing: _STRICTNESS.index(pacing.mode))
