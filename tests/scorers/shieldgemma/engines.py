"""Engines without a model, for processes of their own: what they do is in the questions."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path

from gemma_guard.scorers.shieldgemma.engine import Question, Reading

FINE, RAISE, DIE, HANG, HOLD = range(10, 15)
"""First tokens: answered; an error; the process ends; it sleeps; it sleeps and lets nothing run."""


class Toy:
    """Reads `yes` = the sum of the prefix and `no` = the sum of the suffix."""

    def __init__(self, *, most: int = 64, log: str = "") -> None:
        self._most, self._log = most, log
        self._note(f"loaded {os.getpid()}")

    def read(self, questions: Sequence[Question], /) -> list[tuple[Reading, ...]]:
        self._note(f"read {len(questions)}")
        if len(questions) > self._most:
            raise MemoryError
        for question in questions:
            _misbehave(question.prefix[0])
        return [
            tuple(Reading(float(sum(q.prefix)), float(sum(s))) for s in q.suffixes)
            for q in questions
        ]

    def _note(self, line: str) -> None:
        if self._log:
            with Path(self._log).open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _misbehave(token: int) -> None:
    if token == RAISE:
        raise ValueError("canary-7f3a")
    if token == DIE:
        os._exit(7)
    if token == HANG:
        time.sleep(600)
    if token == HOLD:
        ctypes.PyDLL(None).sleep(600)  # unlike CDLL it keeps the interpreter lock


def toy(*, most: int = 64, log: str = "") -> Toy:
    return Toy(most=most, log=log)


class Named:
    """Reads its process in every question."""

    def read(self, questions: Sequence[Question], /) -> list[tuple[Reading, ...]]:
        return [tuple(Reading(os.getpid(), 0.0) for _ in q.suffixes) for q in questions]


def named() -> Named:
    return Named()


def unloadable(*, reason: str) -> Toy:
    raise OSError(reason)


def once(*, log: str) -> Toy:
    """Loads the first time only."""
    if Path(log).exists():
        raise OSError("the weights are gone")
    return Toy(log=log)
