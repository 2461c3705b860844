"""Asks the machine that an app server runs on about itself (`IMachine`), and reports the answers to
the fleet: the address, so that the server is ready where machines cannot be listed, the provider's
name for the machine, and the notice that it will be taken away, so that the server is drained
before.

The machine is code of the provider's package, and may fail in any way. Then the app server serves
without answers, the log says so once, and the question is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    maybeDeferred,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core.addresses import Address
from bbs.core.errors import Unavailable
from bbs.core.values import REBALANCE
from bbs.rules import membership
from bbs.scaling.interfaces import IMachine, MachineNotice, MachineUnavailable
from bbs.storage.database import Database

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds for which a server that starts waits for its address. Then it reports without one, and
the provider's list may know it sooner. A machine mostly answers within milliseconds."""

DEADLINE = 10.0
"""Seconds until a question is given up. `IMachine` promises them to its authors."""

AGAIN = 2.0  # seconds until a question is asked again, other than that for a notice

INTERVAL, SHORTEST, LONGEST = 5.0, 1.0, 3600.0
"""Seconds between looks for a notice: if the machine does not say, at least, and at most."""

QUIET = 3600.0
"""Seconds between two warnings of one question, and between two with the same words."""

_log = Logger()


class NothingToAsk(Exception):
    """The provider has nothing to say of this machine."""


class Questions:
    """Asks a machine; whatever goes wrong is `MachineUnavailable`.

    :param make: makes the machine, or None if there is nothing to ask. Called with the first
        question, and with each after it until it makes one.
    """

    def __init__(self, make: Callable[[], IMachine | None], reactor: IReactorTime) -> None:
        self._make = make
        self._reactor = reactor
        self._machine: IMachine | None = None

    async def ask(self, question: str) -> Any:
        """The checked answer to a question, which is the name of a method of `IMachine`.

        :raises MachineUnavailable: there is none now; the text is one line.
        :raises NothingToAsk: there never will be.
        """
        try:
            asked = maybeDeferred(self._method(question))
            answer = await _within(DEADLINE, asked, self._reactor)
            return None if answer is None else _READ[question](answer)
        except NothingToAsk:
            raise
        except TimeoutError:
            why = f"no answer in {DEADLINE:g} s"
        except MachineUnavailable as error:
            why = str(error)
        except Exception as error:  # It is other people's code.
            why = f"{type(error).__name__}: {error}"
        raise MachineUnavailable(_in_a_line(why)[:200])

    def _method(self, question: str) -> Callable[[], Any]:
        if self._machine is None:
            self._machine = self._make()
        if self._machine is None:
            raise NothingToAsk
        found: Callable[[], Any] = getattr(self._machine, question)
        return found

    def interval(self) -> float:
        """Seconds until the next look for a notice."""
        try:
            wanted = float(self._machine.notice_interval) if self._machine else INTERVAL
        except Exception:  # It may be a property of other people's code.
            wanted = INTERVAL
        return min(max(SHORTEST, wanted), LONGEST)


