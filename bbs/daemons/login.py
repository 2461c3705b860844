"""`twistd bbs-login`: the options, and how a login server is put together."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.python import usage

from bbs import __version__
from bbs.addresses import Address, reached_at
from bbs.board import messages
from bbs.commands import all_commands
from bbs.commands.desks import LoginDesk, Tally
from bbs.commands.dispatch import Dispatcher
from bbs.config import ConfigError, Configuration
from bbs.daemons.daemon import (
    CannotStart,
    Daemon,
    end_process,
    interface_of,
    load_or_exit,
    on_free_port,
)
from bbs.delivery.bus import Bus
from bbs.errors import Unavailable
from bbs.limits.attempts import ADDRESS_FACTOR, Attempts
from bbs.passwords import Hasher, threads
from bbs.protocols.line import IConnection
from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker
from bbs.rules import accounts, members, places
from bbs.rules.servers import new_id
from bbs.scaling import children
from bbs.scaling.ec2 import user_data
from bbs.scaling.ec2.client import EC2Client, boto_client
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.identity import process_identity
from bbs.scaling.interfaces import IProvider
from bbs.scaling.keeper import FleetKeeper, Sweep
from bbs.scaling.local import LocalProvider
from bbs.scaling.news import FleetNews
from bbs.scaling.none import NoProvider
from bbs.scaling.steps import Means
from bbs.scaling.waiting import WaitingRoom
from bbs.storage.database import Database
from bbs.values import Policy
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

    async def start(self) -> None:
        config, seconds = self.config, self.reactor.seconds
        # Only now: twistd forks into the background after it has made its services.
        me = members.Member(new_id(), process_identity())
        database = await self.open_database()
        hashers = Workers(self.reactor, "hashing", threads())
        self.begin(hashers)
        processes = Workers(self.reactor, "processes", 1)
        self.begin(processes)
        brokers = await self._brokers()
        bus = await self.open_bus(brokers)
        news = FleetNews(bus)
        await database.run(members.enroll, me)
        watchers: set[IConnection] = set()
        room = WaitingRoom(
            me=me,
            database=database,
            reactor=self.reactor,
            patience=config.fleet.launch_timeout,
            watchers=watchers,
            news=news,
        )
        news.when_places(partial(self._look_whether_serving, database))
        sessions = accounts.Sessions(config.limits.session_ttl)
        tally = Tally()
        means = Means(
            me=me,
            database=database,
            provider=await self._provider(me, brokers),
            policy=self._policy(),
            news=news,
            reactor=self.reactor,
        )
        keeper = FleetKeeper(
            means,
            workers=processes,
            sweeps=self._sweeps(sessions),
            heartbeat_interval=config.fleet.heartbeat_interval,
            logins=lambda: tally.logins,
        )
        hasher = Hasher(hashers)
        page = await self._page(means, bus, hasher, tally)
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
        if not config.fleet.minimum or config.fleet.provider == "none":
            self._is_serving()

    async def _provider(self, me: members.Member, brokers: tuple[str, ...]) -> IProvider:
        """The provider that the configuration names."""
        config = self.config
        if config.fleet.provider == "none":
            return NoProvider()
        if config.fleet.provider == "ec2":
            return await self._ec2(brokers)
        interface = interface_of(config.app.listen[0]) or interface_of(config.login.listen[0])
        path = os.path.join(self._data, "run", f"app-{me.id}.toml")
        listen = on_free_port(config.app.listen[0], config.login.listen[0])
        text = children.configuration_text(config, brokers, listen)
        try:
            await self.in_thread(children.write_privately, path, text)
        except OSError as error:
            raise CannotStart(f"cannot write {path}: {error.strerror}") from error
        self.on_stop(lambda: self.in_thread(os.unlink, path))
        return LocalProvider(
            self.reactor,
            lambda server: children.command(path, server),
            f"local:{me.identity}",
            os.path.join(self._data, "logs"),
            children.environment(os.environ),
            host=interface,
        )

    async def _ec2(self, brokers: tuple[str, ...]) -> IProvider:
        """A fleet on EC2. The calls stop after whoever makes them."""
        try:
            make_user_data = await self.in_thread(user_data.maker, self.config, brokers)
        except ConfigError as error:
            raise CannotStart(str(error)) from error
        client = EC2Client(self.reactor, partial(boto_client, self.config.ec2))
        self.begin(client)
        return EC2Provider(self.reactor, client, self.config.ec2, make_user_data, __version__)

    def _sweeps(self, sessions: accounts.Sessions) -> tuple[Sweep, ...]:
        """Unused sessions, and messages that are old enough."""
        kept = self.config.messages.message_retention
        return (
            partial(accounts.end_stale_sessions, sessions),
            lambda now: messages.expire(now - kept),
        )

    def _policy(self) -> Policy:
        wanted = self.config.fleet
        return Policy(
            minimum=wanted.minimum,
            maximum=0 if wanted.provider == "none" else wanted.maximum,
            spare=wanted.spare,
            capacity=self.config.app.capacity,
            idle_grace=wanted.idle_grace,
            launch_timeout=wanted.launch_timeout,
            lost_after=wanted.lost_after,
        )

    async def _page(
        self, means: Means, bus: Bus, hasher: Hasher, tally: Tally
    ) -> OperatorsPage | None:
        """The operators' page, if the configuration wants one."""
        config = self.config
        if not config.web.listen:
            return None
        # Here: a web server and a metrics library are 4 MiB that a server without a page need not
        # have.
        from bbs.web import page

        def trouble() -> str:
            if not means.database.available:
                return "the database is away"
            return "" if self.serving.called else "no app server is ready yet"

        parts = page.Parts(
            me=means.me.id,
            policy=means.policy,
            database=means.database,
            on_change=means.news.wanted,
            broker=lambda: bus.connected,
            logins=lambda: tally.logins,
            trouble=trouble,
            reactor=self.reactor,
        )
        try:
            return await page.make(
                parts,
                password_file=config.web.password_file,
                failed_logins=config.limits.failed_logins,
                hasher=hasher,
                in_thread=self.in_thread,
            )
        except page.PasswordFileUnusable as error:
            raise CannotStart(f"web.password_file: {error}") from error

    async def _show(self, page: OperatorsPage) -> None:
        self.on_stop(page.site.close_all)
        for endpoint in self.config.web.listen:
            port = await self._listen(endpoint, page.site)
            self.page_address = self.page_address or url_of(endpoint, port)
        self.begin(page)

    def _look_whether_serving(self, database: Database) -> None:
        async def look() -> None:
            with suppress(Unavailable):  # Then there is another hint, or another round.
                if await database.run(places.any_ready):
                    self._is_serving()

        if not self.serving.called:
            Deferred.fromCoroutine(look())

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


def url_of(endpoint: str, port: IListeningPort) -> str | None:
    """Where a browser on this machine finds what `port`, which listens on `endpoint`, serves; None
    where it is no TCP port."""
    address = port.getHost()
    if not isinstance(address, IPv4Address | IPv6Address):
        return None
    scheme = "https" if endpoint.startswith("ssl:") else "http"
    return f"{scheme}://{Address(reached_at(address.host), address.port)}/"
