"""The app server of `twistd NAME-app`: how it starts, joins the fleet, and leaves it.

`Heartbeat` shows the fleet that the server lives. `ParentWatchdog` ends the server with the process
that launched it. What the machine says of itself, `machine.py` reports.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted.application.internet import TimerService
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, IReadDescriptor
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.commands.service import Service
from bbs.commands.strictness import check_questions
from bbs.config import Configuration
from bbs.config.references import SecretUnavailable
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.core.clock import IReactor, ServiceClock, process_age
from bbs.core.errors import Unavailable
from bbs.core.threads import Workers
from bbs.core.values import Tally
from bbs.daemons.composition import AppServing
from bbs.daemons.daemon import EMBEDDED, FAREWELL, CannotStart, Daemon
from bbs.daemons.listening import CannotListen
from bbs.daemons.machine import MachineReports
from bbs.rules import membership
from bbs.scaling.identity import process_identity
from bbs.scaling.lineage import Lineage
from bbs.scaling.providers import MachineKit, launcher, make_machine
from bbs.storage.database import Database

T = TypeVar("T")

RIGHTS_PATIENCE, RIGHTS_AGAIN = 30.0, 2.0
"""Seconds for which a new instance may lack its role's credentials or rights, or the store may be
busy with others, and between two questions for a secret then. IAM's changes mostly spread in ten;
the instance ends with its server, so giving up costs a boot."""

_log = Logger()


class AppServer(Daemon):
    """An app server, launched by the fleet under `server_id`, or run by hand (None).

    :param lifeline: the descriptor of a pipe whose end means that the parent died; None for none.
    """

    kind = "app"

    def __init__(
        self,
        service: Service,
        config: Configuration,
        server_id: str | None,
        lifeline: int | None,
        reactor: IReactor,
        on_failure: Callable[[str], None],
    ) -> None:
        super().__init__(service, config, reactor, on_failure)
        self._launched_as = server_id
        self.server_id = server_id or ""
        self._lifeline = lifeline
        # Leave Ctrl-C at a terminal to the parent, which ends its children in its own order. The
        # leader of a group may not leave, such as a process in a session of its own.
        if lifeline is not None and os.getpgrp() != os.getpid():
            os.setpgrp()

    def cannot_trace(self, reason: str) -> None:
        """Warn only: people wait for this server, with or without traces."""
        _log.warn("{reason}", reason=reason)

    async def ask_secrets(self, name: str, work: Callable[..., T], *arguments: Any) -> T:
        until = self.reactor.seconds() + RIGHTS_PATIENCE
        while True:
            try:
                return await super().ask_secrets(name, work, *arguments)
            except (SecretUnavailable, CannotListen) as error:
                late = self.reactor.seconds() >= until
                if late or not error.may_pass or self._launched_as is None:
                    raise
                _log.warn("{error}; asked again, as it may pass", error=str(error))
            await deferLater(self.reactor, RIGHTS_AGAIN)

    async def start(self) -> None:
        parent = os.environ.get(tracing.VARIABLE, "")
        if not tracing.is_traceparent(parent):
            parent = ""
        elif (seconds := process_age()) is not None:
            tracing.past("load", seconds, parent)
        with tracing.span("start", parent):
            await self._begin_parts()

    async def _begin_parts(self) -> None:
        config, reactor = self.config, self.reactor
        if self._lifeline is not None:
            self.begin(ParentWatchdog(reactor, self._lifeline, self._end))
        # Connect to both at the same time, as people wait for this server. A problem with the
        # database is reported first, as by the login server.
        embedded = config.broker.url == ("embedded",)
        stomp = None if embedded else await self.begin_broker(config.broker.url)
        database = await self.open_database()
        if stomp is None:
            raise CannotStart(EMBEDDED)
        machine = self._begin_machine()
        processes = Workers(self.reactor, "processes", 1)
        self.begin(processes)
        serving = AppServing(await self.runtime(database, stomp), processes)
        self.carry_figures(serving.home.tally)
        await database.run_at_start(check_questions, self.service, serving.home.table)
        await self.reach_broker(stomp)
        self.begin(serving.topics)
        self.begin(serving.listeners)
        self.begin(serving.presence)
        self.begin(serving.broadcaster)
        for each in serving.others:
            self.begin(each)
        ports = await self.listen(config.app.listen, serving.factory, config.app.trusted_proxies)
        with tracing.span("report"):
            server_id = await self._join(database, ports[0], machine)
        self.server_id = server_id
        _log.info("this is app server {server}", server=server_id)
        serving.joined(membership.Member(server_id, process_identity()))
        self.begin(
            Heartbeat(
                database=database,
                lineage=serving.lineage,
                server=server_id,
                tally=serving.tally,
                interval=config.fleet.heartbeat_interval,
                lease_timeout=config.fleet.lease_timeout,
                on_end=self._end,
                reactor=reactor,
                clock=self.wall,
            )
        )
        self.begin(serving.scheduler)
        self.begin_others(serving.home)
        self.on_stop(lambda: Deferred.fromCoroutine(self._leave(database, server_id, serving)))
        serving.home.bus.tell_fleet("ready")

    def _begin_machine(self) -> MachineReports | None:
        """Begin to ask the machine, if the provider that launched this server lets it be asked."""
        if self._launched_as is None or (provider := launcher(self.config)) is None:
            return None
        section = self.config.sections()[provider.name]
        kit = MachineKit(self.reactor, section, self._launched_as, os.environ, self.on_stop)
        machine = MachineReports(provider.name, partial(make_machine, provider, kit), self.reactor)
        self.begin(machine)
        return machine

    async def _join(
        self, database: Database, port: IListeningPort, machine: MachineReports | None
    ) -> str:
        number = port.getHost().port  # type: ignore[attr-defined]
        if self._launched_as is None:
            configured = self.config.app.address
            if configured:
                place = Address.told(configured, number)
            else:
                place = Address(await self.in_thread(self._address, database.url), number)
            return await database.run_at_start(
                membership.join,
                *(place.host, place.port, self.config.app.capacity, self.wall()),
                self.service.program_version,
            )
        host = None if machine is None else await machine.host()
        version = self.service.program_version
        if not await database.run_at_start(
            membership.report, self._launched_as, number, host, version
        ):
            raise CannotStart(f"nobody has launched a server {self._launched_as}, or it is gone")
        if machine is not None:
            machine.joined(database, self._launched_as, number, host, version)
        return self._launched_as

    def _address(self, database_url: str) -> str:
        """The address of a server that is run by hand without `app.address`: the one that it binds
        to, else the one from which this machine reaches the database."""
        interface = self.config.app.listen[0].interface
        host = urlsplit(database_url).hostname
        if interface or not host:
            return interface
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # A datagram socket sends nothing: it only picks a route.
            address: str = probe.getsockname()[0]
            return address

    async def _leave(self, database: Database, server_id: str, serving: AppServing) -> None:
        """Report that this server stops, and give people time to be told where to go."""
        with suppress(Unavailable):  # Else the fleet notices later, by the missing heartbeat.
            await database.run(membership.leave, server_id)
        serving.home.bus.tell_fleet("gone")
        await serving.listeners.dismiss(FAREWELL)

    def _end(self, reason: str) -> None:
        _log.warn("this app server ends: {reason}", reason=reason)
        if self.running:
            self.reactor.callLater(0, self.reactor.stop)


@implementer(IReadDescriptor)
class ParentWatchdog(TwistedService):
    """Watches the inherited end of a pipe, and calls `on_cut` once, with the reason, when the other
    end is closed.

    The parent writes nothing to the pipe. The system closes the parent's end with the process,
    however that dies. An end that is closed before `startService` is noticed then. The descriptor
    is not closed: it belongs to the process.
    """

    def __init__(self, reactor: IReactorFDSet, fd: int, on_cut: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_cut = on_cut

    def startService(self) -> None:
        TwistedService.startService(self)
        os.set_blocking(self._fd, False)
        self._reactor.addReader(self)

    def stopService(self) -> None:
        TwistedService.stopService(self)
        self._reactor.removeReader(self)

    def logPrefix(self) -> str:
        return "lifeline"

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        """Discard what comes, until the end."""
        try:
            ended = not os.read(self._fd, 4096)
        except BlockingIOError:
            return
        if ended:
            self._reactor.removeReader(self)
            self._cut()

    def connectionLost(self, reason: Failure) -> None:
        """Some reactors report the end this way; all of them call this when they stop."""
        if isinstance(reason.value, ConnectionDone):
            self._cut()

    def _cut(self) -> None:
        self._on_cut("the process that launched this server is dead")


class Heartbeat(TimerService):
    """Shows the fleet that an app server lives, and ends the server once the fleet has given it up.

    :param tally: gives the counts of the server, for the fleet.
    :param interval: seconds between beats.
    :param on_end: called once, with the reason: the row is gone, or was not renewed for
        `lease_timeout` seconds.
    :param clock: the service's, which follows the database's with each beat.
    """

    def __init__(
        self,
        *,
        database: Database,
        lineage: Lineage,
        server: str,
        tally: Callable[[], Tally],
        interval: float,
        lease_timeout: float,
        on_end: Callable[[str], None],
        reactor: IReactor,
        clock: ServiceClock,
    ) -> None:
        TimerService.__init__(self, interval, lambda: Deferred.fromCoroutine(self._tick()))
        self.clock = self._reactor = reactor
        self._clock = clock
        self._database = database
        self._lineage = lineage
        self._server = server
        self._tally = tally
        self._lease_timeout = lease_timeout
        self._on_end = on_end
        self._renewed = reactor.seconds()
        self._has_ended = False

    async def _tick(self) -> None:
        try:
            await self._beat()
        except Exception:  # After an error the timer would stop.
            _log.failure("a heartbeat failed")

    async def _beat(self) -> None:
        if self._has_ended:
            return
        try:
            tally, database = self._tally(), self._database
            self._clock.note(tally.figures)
            asked = self._clock.steady()
            read = await self._lineage.beat(
                membership.beat, self._server, tally.counts, tally.figures, database.node
            )
        except Unavailable:
            if self._reactor.seconds() - self._renewed > self._lease_timeout:
                self._end("its lease could not be renewed")
            return
        self._renewed = self._reactor.seconds()
        self._clock.hear(read, asked)
        if not read:
            self._end("the fleet has given it up")

    def _end(self, reason: str) -> None:
        self._has_ended = True
        self._on_end(reason)
