"""The login server of `twistd NAME-login`: how it starts, when it is ready, and how it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.application.internet import TimerService
from twisted.application.service import Service as TwistedService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs import __version__
from bbs.commands.service import Service
from bbs.config import Configuration
from bbs.core.addresses import Address, ListeningPlace, is_loopback, reached_at
from bbs.core.clock import IReactor
from bbs.core.errors import Unavailable
from bbs.core.plugins import PluginUnusable
from bbs.core.threads import Workers
from bbs.daemons.composition import LoginServing
from bbs.daemons.daemon import CannotStart, Daemon
from bbs.daemons.logs import call_on_hangup
from bbs.limits.connections import Admission, Networks
from bbs.limits.password_hashing import Hasher, threads
from bbs.protocols.stomp.broker import BrokerLimits, BrokerService, Credential, EmbeddedBroker
from bbs.rules import accounts, membership, placement
from bbs.rules.fleets import FleetIdentity
from bbs.rules.servers import new_id
from bbs.scaling import identity, providers
from bbs.scaling.identity import process_identity
from bbs.scaling.interfaces import IKeepsLogs, IProvider, LaunchFailed, ProviderUnavailable
from bbs.storage.database import Database

if TYPE_CHECKING:
    from bbs.web.page import OperatorsPage


ADVISED_MINIMUM = 8
"""Characters that a password that a person chooses has at the least (NIST SP 800-63B, section
5.1.1.1)."""

LOOK_INTERVAL = 2.0
"""Seconds between looks where nothing is launched: who ends an app server by hand tells nobody else
of it, and whoever asks whether this one is ready asks every few seconds."""

_log = Logger()


class LoginServerDaemon(Daemon):
    """A login server, with the fleet's keeper in it.

    :param data: folder for the app servers' configuration and logs.
    """

    kind = "login"

    def __init__(
        self,
        service: Service,
        config: Configuration,
        data: str,
        reactor: IReactor,
        on_failure: Callable[[str], None],
    ) -> None:
        super().__init__(service, config, reactor, on_failure)
        self.serving: Deferred[None] = Deferred()
        """Fires when people can log in: this listens, and there is an app server, or will be."""
        self.page_address: str | None = None
        """Where the operators' page is, once it is there."""
        self._data = os.path.abspath(data)
        self._leaves = False

    async def start(self) -> None:
        config = self.config
        kind = providers.named(config.fleet.provider)[1]
        # Only now: twistd forks into the background after it has made its services.
        me = membership.Member(new_id(), process_identity(), __version__)
        self.server_id = me.id
        _log.info("this is login server {login_server}", login_server=me.id)
        database = await self.open_database()
        hashers = Workers(self.reactor, "hashing", threads(), background=True)
        self.begin(hashers)
        processes = Workers(self.reactor, "processes", 1)
        self.begin(processes)
        brokers = await self._brokers()
        stomp = await self.begin_broker(brokers)
        await self.reach_broker(stomp)
        await database.run_at_start(membership.enroll, me)
        patience = config.fleet.lost_after
        fleet = await identity.find_fleet(
            database, self.reactor, self.wall, patience, kind.outlives
        )
        traces: dict[str, str] = {}
        provider = await self._provider(me, brokers, fleet, traces)
        await identity.take_over_launches(database, provider, self.reactor, self.wall, patience)
        if IKeepsLogs.providedBy(provider):
            self.on_stop(call_on_hangup(cast("IKeepsLogs", provider).reopen_logs))
        serving = LoginServing(
            await self.runtime(database, stomp),
            me=me,
            hasher=Hasher(hashers),
            provider=provider,
            workers=processes,
            admission=self.admission,
            launches=kind.launches,
            fleet_id=fleet.id,
            traces=traces,
        )
        readiness = Readiness(
            database, self.reactor, launches=kind.launches, minimum=config.fleet.minimum
        )
        readiness.first.chainDeferred(self.serving)
        serving.news.when_places(readiness.look)
        page = await self._page(me, serving, readiness)
        self.begin(serving.keeper)
        self.advise(await self.listen(config.login.listen, serving.factory))
        # In the turn of the reactor in which the ports close: a client that asks again asks another
        # login server.
        self.on_stop(serving.room.close)
        if page:
            await self._show(page)
        self.begin(readiness)
        self.on_stop(self.serve_on)

    def advise(self, ports: Sequence[IListeningPort]) -> None:
        """Warn where strangers may have passwords that are guessed in no time."""
        minimum = self.config.limits.password_minimum
        hosts = [getattr(port.getHost(), "host", None) for port in ports]
        if minimum < ADVISED_MINIMUM and any(host and not is_loopback(host) for host in hosts):
            _log.warn(
                "limits.password_minimum is {minimum}, and others than this machine reach this"
                " server: {advised} is advised (NIST SP 800-63B)",
                minimum=minimum,
                advised=ADVISED_MINIMUM,
            )

    def serve_on(self) -> Deferred[None] | None:
        """Serve a while longer without being ready, so that a balancer sends nobody else here."""
        self._leaves = True
        delay = self.config.login.drain_delay
        if not delay:
            return None
        _log.info("this login server stops in {seconds:g} s, and is not ready", seconds=delay)
        served: Deferred[None] = deferLater(self.reactor, delay, lambda: None)
        return served

    async def _provider(
        self,
        me: membership.Member,
        brokers: tuple[str, ...],
        fleet: FleetIdentity,
        traces: Mapping[str, str],
    ) -> IProvider:
        """The provider that the configuration names."""
        try:
            return await providers.make_provider(
                self.config,
                brokers,
                me,
                self._data,
                self.reactor,
                self.in_thread,
                self.on_stop,
                fleet,
                self.service.name,
                traces,
            )
        except (LaunchFailed, ProviderUnavailable, PluginUnusable) as error:
            raise CannotStart(str(error)) from error

    async def _page(
        self, me: membership.Member, serving: LoginServing, readiness: Readiness
    ) -> OperatorsPage | None:
        """The operators' page, if the configuration wants one."""
        config, home = self.config, serving.home
        if not config.web.listen:
            return None
        # Here: a web server and a metrics library are 4 MiB that a server without a page need not
        # have.
        from bbs.web import page

        def trouble() -> str:
            if self._leaves:
                return "this login server stops"
            if not home.database.available:
                return "the database is away"
            if readiness.there:
                return ""
            return "no app server is ready" + ("" if self.serving.called else " yet")

        parts = page.PageContext(
            service=self.service.name,
            counters=tuple(self.service.counted.values()),
            me=me.id,
            policy=serving.policy,
            database=home.database,
            on_change=serving.news.wanted,
            broker=lambda: home.bus.connected,
            logins=lambda: home.tally.logins,
            timing=serving.timing,
            trouble=trouble,
            reactor=self.reactor,
            wall=self.wall,
            password_minimum=config.limits.password_minimum,
            outlives=providers.named(config.fleet.provider)[1].outlives,
            person=self.service.person,
            on_delete=self.service.on_delete,
        )
        try:
            return await page.make(
                parts,
                password_file=config.web.password_file,
                failed_logins=config.limits.failed_logins,
                hasher=home.login.hasher,
                queue=home.login.limits.queue,
                in_thread=self.in_thread,
                admission=self.admission,
            )
        except page.PasswordFileUnusable as error:
            raise CannotStart(f"web.password_file: {error}") from error

    async def _show(self, page: OperatorsPage) -> None:
        self.on_stop(page.site.close_all)
        for place in self.config.web.listen:
            port = await self._listen(place, page.site, pauses=False)
            self.page_address = self.page_address or url_of(place, port)
        self.begin(page)

    async def _brokers(self) -> tuple[str, ...]:
        """Where the broker is; the embedded one is started here."""
        if self.config.broker.url != ("embedded",):
            return self.config.broker.url
        limits, own = self.config.limits, BrokerLimits().max_connections
        # Not by this process's admission: those who crowd it keep no app server from the broker.
        admission = Admission(own, Networks(limits.trusted), seconds=self.reactor.seconds)
        door = admission.door(limits.connections_per_address)
        broker = BrokerService(
            self.reactor,
            "tcp:0:interface=127.0.0.1",
            EmbeddedBroker(Credential("bbs", accounts.new_token()), self.reactor, door=door),
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


class Readiness(TwistedService):
    """Knows whether people who log in find an app server, or will without anybody's help. Servers
    that are full count: people wait for a place there, in their order.

    A login server whose provider launches is ready for good once there has been an app server, as
    more are launched when they are gone. If the minimum is 0, it is ready from the start, as one is
    launched when somebody comes. Without launches it is ready while there is an app server.

    :param launches: whether the provider ever launches anything.
    :param minimum: app servers that the fleet is to have.
    """

    def __init__(
        self, database: Database, reactor: IReactorTime, *, launches: bool, minimum: int
    ) -> None:
        self.there = False
        """Whether this login server is ready, as far as was seen."""
        self.first: Deferred[None] = Deferred()
        """Fires when it is ready for the first time."""
        self._database = database
        self._launches = launches
        self._on_demand = launches and not minimum
        self._ticking: Any = TimerService(
            LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._look())
        )
        self._ticking.clock = reactor

    # Service

    def startService(self) -> None:
        TwistedService.startService(self)
        if self._on_demand:
            self._is(True)
        elif self._launches:
            # One that joins a fleet at rest hears nothing of the app servers that there are.
            self.look()
        else:
            self._ticking.startService()

    def stopService(self) -> Any:
        TwistedService.stopService(self)
        return self._ticking.stopService() if self._ticking.running else None

    # What it looks at

    def look(self) -> None:
        """There may be an app server, or none any more."""
        if self.running and not (self._launches and self.there):
            Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        try:
            there = await self._database.run(placement.any_ready)
        except Unavailable:
            return  # That the database is away is somebody else's to say.
        except Exception:
            _log.failure("a look for app servers went wrong")
            return
        if self.running:
            self._is(there)

    def _is(self, there: bool) -> None:
        self.there = there
        if there and not self.first.called:
            self.first.callback(None)
