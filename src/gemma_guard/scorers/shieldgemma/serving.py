"""The process of a worker: load an engine, answer until the other end is gone.

It ends with its parent, whatever it is doing: a thread sees the pipe close, and on Linux the kernel
kills it even where native code never lets that thread run.
"""

from __future__ import annotations

import ctypes
import os
import pkgutil
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gemma_guard.scorers.shieldgemma import wire
from gemma_guard.scorers.shieldgemma.engine import Engine, Question

_PR_SET_PDEATHSIG = 1


def serve(pipe: Connection) -> None:
    """Load what the first message names, then answer one message after the other."""
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_read, args=(pipe, inbox), daemon=True).start()
    make, options, warm_up = inbox.get()
    try:
        engine: Engine = pkgutil.resolve_name(make)(**options)
        if warm_up:
            engine.read(wire.questions(warm_up))
    except Exception as error:  # noqa: BLE001  loading a model may raise anything
        wire.send(pipe, wire.told(wire.NotLoaded(_in_words(error))))
        return
    wire.send(pipe, wire.told(wire.Loaded()))
    while True:
        wire.send(pipe, wire.told(_answer(engine, wire.questions(inbox.get()))))


def _answer(engine: Engine, questions: Sequence[Question]) -> wire.Told:
    try:
        return wire.Answered(tuple(engine.read(questions)))
    except MemoryError:
        return wire.TooBig()
    except Exception as error:  # noqa: BLE001  one bad batch must not end the process
        return wire.Broke(_where(error))


def _read(pipe: Connection, inbox: SimpleQueue[Any]) -> None:
    try:
        while True:
            inbox.put(wire.receive(pipe))
    except (EOFError, OSError):
        os._exit(0)


def _in_words(error: Exception) -> str:
    """What to show the operator: our own errors speak for themselves."""
    if type(error).__module__.startswith("gemma_guard"):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def end_with_the_parent() -> None:
    """Have the kernel kill this process where the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave_signals_to_the_parent() -> None:
    """A Ctrl-C or a service manager signals the whole group; the parent has a queue to answer."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)


if __name__ == "__main__":
    _leave_signals_to_the_parent()
    end_with_the_parent()
    serve(Connection(int(sys.argv[1])))
