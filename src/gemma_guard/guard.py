"""Texts and messages in, one verdict out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gemma_guard import exemption
from gemma_guard.bench import Bench
from gemma_guard.configuration import PATTERN_SCORER, ScorerSpec, Settings
from gemma_guard.conversation import Message, answered
from gemma_guard.copying import Copied
from gemma_guard.errors import NotServing, UsageError, unknown
from gemma_guard.flow import Flow, Read, SyncFlow
from gemma_guard.handover import by_hand, on_a_loop
from gemma_guard.health import Health, examine
from gemma_guard.judging import Case, Outcome, is_long, judge, source_of
from gemma_guard.pacing import Pacing
from gemma_guard.policy import Bands, Policy
from gemma_guard.portal import Portal
from gemma_guard.reasoning import Inquiry, reason
from gemma_guard.records import Sink, logger
from gemma_guard.route import DEFAULT, Fields, Lookup, Route, Routes, Rule
from gemma_guard.scorer import Priority, Scorer
from gemma_guard.service import Service, cache_of, close, make, same_sinks, sinks_of
from gemma_guard.settled import settled
from gemma_guard.streaming import Piece, Release, Said, as_it_is, one_text
from gemma_guard.upkeep import Chores, Upkeeping, is_wanted, tell_unkept
from gemma_guard.verdict import Stage, Verdict
from gemma_guard.verdicts import record, verdict_on

C = TypeVar("C")

_GIVEN = "given"


class Guard(Copied):
    """Checks texts and messages against the policies of a route.

    Open it with `async with`, or let the first check do so. One guard serves callers on any
    event loop and thread.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        scorers: Mapping[str, Scorer] | None = None,
        sinks: Iterable[Sink] | None = None,
    ) -> None:
        """Load every scorer that `settings` names and `scorers` does not hold.

        Raises `ConfigError` where a scorer cannot be loaded, or cannot judge a policy it is asked
        about. Without `sinks`, decisions go to the logger `gemma_guard` and to where `settings`
        say.
        """
        self._given = dict(scorers or {})
        self._own_sinks = None if sinks is None else tuple(sinks)
        self._cache = cache_of(settings.upkeep)
        self._service = self._made(settings)
        self._service.observe()
        self._portal = Portal()
        self._long_texts = Portal()
        self._reloading = asyncio.Lock()
        self._opening = threading.Lock()
        self._is_open = self._is_told = False
        self._closed = False
        self._upkeep: Upkeeping | None = None

    @classmethod
    def from_config(cls, path: str | Path, **options: Any) -> Self:
        """The guard that the guard.yaml at `path` describes; `options` as for `Guard`."""
        from gemma_guard import settings  # noqa: PLC0415  pydantic and YAML only to read a file

        return cls(settings.load(path), **options)

    @classmethod
    def default(cls, **options: Any) -> Self:
        """The shipped policies with the shipped judge, one route."""
        from gemma_guard import settings  # noqa: PLC0415  pydantic and YAML only to read a file

        return cls(settings.loads(settings.SHIPPED, source="shipped"), **options)

    @classmethod
    def of(cls, policies: Iterable[Policy], scorer: Scorer, **options: Any) -> Self:
        """A guard for policies written in Python, judged by `scorer` on one route."""
        rules = tuple(_rule(policy) for policy in policies)
        specs = {rule.scorer: ScorerSpec(rule.scorer) for rule in rules}
        plain = Settings(Routes({DEFAULT: Route(DEFAULT, rules)}), specs, fingerprint=repr(rules))
        return cls(plain, scorers={_GIVEN: scorer}, **options)

    async def check(
        self,
        text: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        stage: Stage | str = Stage.INPUT,
        prompt: str | None = None,
        route: str | None = None,
        trusted: Fields | Lookup | None = None,
        claimed: Fields | Lookup | None = None,
        tighten: Mapping[str, Bands] | None = None,
        tenant: str = "",
        priority: Priority = Priority.LIVE,
    ) -> Verdict:
        """Judge one text, or messages in the form of OpenAI, Anthropic or LangChain.

        At the input stage every text the caller supplied is judged; at the output stage the last
        message, as the answer to the newest user turn. `prompt` is what an output text answers.
        `route` names the floor; otherwise the `trusted` fields choose it. `claimed` fields and
        `tighten` (policy → bands) can only make it stricter. Both kinds of fields may be a function
        that finds one by its name, asked for what routes match on. Known scores are shared only
        within one `tenant`. Checks nobody waits for have `priority` BACKGROUND: live ones go first.

        Whatever happens to the judging is told by the verdict. Raises `UsageError` for a wrong
        call and `NotServing` after `aclose`.
        """
        began = time.perf_counter()
        if type(stage) is not Stage:
            stage = _stage(stage)
        source = source_of(text, messages)
        with self._begun() as service:
            chosen = service.settings.routes.resolve(route, trusted=trusted, claimed=claimed)
            if tighten:
                chosen = service.tightened(chosen, tighten)
            case = Case(source, chosen, stage, prompt, tenant, priority=priority)
            outcome = settled(case, service.panel) or await self._judged(case, service)
            verdict = verdict_on(outcome, case, service, alone=text, began=began)
            record(verdict, service.sinks)
        return verdict

    def check_sync(self, text: str | None = None, **options: Any) -> Verdict:
        """`check` for sync code; also inside a running loop, which waits for the verdict.

        The calling thread does the work itself while every answer is at hand. From where something
        has to be waited for, or a scorer has to open, it is done on an event loop of the guard's
        own, the same for all callers, and the calling thread waits.
        """
        return by_hand(self.check(text, **options), self._portal.call)

    def stream(
        self, chunks: AsyncIterable[str], *, buffer: bool = False, **options: Any
    ) -> AsyncGenerator[Piece, None]:
        """`chunks` of an answer, each as soon as it may be seen; what is redacted, redacted.

        `prompt` is what is answered, or `messages` the conversation that led to it; the other
        `options` are those of `check`. How long a text is held is for the route to say; with
        `buffer` it is held to the end. Closing the generator closes `chunks`.
        Raises what `chunks` raises, after what came before that and may be seen.
        """
        pacing, bench = self._bench(buffer=buffer, **options)
        return Flow(pacing, bench, one_text, Said().piece).of(chunks)

    def stream_sync(
        self, chunks: Iterable[str], *, buffer: bool = False, **options: Any
    ) -> Generator[Piece, None, None]:
        """`stream` for sync code; also inside a running loop, which waits for the scorer."""
        pacing, bench = self._bench(buffer=buffer, **options)
        submit = self._portal.submit
        return SyncFlow(pacing, bench, one_text, Said().piece, submit=submit).of(chunks)

    def stream_chunks(
        self, chunks: AsyncIterable[C], read: Read[C], *, buffer: bool = False, **options: Any
    ) -> AsyncGenerator[Release[C], None]:
        """`stream` for chunks of any kind; `read` says what texts one of them adds to.

        For adapters: see `Part` and `Release`. Chunks go on in the order they came.
        """
        pacing, bench = self._bench(buffer=buffer, **options)
        return Flow(pacing, bench, read, as_it_is).of(chunks)

    def stream_chunks_sync(
        self, chunks: Iterable[C], read: Read[C], *, buffer: bool = False, **options: Any
    ) -> Generator[Release[C], None, None]:
        """`stream_chunks` for sync code. While a source keeps silent nothing is let go."""
        pacing, bench = self._bench(buffer=buffer, **options)
        submit = self._portal.submit
        return SyncFlow(pacing, bench, read, as_it_is, submit=submit).of(chunks)

    @property
    def routes(self) -> Routes:
        """The routes in service."""
        return self._service.settings.routes

    @property
    def fingerprint(self) -> str:
        """Of the configuration and the scorers in service; each verdict carries its own."""
        return self._service.fingerprint

    async def health(self, *, thorough: bool = False) -> tuple[Health, ...]:
        """Ask every scorer about a harmless and a harmful text, behind the live checks.

        Where it is to be `thorough`, each also finds out what it can about itself.
        """
        with self._begun() as service:
            return await examine(service, thorough=thorough)

    async def reason(self, about: Inquiry, *, route: str | None = None) -> str:
        """What the judge writes about a text; no verdict rests on it, and none is given.

        Raises `UsageError` where the judge of that policy has no words, `ScoringError` where it
        does not answer.
        """
        with self._begun() as service:
            return await reason(service, service.settings.routes.resolve(route), about)

    async def reload(self) -> None:
        """Read guard.yaml again and put it into service, keeping the scorers it does not change.

        Checks under way finish under the old configuration. Raises `ConfigError` for a file that
        cannot be accepted, and the old one stays.
        """
        self._refuse_if_closed()
        await asyncio.shield(asyncio.wrap_future(self._portal.submit(self._reload())))

    async def aclose(self) -> None:
        """Wait for the checks under way, then close everything; later ones raise `NotServing`."""
        self._closed = True
        await self._end_upkeep()
        if self._portal.is_open:
            await asyncio.wrap_future(self._portal.submit(self._reloaded()))
            await self._end_upkeep()  # a reload that was under way may have begun one
        await self._service.drained()
        await self._service.aclose()
        self._portal.close()
        self._long_texts.close()

    async def open(self) -> None:
        """Open every scorer now, not under the first check, and begin to reload and to beat.

        Raises what a scorer raises that does not open. The guard serves all the same, and tries it
        again at the next check; `aclose` is for the caller to call.
        """
        self._refuse_if_closed()
        self._begin_upkeep()
        await self._service.panel.open()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:  # what did open is closed: nobody else will
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _begin_upkeep(self) -> None:
        with self._opening:
            self._is_open = True
            if self._closed or self._upkeep or not is_wanted(self._service.settings.upkeep):
                return
            self._upkeep = Upkeeping(
                Chores(
                    settings=lambda: self._service.settings,
                    reload=self._reload,
                    health=self.health,
                    portal=self._portal,
                )
            )

    async def _end_upkeep(self) -> None:
        with self._opening:
            upkeep, self._upkeep = self._upkeep, None
        if upkeep:
            await upkeep.stop()

    def _bench(
        self,
        *,
        buffer: bool,
        prompt: str | None = None,
        messages: Sequence[Message] | None = None,
        route: str | None = None,
        trusted: Fields | Lookup | None = None,
        claimed: Fields | Lookup | None = None,
        tighten: Mapping[str, Bands] | None = None,
        tenant: str = "",
        priority: Priority = Priority.LIVE,
    ) -> tuple[Pacing, Bench]:
        """Who judges a stream, and how it is held back meanwhile."""

        def resolve(service: Service) -> Route:
            chosen = service.settings.routes.resolve(route, trusted=trusted, claimed=claimed)
            return service.tightened(chosen, tighten) if tighten else chosen

        with self._begun() as service:
            chosen = resolve(service)
            prepares = bool(service.panel.preparing(chosen, Stage.OUTPUT))
        pacing = replace(chosen.pacing, max_chars=chosen.max_chars)
        if messages is not None and prompt is None:
            prompt = answered(messages)
        bench = Bench(self._begun, resolve, self._judged, prompt, tenant, priority, prepares)
        return replace(pacing, mode="buffer") if buffer else pacing, bench

    def _judged(self, case: Case, service: Service) -> Coroutine[Any, Any, Outcome]:
        judging = judge(case, service.panel)
        return self._aside(judging) if is_long(case.source) else judging

    async def _aside(self, judging: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Off the caller's event loop, which a long text would hold."""
        await on_a_loop()
        return await asyncio.wrap_future(self._long_texts.submit(judging))

    async def _reload(self) -> None:
        from gemma_guard import settings  # noqa: PLC0415  pydantic and YAML only to read a file

        async with self._reloading:
            self._refuse_if_closed()
            old = self._service
            new = self._made(settings.load(old.settings.source), before=old)
            try:
                await new.panel.open()
            except BaseException:
                await new.aclose(sparing=old)
                raise
            self._service = new
            new.observe()
            await old.drained()
            await old.aclose(sparing=new)
            if self._is_open:
                self._begin_upkeep()
        logger.info("%s is in service: fingerprint %s", new.settings.source, new.fingerprint)

    async def _reloaded(self) -> None:
        """Wait for the reload under way; those that wait for it are refused."""
        async with self._reloading:
            pass

    def _begun(self) -> Service:
        """The service in which a check has begun: one that is being replaced takes none."""
        if not (self._is_told or self._is_open or self._closed):
            self._is_told = True
            tell_unkept(self._service.settings)
        while self._closed or not (service := self._service).begin():
            self._refuse_if_closed()
        return service

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise NotServing("this guard is closed")

    def _described(self) -> tuple[Settings, dict[str, Any]]:
        if self._given or self._own_sinks:
            raise UsageError(
                "a guard that was given scorers or sinks cannot be pickled, for they may hold what"
                " no other process has; describe them in a guard.yaml and use Guard.from_config"
            )
        return self._service.settings, {} if self._own_sinks is None else {"sinks": ()}

    def _made(self, settings: Settings, before: Service | None = None) -> Service:
        for warning in exemption.warnings(settings.exemptions, exemption.today()):
            logger.warning("%s", warning)
        if self._own_sinks is not None:
            sinks = self._own_sinks
        elif before and same_sinks(settings, before.settings):
            sinks = before.sinks
        else:
            sinks = tuple(sinks_of(settings))
        try:
            return make(settings, given=self._given, sinks=sinks, cache=self._cache, before=before)
        except BaseException:
            close(sinks, sparing=before.sinks if before else self._own_sinks or ())
            raise


def _stage(stage: str) -> Stage:
    try:
        return Stage(stage)
    except ValueError:
        raise UsageError(unknown("stage", stage, Stage)) from None


def _rule(policy: Policy) -> Rule:
    scorer = PATTERN_SCORER if policy.kind == "pattern" else _GIVEN
    key = f"policies.{policy.name}"
    return Rule(
        policy,
        policy.input,
        policy.output,
        scorer,
        input_key=f"{key}.input",
        output_key=f"{key}.output",
    )
