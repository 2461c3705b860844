"""`twistd bbs-app`: the options, and how an app server is put together."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import urlsplit

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python import usage

from bbs.commands import all_commands
from bbs.commands.desks import AppDesk, Tally
from bbs.commands.dispatch import Dispatcher
from bbs.config import Configuration
from bbs.daemons.daemon import (
    FAREWELL,
    CannotStart,
    Daemon,
    end_process,
    load_or_exit,
)
from bbs.daemons.lifeline import Lifeline
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.errors import Unavailable
from bbs.rules import accounts, fleet
from bbs.storage.database import Database

_log = Logger()


class Options(usage.Options):
    """Options of `twistd bbs-app`."""

    optParameters: ClassVar = [
        ["config", "c", None, "Configuration file (TOML)"],
        ["server-id", "i", None, "Id under which the fleet launched this server"],
        ["lifeline", None, None, "Descriptor of a pipe whose end means that the parent died", int],
    ]

    configuration: Configuration

    def postOptions(self) -> None:
        """Load the configuration; one that is wrong ends the process with one line."""
        self.configuration = load_or_exit("bbs-app", self["config"], {})


def makeService(options: Options, reactor: Any = None) -> IService:
    """The app server that `options` describe."""
    if reactor is None:
        from twisted.internet import reactor
    if options["lifeline"] is not None:
        _leave_process_group()
    return AppServer(
        options.configuration,
        options["server-id"],
        options["lifeline"],
        reactor,
        end_process(reactor),
    )


def _leave_process_group() -> None:
    """Ctrl-C at a terminal is for the parent, which ends its children in its own order."""
    # Who leads a group already, as one that was started in a session of its own does, may not.
    if os.getpgrp() != os.getpid():
        os.setpgrp()


class AppServer(Daemon):
    """An app server, launched by the fleet under `server_id`, or (None) run by hand."""

    name = "bbs-app"

    def __init__(
        self,
        config: Configuration,
        server_id: str | None,
        lifeline: int | None,
        reactor: Any,
        on_failure: Callable[[str], None],
    ) -> None:
        super().__init__(config, reactor, on_failure)
        self._server_id = server_id
        self._lifeline = lifeline

    async def start(self) -> None:
        config, reactor = self.config, self.reactor
        if self._lifeline is not None:
            self.begin(Lifeline(reactor, self._lifeline, self._orphaned))
        database = await self.open_database()
        if config.broker.url == ("embedded",):
            raise CannotStart("broker.url: the embedded broker is within a login server; name one")
        bus = await self.open_bus(config.broker.url)
        desk = AppDesk(
            table=all_commands(),
            database=database,
            bus=bus,
            sessions=accounts.Sessions(config.limits.session_ttl),
            seconds=reactor.seconds,
            watchers=set(),
        )
        desk.listeners = Listeners(
            database, bus, lambda: desk.server_id, config.messages.poll_interval, reactor
        )
        self.begin(desk.listeners)
        ports = await self.listen(config.app.listen, Dispatcher(desk))
        desk.server_id = await self._join(database, ports[0])
        self.begin(
            Heartbeat(
                database,
                desk.server_id,
                desk.tally,
                config.fleet.heartbeat_interval,
                config.fleet.lease_timeout,
                self._end,
                reactor,
            )
        )
        self.on_stop(lambda: Deferred.fromCoroutine(self._leave(database, bus, desk)))
        bus.tell_fleet("ready")

    async def _join(self, database: Database, port: IListeningPort) -> str:
        number = port.getHost().port  # type: ignore[attr-defined]
        if self._server_id is None:
            host = await self.in_thread(self._address, database.url)
            return await database.run(
                fleet.join, host, number, self.config.app.capacity, self.reactor.seconds()
            )
        if not await database.run(fleet.report, self._server_id, number):
            raise CannotStart(f"nobody has launched a server {self._server_id}, or it is gone")
        return self._server_id

    def _address(self, database_url: str) -> str:
        """Where people reach a server that an operator runs by hand: the address that it is told to
        bind to, else the one from which this machine reaches the database."""
        interface = self.config.app.listen[0].interface
        host = urlsplit(database_url).hostname
        if interface or not host:
            return interface
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # Sends nothing: a datagram socket only picks its route.
            address: str = probe.getsockname()[0]
            return address

    async def _leave(self, database: Database, bus: Bus, desk: AppDesk) -> None:
        """Say that this server stops, and give those who listen time to be told where to go."""
        with suppress(Unavailable):  # Else the heartbeat that stops says the same, later.
            await database.run(fleet.leave, desk.server_id)
        bus.tell_fleet("gone")
        await desk.listeners.dismiss(FAREWELL)

    def _orphaned(self) -> None:
        self._end("the process that launched this server is dead")

    def _end(self, reason: str) -> None:
        _log.warn("this app server ends: {reason}", reason=reason)
        if self.running:
            self.reactor.callLater(0, self.reactor.stop)


class Heartbeat(Service):
    """Shows the fleet that an app server lives, and ends it when the fleet has given it up.

    :param tally: what it tells the fleet that the server has done.
    :param on_end: called once, with the reason: the row is gone, or could not be renewed for
        `lease_timeout` seconds.
    """

    def __init__(
        self,
        database: Database,
        server: str | None,
        tally: Tally,
        interval: float,
        lease_timeout: float,
        on_end: Callable[[str], None],
        reactor: Any,
    ) -> None:
        self._database = database
        self._server = server
        self._tally = tally
        self._interval = interval
        self._lease_timeout = lease_timeout
        self._on_end = on_end
        self._reactor = reactor
        self._renewed = 0.0
        self._next: Any = None

    def startService(self) -> None:
        Service.startService(self)
        self._renewed = self._reactor.seconds()
        self._next = self._reactor.callLater(self._interval, self._beat)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._next:
            self._next.cancel()

    def _beat(self) -> None:
        self._next = None
        Deferred.fromCoroutine(self._renew()).addErrback(
            lambda failure: _log.failure("a heartbeat went wrong", failure=failure)
        )

    async def _renew(self) -> None:
        try:
            if not await self._database.run(fleet.beat, self._server, self._tally.messages):
                self._on_end("the fleet has given it up")
                return
            self._renewed = self._reactor.seconds()
        except Unavailable:
            if self._reactor.seconds() - self._renewed > self._lease_timeout:
                self._on_end("its lease could not be renewed")
                return
        if self.running:
            self._next = self._reactor.callLater(self._interval, self._beat)
