"""An engine kept alive in a process of its own: killed if it hangs, started again if it dies."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential,
)

from gemma_guard.errors import ConfigError, NotServing, ScoringFailed, Unreachable
from gemma_guard.records import logger
from gemma_guard.scorers.shieldgemma import wire
from gemma_guard.scorers.shieldgemma.child import Child
from gemma_guard.scorers.shieldgemma.engine import Question, Reading

_BROKEN_IN_A_ROW = 3  # a GPU that has faulted fails every call until its process is a new one


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: to load a model, for one model call, to end, and between two starts."""

    load_s: float = 600.0
    step_s: float = 30.0
    end_s: float = 5.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0


class EngineBroke(Exception):
    """A batch failed, and the next one may not. Holds the kind of error and its line, no text."""


class _Died(Exception):
    """A process ended, or could not begin, without having answered anything."""


class Worker:
    """Called with questions, by one thread at a time, as a `Batcher` does.

    A call raises `MemoryError` where they were too many, `EngineBroke`, or `ScoringError` where the
    process is gone; it is started again, at once if it had answered before it died, else after a
    wait that grows.
    """

    def __init__(
        self,
        spec: wire.EngineSpec,
        *,
        name: str = "shieldgemma",
        warm_up: Sequence[Question] = (),
        patience: Patience | None = None,
    ) -> None:
        self._spec, self._name, self._warm_up = spec, name, warm_up
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._awake = threading.Event()  # up, or never again
        self._loaded: Future[None] = Future()
        self._child: Child | None = None
        self._answered = False
        self._broken = 0
        # Linux ends a child when the thread that started it ends: this one stays until we close
        self._keeper = threading.Thread(target=self._keep, name=f"{name}-keeper", daemon=True)

    def start(self) -> None:
        """Load the engine; raises `ConfigError` with what is wrong with it."""
        self._keeper.start()
        self._loaded.result()

    def close(self) -> None:
        """End the process, killing it if it does not; a call under way fails."""
        with self._lock:
            self._closing.set()
            child = self._child
        if child:
            child.end(within_s=self._patience.end_s)
        if self._keeper.ident is not None:
            self._keeper.join()

    @property
    def is_up(self) -> bool:
        """Whether it can be asked now."""
        return self._awake.is_set() and self._child is not None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        child = self._child
        return child.pid if child else None

    def ready(self) -> bool:
        """Wait until it can be asked; False once it is closed."""
        self._awake.wait()
        return self._child is not None

    def __call__(self, questions: Sequence[Question]) -> Sequence[tuple[Reading, ...]]:
        """What the engine reads in `questions`."""
        told = self._told(questions)
        self._broken = self._broken + 1 if isinstance(told, wire.Broke) else 0
        match told:
            case wire.Answered(readings):
                self._answered = True
                return readings
            case wire.TooBig():
                raise MemoryError
            case wire.Broke(where):
                raise self._broke(where, len(questions))
        raise EngineBroke(f"unexpected {type(told).__name__}")

    def _broke(self, where: str, size: int) -> EngineBroke:
        logger.warning("%s: a batch of %s broke: %s", self._name, size, where)
        if self._broken == _BROKEN_IN_A_ROW:
            self._kill(self._child)
        return EngineBroke(where)

    def _told(self, questions: Sequence[Question]) -> wire.Told:
        child = self._child
        if self._closing.is_set():
            raise NotServing(f"{self._name} is closed")
        if child is None or not self._awake.is_set():
            raise Unreachable("its process is being started again")
        try:
            return child.ask(questions, within_s=self._patience.step_s)
        except TimeoutError:
            self._kill(child)
            step = f"{self._patience.step_s:g} s"
            raise ScoringFailed(
                f"a model call took longer than {step}; its process was killed"
            ) from None
        except (EOFError, OSError):
            self._kill(child)
            raise ScoringFailed("its process died") from None

    def _kill(self, child: Child | None) -> None:
        """Have nobody wait for it; the keeper sees it end, and starts another."""
        with self._lock:
            if child is not None and child is self._child:
                self._awake.clear()
                child.kill()

    def _keep(self) -> None:
        try:
            while not self._closing.is_set():
                self._lives()
        except Exception as error:  # noqa: BLE001  whoever starts it is told
            if self._loaded.done():  # a bug of ours: calls fail, and say that it is gone
                logger.exception("%s: given up", self._name)
                return
            self._loaded.set_exception(error)
        finally:
            if not self._loaded.done():
                self._loaded.set_exception(NotServing(f"{self._name} was closed while it loaded"))
            self._awake.set()

    def _lives(self) -> None:
        """One life after the other, until one that answered has ended."""
        waits = self._patience
        for attempt in Retrying(
            retry=retry_if_exception_type(_Died),
            wait=wait_exponential(multiplier=waits.first_wait_s, max=waits.longest_wait_s),
            sleep=sleep_using_event(self._closing),
            stop=stop_when_event_set(self._closing),
            before_sleep=self._say,
            retry_error_callback=lambda _state: None,  # closed
        ):
            with attempt:
                self._live()

    def _live(self) -> None:
        child = self._begun()
        if child is None:
            return
        try:
            self._load(child)
            if not self._closing.is_set():
                child.wait()
        finally:
            self._awake.clear()
            child.close()
            self._child = None
        if not self._answered and not self._closing.is_set():
            raise _Died(f"{self._name}: its process ended before it had answered anything")

    def _begun(self) -> Child | None:
        with self._lock:
            if self._closing.is_set():
                return None
            self._answered, self._broken = False, 0
            try:
                self._child = Child()
            except OSError as error:
                raise self._not_loaded(f"no process can be started: {error}") from error
            return self._child

    def _load(self, child: Child) -> None:
        try:
            told = child.load(self._spec, self._warm_up, within_s=self._patience.load_s)
        except TimeoutError:
            told = wire.NotLoaded(f"not loaded within {self._patience.load_s:g} s")
        except (EOFError, OSError):
            told = wire.NotLoaded("its process died while it loaded; see its standard error")
        if self._closing.is_set():
            return
        if isinstance(told, wire.NotLoaded):
            raise self._not_loaded(told.reason)
        self._awake.set()
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _not_loaded(self, reason: str) -> Exception:
        """What the first start raises, or what the keeper tries again after."""
        return (_Died if self._loaded.done() else ConfigError)(f"{self._name}: {reason}")

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait_s = state.next_action.sleep if state.next_action else 0.0
        logger.warning("%s; started again in %.1f s", error, wait_s)
