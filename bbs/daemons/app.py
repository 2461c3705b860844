"""`twistd NAME-app`: how an app server starts, joins the fleet, lives in it and leaves it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from bbs import tracing
from bbs.addresses import Address
from bbs.clock import lived
from bbs.commands.service import Service
from bbs.config import Configuration
from bbs.daemons.composition import AppServing
from bbs.daemons.daemon import FAREWELL, CannotStart, Daemon
from bbs.daemons.lifeline import Lifeline
from bbs.errors import Unavailable
from bbs.rules import members
from bbs.storage.database import Database
from bbs.values import Tally

if TYPE_CHECKING:
    from bbs.daemons.app_machine import Machine

EMBEDDED = "broker.url: the embedded broker is within a login server; name one"

_log = Logger()


class AppServer(Daemon):
    """An app server, launched by the fleet under `server_id`, or (None) run by hand.

    :param lifeline: the descriptor of a pipe whose end means that the parent died, None for none.
    """

    kind = "app"

    def __init__(
        self,
        service: Service,
        config: Configuration,
        server_id: str | None,
        lifeline: int | None,
        reactor: Any,
        on_failure: Callable[[str], None],
    ) -> None:
        super().__init__(service, config, reactor, on_failure)
        self._launched_as = server_id
        self.server_id = server_id or ""
        self._lifeline = lifeline
        if lifeline is not None:
            _leave_process_group()

    def cannot_trace(self, reason: str) -> None:
        """People wait for this server, with or without traces."""
        _log.warn("{reason}", reason=reason)

    async def start(self) -> None:
        parent = os.environ.get(tracing.VARIABLE, "")
        if not tracing.is_traceparent(parent):
            parent = ""
        elif (seconds := lived()) is not None:
            tracing.past("load", seconds, parent)
        with tracing.span("start", parent):
            await self._begin_parts()

    async def _begin_parts(self) -> None:
        config, reactor = self.config, self.reactor
        if self._lifeline is not None:
            self.begin(Lifeline(reactor, self._lifeline, self._orphaned))
        # Both are connected to at the same time: people wait for this server. What is wrong with
        # the database is said first, as by the login server.
        embedded = config.broker.url == ("embedded",)
        stomp = None if embedded else await self.begin_broker(config.broker.url)
        database = await self.open_database()
        if stomp is None:
            raise CannotStart(EMBEDDED)
        machine = self._begin_machine()
        serving = AppServing(await self.ground(database, stomp), self.admission)
        await self.reach_broker(stomp)
        self.begin(serving.listeners)
        self.begin(serving.presence)
        ports = await self.listen(config.app.listen, serving.factory)
        with tracing.span("report"):
            server_id = await self._join(database, ports[0], machine)
        self.server_id = server_id
        _log.info("this is app server {server}", server=server_id)
        serving.joined(server_id)
        self.begin(
            Heartbeat(
                database=database,
                server=server_id,
                tally=serving.tally,
                interval=config.fleet.heartbeat_interval,
                lease_timeout=config.fleet.lease_timeout,
                on_end=self._end,
                reactor=reactor,
            )
        )
        self.on_stop(lambda: Deferred.fromCoroutine(self._leave(database, server_id, serving)))
        serving.home.bus.tell_fleet("ready")

    def _begin_machine(self) -> Machine | None:
        """Begin to ask the instance on which the provider ec2 launched this server, if it did."""
        if not is_on_instance(self.config, self._launched_as):
            return None
        # Here: who runs elsewhere need not load it, 17 ms of a start.
        from bbs.daemons.app_machine import Machine
        from bbs.scaling.metadata import Metadata

        metadata = Metadata.from_environ(self.reactor, os.environ)
        if metadata is None:
            return None
        machine = Machine(metadata, self.config.ec2.address, self.reactor)
        self.begin(machine)
        return machine

    async def _join(self, database: Database, port: IListeningPort, machine: Machine | None) -> str:
        number = port.getHost().port  # type: ignore[attr-defined]
        if self._launched_as is None:
            told = self.config.app.address
            if told:
                place = Address.told(told, number)
            else:
                place = Address(await self.in_thread(self._address, database.url), number)
            return await database.run_patiently(
                members.join, place.host, place.port, self.config.app.capacity, self.wall()
            )
        host = None if machine is None else await machine.host()
        if not await database.run_patiently(members.report, self._launched_as, number, host):
            raise CannotStart(f"nobody has launched a server {self._launched_as}, or it is gone")
        if machine is not None:
            machine.joined(database, self._launched_as, number, host)
        return self._launched_as

    def _address(self, database_url: str) -> str:
        """Where people reach a server that an operator runs by hand, and whose `app.address` says
        nothing: the address that it is told to bind to, else the one from which this machine
        reaches the database."""
        interface = self.config.app.listen[0].interface
        host = urlsplit(database_url).hostname
        if interface or not host:
            return interface
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # Sends nothing: a datagram socket only picks its route.
            address: str = probe.getsockname()[0]
            return address

    async def _leave(self, database: Database, server_id: str, serving: AppServing) -> None:
        """Say that this server stops, and give those who listen time to be told where to go."""
        with suppress(Unavailable):  # Else the heartbeat that stops says the same, later.
            await database.run(members.leave, server_id)
        serving.home.bus.tell_fleet("gone")
        await serving.listeners.dismiss(FAREWELL)

    def _orphaned(self) -> None:
        self._end("the process that launched this server is dead")

    def _end(self, reason: str) -> None:
        _log.warn("this app server ends: {reason}", reason=reason)
        if self.running:
            self.reactor.callLater(0, self.reactor.stop)


def is_on_instance(config: Configuration, server_id: str | None) -> bool:
    """Whether the provider ec2 has launched an app server with this configuration, under this id.
    Nobody else is told `ec2.address` (`bbs.scaling.children`), and nobody else asks metadata: what
    answers at that address elsewhere is not ours to know."""
    told = config.sources.get("ec2.address", "default") != "default"
    return told and server_id is not None


def _leave_process_group() -> None:
    """Ctrl-C at a terminal is for the parent, which ends its children in its own order."""
    # Who leads a group already, as one that was started in a session of its own does, may not.
    if os.getpgrp() != os.getpid():
        os.setpgrp()


class Heartbeat(TwistedService):
    """Shows the fleet that an app server lives, and ends it when the fleet has given it up.

    :param tally: gives what it tells the fleet that the server has done, and how it is.
    :param interval: seconds between beats.
    :param on_end: called once, with the reason: the row is gone, or could not be renewed for
        `lease_timeout` seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        server: str,
        tally: Callable[[], Tally],
        interval: float,
        lease_timeout: float,
        on_end: Callable[[str], None],
        reactor: Any,
    ) -> None:
        # No TimerService: its module loads a state machine for clients, 6 ms of a start.
        self._loop = LoopingCall(self._beat)
        self._loop.clock = self._reactor = reactor
        self._interval = interval
        self._ended: Deferred[LoopingCall]
        self._database = database
        self._server = server
        self._tally = tally
        self._lease_timeout = lease_timeout
        self._on_end = on_end
        self._renewed = reactor.seconds()
        self._over = False

    def startService(self) -> None:
        TwistedService.startService(self)
        self._ended = self._loop.start(self._interval)

    def stopService(self) -> Deferred[LoopingCall]:
        """Fires once the beat that is under way, if any, is over."""
        TwistedService.stopService(self)
        self._loop.stop()
        return self._ended

    def _beat(self) -> Deferred[None]:
        # A loop whose call fails calls no more.
        return Deferred.fromCoroutine(self._renew()).addErrback(
            lambda failure: _log.failure("a heartbeat went wrong", failure=failure)
        )

    async def _renew(self) -> None:
        if self._over:
            return
        try:
            tally = self._tally()
            alive = await self._database.run(
                members.beat, self._server, tally.counts, tally.figures
            )
        except Unavailable:
            if self._reactor.seconds() - self._renewed > self._lease_timeout:
                self._end("its lease could not be renewed")
            return
        self._renewed = self._reactor.seconds()
        if not alive:
            self._end("the fleet has given it up")

    def _end(self, reason: str) -> None:
        self._over = True
        self._on_end(reason)
