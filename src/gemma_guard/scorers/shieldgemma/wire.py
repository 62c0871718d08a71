"""What passes between a worker and its engine's process: JSON, and numbers only; never a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from gemma_guard.scorers.shieldgemma.engine import Question, Reading


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine to load: `make` is `package.module:callable`, called with `options`, plain JSON."""

    make: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The engine can be asked."""


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """It could not be loaded. No text has been near it, so `reason` may quote anything."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One tuple of readings per question."""

    readings: tuple[tuple[Reading, ...], ...]


@dataclass(frozen=True, slots=True)
class TooBig:
    """It ran out of memory over so many questions at once."""


@dataclass(frozen=True, slots=True)
class Broke:
    """It raised something else; `where` is the error's type and its line."""

    where: str


Told = Loaded | NotLoaded | Answered | TooBig | Broke
_KINDS = {kind.__name__: kind for kind in (Loaded, NotLoaded, Answered, TooBig, Broke)}


def send(pipe: Connection, message: Any) -> None:
    """Write one message; raises `OSError` where nobody reads any more."""
    pipe.send_bytes(json.dumps(message, separators=(",", ":")).encode())


def receive(pipe: Connection) -> Any:
    """Read one message; raises `EOFError` or `OSError` where nobody writes any more."""
    return json.loads(pipe.recv_bytes())


def asked(questions: Sequence[Question]) -> list[Any]:
    """Questions as JSON."""
    return [[question.prefix, question.suffixes, question.stream] for question in questions]


def questions(message: Sequence[Any]) -> list[Question]:
    """What `asked` wrote."""
    return [
        Question(tuple(prefix), tuple(map(tuple, suffixes)), stream)
        for prefix, suffixes, stream in message
    ]


def told(message: Told) -> list[Any]:
    """What the engine's process says, as JSON."""
    name = type(message).__name__
    if isinstance(message, Answered):
        return [name, [[[r.yes, r.no, r.mass] for r in row] for row in message.readings]]
    return [name, *(getattr(message, slot) for slot in message.__slots__)]


def heard(message: Sequence[Any]) -> Told:
    """What `told` wrote."""
    name, *rest = message
    if name == Answered.__name__:
        return Answered(tuple(tuple(Reading(*given) for given in row) for row in rest[0]))
    return _KINDS[name](*rest)