class MachineReports(TwistedService):
    """Asks the machine of this app server, and reports to the fleet once that is `joined`.

    :param provider: its name, for the log.
    :param make: as `Questions` has it.
    """

    def __init__(
        self, provider: str, make: Callable[[], IMachine | None], reactor: IReactorTime
    ) -> None:
        self._provider = provider
        self._questions = Questions(make, reactor)
        self._reactor = reactor
        self._warned: dict[str, float] = {}
        self._host: str | None = None
        self._decided: Deferred[None] = Deferred()
        self._tasks: list[Deferred[None]] = []

    def startService(self) -> None:
        TwistedService.startService(self)
        decided = self._decided.addTimeout(PATIENCE, self._reactor)
        # Not a CancelledError: then the start that waits for the address must end.
        decided.addErrback(lambda failure: failure.trap(TimeoutError))
        self._begin(self._find())

    def stopService(self) -> Deferred[Any]:
        TwistedService.stopService(self)
        self._decide()
        for task in self._tasks:
            task.cancel()
        return DeferredList(self._tasks)

    async def host(self) -> str | None:
        """The address of this machine; None if it is not known soon."""
        await self._decided
        return self._host

    def joined(
        self, database: Database, server: str, port: int, reported: str | None, version: str
    ) -> None:
        """Report to the fleet from now on, which this app server, of this `version`, has joined:
        its address, unless that has been `reported`, its machine, and notices."""
        if reported is None:
            self._begin(self._report_host(database, server, port, version))
        self._begin(self._name_machine(database, server))
        self._begin(self._watch(database, server))

    def _begin(self, task: Coroutine[Any, Any, None]) -> None:
        def ended(failure: Failure) -> None:
            self._decide()
            if not failure.check(CancelledError, NothingToAsk):
                _log.failure("reports of the machine end", failure=failure)

        self._tasks.append(Deferred.fromCoroutine(task).addErrback(ended))

    def _decide(self) -> None:
        if not self._decided.called:
            self._decided.callback(None)

    async def _find(self) -> None:
        while self.running and self._host is None:
            self._host = await self._answer("address")
            self._decide()
            if self._host is None:  # The list may have it; or it comes later.
                await self._pause(AGAIN)

    async def _report_host(self, database: Database, server: str, port: int, version: str) -> None:
        while self._host is None:
            await self._pause(AGAIN)
        # If this server is ready, the fleet has learned its address elsewhere.
        await self._store(database, membership.report, server, port, self._host, version)

    async def _name_machine(self, database: Database, server: str) -> None:
        id = await self._answer("instance_id")
        if id is not None:
            await self._store(database, membership.name_instance, server, id)
        zone = await self._answer("zone")
        if known := [*filter(None, (id, zone and f"zone {zone}"))]:
            _log.info("this server's machine: {machine}", machine=", ".join(known))

    async def _watch(self, database: Database, server: str) -> None:
        """Look for notices, and report each that is news. A certain one stays so."""
        known: MachineNotice | None = None
        while self.running:
            try:
                notice = await self._ask("notice")
            except MachineUnavailable:
                notice = None
            if notice not in (None, known) and (notice.certain or known is None):
                known = notice
                may = "will be" if notice.certain else "may be"
                _log.warn("this machine {may} taken away: {why}", may=may, why=notice.why)
                # Servers tell by these words that it is only a hint, older ones too.
                why = notice.why if notice.certain else REBALANCE
                await self._store(database, membership.warn, server, why)
            await self._pause(self._questions.interval())

    async def _answer(self, question: str) -> Any:
        """The answer to a question, which is asked until there is one."""
        while True:
            try:
                return await self._ask(question)
            except MachineUnavailable:
                await self._pause(AGAIN)

    async def _ask(self, question: str) -> Any:
        try:
            return await self._questions.ask(question)
        except MachineUnavailable as error:
            self._warn(question, str(error))
            raise

    def _warn(self, question: str, why: str) -> None:
        """Warn once that a question has no answer. Other questions that fail with the same words
        are not logged again."""
        now = self._reactor.seconds()
        self._warned = {key: at for key, at in self._warned.items() if now - at < QUIET}
        if self.running and not self._warned.keys() & {question, why}:
            self._warned |= {question: now, why: now}
            _log.warn(
                "{provider}: this machine does not say its {question}: {why}; it is asked again",
                provider=self._provider,
                question=question.replace("_", " "),
                why=why,
            )

    async def _store(self, database: Database, rule: Callable[..., Any], *values: object) -> None:
        """Run a rule of the fleet, again until the database is not away."""
        while True:
            try:
                return await database.run(rule, *values)
            except Unavailable:
                await self._pause(AGAIN)

    async def _pause(self, seconds: float) -> None:
        """Wait; a stop cancels that.

        :raises CancelledError: this service stops.
        """
        if not self.running:
            raise CancelledError
        await deferLater(self._reactor, seconds)


def _within(seconds: float, asked: Deferred[T], reactor: IReactorTime) -> Deferred[T]:
    """What `asked` gives, or a TimeoutError. Once it is given up, `asked` is cancelled, and not
    waited for: it may not care."""
    answer: Deferred[T] = Deferred(lambda _: asked.cancel())

    def pass_on(result: Any) -> None:
        if not answer.called:
            answer.callback(result)

    asked.addBoth(pass_on)
    return answer.addTimeout(seconds, reactor)


def _in_a_line(text: str) -> str:
    return "".join(each for each in " ".join(text.split()) if each.isprintable())


def _read_host(host: str) -> str:
    address = Address.told(str(host), 0)
    if not isinstance(host, str) or address.port or len(host) > 255:
        raise ValueError(f"not a host: {host!r}")
    return address.host


def _read_name(name: str) -> str:
    if not 0 < len(name) <= 64 or _in_a_line(name) != name:
        raise ValueError(f"not a name: {name!r}")
    return name


def _read_notice(notice: MachineNotice) -> MachineNotice:
    why = _in_a_line(notice.why)[:200] or "no reason is given"
    return MachineNotice(why, bool(notice.certain))


_READ: Mapping[str, Callable[[Any], Any]] = {
    "address": _read_host,
    "instance_id": _read_name,
    "zone": _read_name,
    "notice": _read_notice,
}
"""Makes of each answer what the database can store; raises for one that is malformed."""
