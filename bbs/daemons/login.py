"""`twistd bbs-login`: the options, and how a login server is put together."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.python import usage

from bbs.addresses import Address, ListeningPlace, reached_at
from bbs.commands import all_commands
from bbs.commands.desks import LoginDesk, Tally
from bbs.commands.dispatch import Dispatcher
from bbs.config import Configuration
from bbs.daemons.daemon import (
    CannotStart,
    Daemon,
    end_process,
    load_or_exit,
)
from bbs.delivery.bus import Bus
from bbs.errors import Unavailable
from bbs.limits.attempts import ADDRESS_FACTOR, Attempts
from bbs.passwords import Hasher, threads
from bbs.plugins import PluginUnusable
from bbs.protocols.line import IConnection
from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker
from bbs.rules import accounts, fleet, places
from bbs.scaling import launching
from bbs.scaling.identity import process_identity
from bbs.scaling.interfaces import IProvider, LaunchFailed, ProviderUnavailable
from bbs.scaling.keeper import FleetKeeper
from bbs.scaling.plan import Policy
from bbs.scaling.upkeep import Upkeep
from bbs.scaling.waiting import WaitingRoom
from bbs.storage.database import Database
from bbs.workers import Workers

if TYPE_CHECKING:
    from bbs.web.page import OperatorsPage

DATA = "bbs-data"
"""The folder for what a login server keeps beside the database, unless told otherwise."""


class Options(usage.Options):
    """Options of `twistd bbs-login`; those that override the file are named as their keys."""

    optParameters: ClassVar = [
        ["config", "c", None, "Configuration file (TOML)"],
        ["listen", "l", None, "Endpoint to listen on, instead of login.listen"],
        ["database", "d", None, "URL of the database, instead of database.url"],
        ["broker", "b", None, "URL of the broker, instead of broker.url"],
        ["data", None, DATA, "Folder for the app servers' configuration and logs"],
    ]

    configuration: Configuration

    def postOptions(self) -> None:
        """Load the configuration; one that is wrong ends the process with one line."""
        self.configuration = load_or_exit(
            "bbs-login",
            self["config"],
            {
                "login.listen": self["listen"],
                "database.url": self["database"],
                "broker.url": self["broker"],
            },
        )


def makeService(options: Options, reactor: Any = None) -> IService:
    """The login server that `options` describe."""
    if reactor is None:
        from twisted.internet import reactor
    return LoginServer(options.configuration, options["data"], reactor, end_process(reactor))


class LoginServer(Daemon):
    """A login server, with the fleet's keeper in it.

    :param data: folder for the app servers' configuration and logs.
    """

    name = "bbs-login"

    def __init__(
        self, config: Configuration, data: str, reactor: Any, on_failure: Callable[[str], None]
    ) -> None:
        super().__init__(config, reactor, on_failure)
        self.serving: Deferred[None] = Deferred()
        """Fires when people can log in: this listens, and there is an app server."""
        self.page_address: str | None = None
        """Where the operators' page is, once it is there."""
        self._data = os.path.abspath(data)
        self._launches = True
        """Whether the provider ever launches anything."""

    async def start(self) -> None:
        config, seconds = self.config, self.reactor.seconds
        self._launches = launching.named(config.fleet.provider)[1].launches
        # Only now: twistd forks into the background after it has made its services.
        me = fleet.Member(fleet.new_id(), process_identity())
        database = await self.open_database()
        hashers = Workers(self.reactor, "hashing", threads())
        self.begin(hashers)
        brokers = await self._brokers()
        bus = await self.open_bus(brokers)
        await database.run(fleet.enroll, me)
        watchers: set[IConnection] = set()
        room = WaitingRoom(database, me, self.reactor, config.fleet.launch_timeout, watchers)
        sessions = accounts.Sessions(config.limits.session_ttl)
        provider = await self._provider(me, brokers)
        tally = Tally()
        keeper = self._keeper(me, database, provider, bus, sessions, room, tally)
        hasher = Hasher(hashers)

        def fleet_is_wanted() -> None:
            self._somebody_waits(keeper, bus)

        room.on_change = fleet_is_wanted
        page = await self._page(me, database, bus, hasher, tally, fleet_is_wanted)
        self.begin(keeper)
        desk = LoginDesk(
            table=all_commands(),
            database=database,
            bus=bus,
            sessions=sessions,
            seconds=seconds,
            hasher=hasher,
            registrations=Attempts(config.limits.registrations, seconds),
            failed_by_account=Attempts(config.limits.failed_logins, seconds),
            failed_by_address=Attempts(config.limits.failed_logins, seconds, ADDRESS_FACTOR),
            waiting_room=room,
            watchers=watchers,
            gateway_secret=config.telnet.secret,
            tally=tally,
        )
        await self.listen(config.login.listen, Dispatcher(desk))
        if page:
            await self._show(page)
        if not config.fleet.minimum or not self._launches:
            self._is_serving()

    async def _provider(self, me: fleet.Member, brokers: tuple[str, ...]) -> IProvider:
        """The provider that the configuration names."""
        try:
            return await launching.make_provider(
                self.config,
                brokers,
                me,
                self._data,
                self.reactor,
                self.in_thread,
                self.on_stop,
            )
        except (LaunchFailed, ProviderUnavailable, PluginUnusable) as error:
            raise CannotStart(str(error)) from error

    def _keeper(
        self,
        me: fleet.Member,
        database: Database,
        provider: IProvider,
        bus: Bus,
        sessions: accounts.Sessions,
        room: WaitingRoom,
        tally: Tally,
    ) -> FleetKeeper:
        def look() -> None:
            room.look()
            if not self.serving.called:
                Deferred.fromCoroutine(self._look_whether_serving(database))

        return FleetKeeper(
            me,
            database,
            provider,
            self._policy(),
            bus,
            Upkeep(sessions, self.config.messages.message_retention),
            self.config.fleet.heartbeat_interval,
            look,
            self.reactor,
            lambda: tally.logins,
        )

    def _policy(self) -> Policy:
        wanted = self.config.fleet
        return Policy(
            wanted.minimum,
            wanted.maximum if self._launches else 0,
            wanted.spare,
            self.config.app.capacity,
            wanted.idle_grace,
            wanted.launch_timeout,
            wanted.lost_after,
        )

    async def _page(
        self,
        me: fleet.Member,
        database: Database,
        bus: Bus,
        hasher: Hasher,
        tally: Tally,
        on_change: Callable[[], None],
    ) -> OperatorsPage | None:
        """The operators' page, if the configuration wants one."""
        if not self.config.web.listen:
            return None
        # Here: a web server and a metrics library are 4 MiB that a server without a page need not
        # have.
        from bbs.web import page

        def trouble() -> str:
            if not database.available:
                return "the database is away"
            return "" if self.serving.called else "no app server is ready yet"

        try:
            return await page.make(
                self.config,
                page.Parts(me.id, self._policy(), database, bus, hasher, tally, on_change, trouble),
                self.in_thread,
                self.reactor,
            )
        except page.PasswordFileUnusable as error:
            raise CannotStart(f"web.password_file: {error}") from error

    async def _show(self, page: OperatorsPage) -> None:
        self.on_stop(page.site.close_all)
        for place in self.config.web.listen:
            port = await self._listen(place, page.site)
            self.page_address = self.page_address or url_of(place, port)
        self.begin(page)

    def _somebody_waits(self, keeper: FleetKeeper, bus: Bus) -> None:
        if keeper.keeping:
            keeper.look_soon()
        else:
            bus.tell_fleet("waiting")

    async def _look_whether_serving(self, database: Database) -> None:
        with suppress(Unavailable):  # Then there is another hint, or another round.
            if await database.run(places.any_ready):
                self._is_serving()

    def _is_serving(self) -> None:
        if self.running and not self.serving.called:
            self.serving.callback(None)

    async def _brokers(self) -> tuple[str, ...]:
        """Where the broker is; the embedded one is started here."""
        if self.config.broker.url != ("embedded",):
            return self.config.broker.url
        broker = BrokerService(
            self.reactor,
            "tcp:0:interface=127.0.0.1",
            EmbeddedBroker(Credential("bbs", accounts.new_token()), self.reactor),
        )
        self.begin(broker)
        try:
            return (await broker.when_listening(),)
        except CannotListenError as error:
            raise CannotStart(f"the embedded broker cannot listen: {error.socketError}") from error


def url_of(place: ListeningPlace, port: IListeningPort) -> str | None:
    """Where a browser on this machine finds what `port`, which listens at `place`, serves; None
    where it is no TCP port."""
    address = port.getHost()
    if not isinstance(address, IPv4Address | IPv6Address):
        return None
    scheme = "https" if place.is_tls else "http"
    return f"{scheme}://{Address(reached_at(address.host), address.port)}/"
