"""The app server of `twistd NAME-app`: how it starts, joins the fleet, and leaves it.

`Heartbeat` shows the fleet that the server lives. `ParentWatchdog` ends the server with the process
that launched it. `OwnInstance` reports to the fleet what EC2's metadata say: the address of this
instance, so that the server is ready where instances cannot be listed, and that the instance will
be taken away, so that the server is drained before.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted.application.internet import TimerService
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs import __version__
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
from bbs.rules import membership
from bbs.scaling.ec2.metadata import Metadata, MetadataUnavailable
from bbs.scaling.identity import process_identity
from bbs.scaling.lineage import Lineage
from bbs.storage.database import Database

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds for which a server that starts waits for its address. Then it reports without one, and
the provider's list may know it sooner. The metadata answer within milliseconds."""

RIGHTS_PATIENCE, RIGHTS_AGAIN = 30.0, 2.0
"""Seconds for which a new instance may lack its role's credentials or rights, or the store may be
busy with others, and between two questions for a secret then. IAM's changes mostly spread in ten;
the instance ends with its server, so giving up costs a boot."""

AGAIN = 2.0  # seconds between questions for an address that is not known yet

POLL = 5.0
"""Seconds between looks for a notice, as AWS advises:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""

POLL_SCHEDULED = 60.0  # seconds between looks for scheduled events of an instance on demand

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

    def _begin_machine(self) -> OwnInstance | None:
        """Begin to ask the metadata of the instance, if the provider ec2 launched this server."""
        is_on_ec2 = is_on_instance(self.config, self._launched_as)
        metadata = Metadata.from_environ(self.reactor, os.environ) if is_on_ec2 else None
        if metadata is None:
            return None
        machine = OwnInstance(metadata, self.config.ec2.address, self.reactor)
        self.begin(machine)
        return machine

    async def _join(
        self, database: Database, port: IListeningPort, machine: OwnInstance | None
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


def is_on_instance(config: Configuration, server_id: str | None) -> bool:
    """Whether the provider ec2 has launched this app server: only it sets `ec2.address` for one
    (`bbs.scaling.providers`). Other servers ask no metadata, as they do not know what answers at
    that address elsewhere."""
    has_address = config.sources.get("ec2.address", "default") != "default"
    return has_address and server_id is not None


class OwnInstance(TwistedService):
    """The instance of this app server.

    :param wanted: its address for people, as `ec2.address` has it.
    """

    def __init__(self, metadata: Metadata, wanted: str, reactor: IReactorTime) -> None:
        self._metadata = metadata
        self._wanted = wanted
        self._reactor = reactor
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
        self,
        database: Database,
        server: str,
        port: int,
        reported: str | None,
        version: str = __version__,
    ) -> None:
        """Report to the fleet from now on, which this app server, of this `version`, has joined:
        its address, unless that has been `reported`, its instance, and notices."""
        if reported is None:
            self._begin(self._report_host(database, server, port, version))
        self._begin(self._name_instance(database, server))
        self._begin(self._watch(database, server))

    def _begin(self, task: Coroutine[Any, Any, None]) -> None:
        def ended(failure: Failure) -> None:
            if not failure.check(CancelledError):
                _log.failure("asking the instance's metadata failed", failure=failure)

        self._tasks.append(Deferred.fromCoroutine(task).addErrback(ended))

    def _decide(self) -> None:
        if not self._decided.called:
            self._decided.callback(None)

    async def _find(self) -> None:
        trouble = ""
        while self.running:
            try:
                self._host = await self._metadata.address(self._wanted)
            except MetadataUnavailable as error:
                reason = str(error)
            else:
                self._decide()
                if self._host is not None:
                    return
                reason = "it has none"
            if reason != trouble:
                trouble = reason
                _log.warn(
                    "this instance's address (ec2.address: {wanted}) is not known: {trouble}",
                    wanted=self._wanted,
                    trouble=trouble,
                )
            await self._pause(AGAIN)

    async def _report_host(self, database: Database, server: str, port: int, version: str) -> None:
        while self.running:
            if self._host is not None:
                with suppress(Unavailable):
                    # If this server is ready, the fleet has learned its address elsewhere.
                    await database.run(membership.report, server, port, self._host, version)
                    return
            await self._pause(AGAIN)

    async def _name_instance(self, database: Database, server: str) -> None:
        while self.running:
            with suppress(MetadataUnavailable, Unavailable):
                if id := await self._metadata.instance_id():
                    await database.run(membership.name_instance, server, id)
                return
            await self._pause(POLL)

    async def _watch(self, database: Database, server: str) -> None:
        """Look for notices, and report each until the database has it."""
        is_spot: bool | None = None
        why = reported = ""
        while self.running:
            try:
                if is_spot is None:
                    is_spot = await self._metadata.is_spot()
                notice = await self._metadata.notice(is_spot)
            except MetadataUnavailable:
                notice = ""
            if notice and notice != why:
                why = notice
                _log.warn("EC2 takes this instance away: {why}", why=why)
            if why != reported:
                with suppress(Unavailable):
                    await database.run(membership.warn, server, why)
                    reported = why
            # Scheduled events are days ahead.
            await self._pause(POLL if is_spot is not False else POLL_SCHEDULED)

    async def _pause(self, seconds: float) -> None:
        if self.running:
            await deferLater(self._reactor, seconds)


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
