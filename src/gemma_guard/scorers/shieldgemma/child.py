"""One life of an engine's process, seen from the parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from gemma_guard.scorers.shieldgemma import wire
from gemma_guard.scorers.shieldgemma.engine import Question

_MODULE = "gemma_guard.scorers.shieldgemma.serving"


class Child:
    """Used by one thread at a time; `kill` and `end` may come from any.

    A command of its own and not `multiprocessing`: that would run the user's script once more.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._command = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._socket, self._pipe = ours, Connection(os.dup(ours.fileno()))

    @property
    def pid(self) -> int:
        """The process."""
        return self._command.pid

    def load(
        self, spec: wire.EngineSpec, warm_up: Sequence[Question], *, within_s: float
    ) -> wire.Told:
        """Load the engine that `spec` names and ask it `warm_up`; errors as for `ask`."""
        return self._told([spec.make, dict(spec.options), wire.asked(warm_up)], within_s)

    def ask(self, questions: Sequence[Question], *, within_s: float) -> wire.Told:
        """What it says; raises `TimeoutError`, or `EOFError` or `OSError` where it is gone."""
        return self._told(wire.asked(questions), within_s)

    def wait(self) -> None:
        """Return once it has ended."""
        self._command.wait()

    def kill(self) -> None:
        """End it whatever it does."""
        self._command.kill()

    def end(self, *, within_s: float) -> None:
        """Let it end by itself, and kill it if it does not."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._command.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._command.wait()

    def close(self) -> None:
        """Kill it if it still runs, and free what it held."""
        self.kill()
        self._command.wait()
        self._pipe.close()
        self._socket.close()

    def _told(self, message: object, within_s: float) -> wire.Told:
        wire.send(self._pipe, message)
        if not self._pipe.poll(within_s):
            raise TimeoutError
        return wire.heard(wire.receive(self._pipe))
