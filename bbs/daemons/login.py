"""The login server of `twistd NAME-login`: how it starts, when it is ready, and how it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.internet import TimerService
from twisted.application.service import Service as TwistedService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.commands.service import Service
from bbs.commands.strictness import check_questions
from bbs.config import Configuration
from bbs.config.sections import OWN
from bbs.core.addresses import Address, ListeningPlace, is_loopback, reached_at
from bbs.core.clock import IReactor
from bbs.core.errors import Unavailable
from bbs.core.threads import Workers
from bbs.core.values import DiskState
from bbs.daemons.composition import FollowingLogin, LoginServing
from bbs.daemons.daemon import CannotStart
from bbs.daemons.fleet import FleetMember
from bbs.delivery import broadcast
from bbs.limits.connections import Admission, Networks
from bbs.limits.password_hashing import Hasher, threads
from bbs.protocols.stomp.broker import BrokerLimits, BrokerService, Credential, EmbeddedBroker
from bbs.protocols.stomp.redundant import count_brokers
from bbs.rules import accounts, membership, placement
from bbs.scaling import providers
from bbs.scaling.controller import FleetController
from bbs.storage.database import Database

if TYPE_CHECKING:
    from bbs.web.page import OperatorsPage


ADVISED_MINIMUM = 8  # characters of a password (NIST SP 800-63B, section 5.1.1.1)

LOOK_INTERVAL = 2.0
"""Seconds between looks where nothing is launched: an operator who ends an app server reports that
to nobody else. Probes of readiness come every few seconds."""

_log = Logger()


class LoginServerDaemon(FleetMember):
    """A login server, with the fleet controller in it unless that has processes of its own.

    :ivar serving: fires when people can log in: this server listens, and there is an app server, or
        will be.
    :ivar controller: the fleet's, once it has started, if it is here.
    :ivar page_address: the URL of the operators' page, once it is there.
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
        super().__init__(service, config, data, reactor, on_failure)
        self.serving: Deferred[None] = Deferred()
        self.page_address: str | None = None
        self.controller: FleetController | None = None
        self._is_leaving = False

    async def start(self) -> None:
        config = self.config
        kind = providers.named(config.fleet.provider)[1]
        me = self.make_member()
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
        serving: FollowingLogin
        if config.fleet.controller == OWN:
            serving = FollowingLogin(
                await self.runtime(database, stomp),
                me=me,
                hasher=Hasher(hashers),
                workers=processes,
                launches=kind.launches,
            )
        else:
            launching = await self.prepare_launching(me, database, brokers)
            serving = LoginServing(
                await self.runtime(database, stomp),
                me=me,
                hasher=Hasher(hashers),
                workers=processes,
                launches=kind.launches,
                provider=launching.provider,
                fleet_id=launching.fleet_id,
                traces=launching.traces,
            )
            self.controller = serving.controller
        self.carry_figures(serving.home.tally)
        await database.run_at_start(check_questions, self.service, serving.home.table)
        readiness = Readiness(
            database, self.reactor, launches=kind.launches, minimum=config.fleet.minimum
        )
        readiness.first.chainDeferred(self.serving)
        serving.news.when_places(readiness.look)
        page = await self._page(me, serving, readiness)
        self.begin(serving.topics)
        self.begin(serving.member)
        self.begin(serving.scheduler)
        self.begin_others(serving.home)
        self.advise(await self.listen(config.login.listen, serving.factory))
        # In the same turn as the ports close: so a client that asks again finds another login
        # server.
        self.on_stop(serving.room.close)
        if page:
            await self._show(page)
        self.begin(readiness)
        self.on_stop(self.serve_on)

    def advise(self, ports: Sequence[IListeningPort]) -> None:
        """Warn if strangers may have passwords that are easy to guess."""
        minimum = self.config.limits.password_minimum
        hosts = [getattr(port.getHost(), "host", None) for port in ports]
        if minimum < ADVISED_MINIMUM and any(host and not is_loopback(host) for host in hosts):
            _log.warn(
                "limits.password_minimum is {minimum}, and other machines can reach this server:"
                " {advised} is advised (NIST SP 800-63B)",
                minimum=minimum,
                advised=ADVISED_MINIMUM,
            )

    def serve_on(self) -> Deferred[None] | None:
        """Serve a while longer without being ready, so that load balancers send nobody else
        here."""
        self._is_leaving = True
        delay = self.config.login.drain_delay
        if not delay:
            return None
        _log.info("this login server stops in {seconds:g} s, and is not ready", seconds=delay)
        served: Deferred[None] = deferLater(self.reactor, delay, lambda: None)
        return served

    async def _page(
        self, me: membership.Member, serving: FollowingLogin, readiness: Readiness
    ) -> OperatorsPage | None:
        config, home = self.config, serving.home
        if not config.web.listen:
            return None
        # Imported here, as the web server and the metrics library take 4 MiB.
        from bbs.web.auth import PasswordFileUnusable
        from bbs.web.context import PageContext
        from bbs.web.page import make

        def trouble() -> str:
            if self._is_leaving:
                return "this login server stops"
            if not home.database.available:
                is_full = home.database.disk is DiskState.FULL
                return "the disk of the database is full" if is_full else "the database is away"
            if readiness.is_ready:
                return ""
            return "no app server is ready" + ("" if self.serving.called else " yet")

        parts = PageContext(
            service=self.service.name,
            version=self.service.program_version,
            counters=tuple(self.service.counted.values()),
            lists=tuple(self.service.all_lists),
            acts=self.service.own_acts,
            login_server=me.id,
            policy=serving.policy,
            database=home.database,
            on_change=serving.news.wanted,
            on_act=partial(broadcast.hint, home.bus),
            brokers=partial(count_brokers, home.bus.stomp),
            logins=lambda: home.tally.logins,
            timing=serving.timing,
            trouble=trouble,
            reactor=self.reactor,
            wall=self.wall,
            password_minimum=config.limits.password_minimum,
            outlives=providers.named(config.fleet.provider)[1].outlives,
            person=self.service.any_person,
            on_delete=self.service.forget,
        )
        try:
            return await make(
                parts,
                password_file=config.web.password_file,
                failed_logins=config.limits.failed_logins,
                hasher=home.login.hasher,
                queue=home.login.limits.queue,
                in_thread=self.in_thread,
                admission=self.admission,
                proxies=config.web.trusted_proxies,
            )
        except PasswordFileUnusable as error:
            raise CannotStart(f"web.password_file: {error}") from error

    async def _show(self, page: OperatorsPage) -> None:
        self.on_stop(page.site.close_all)
        for place in self.config.web.listen:
            port = await self._listen(place, page.site, pauses=False)
            self.page_address = self.page_address or url_of(place, port)
        self.begin(page)

    async def _brokers(self) -> tuple[str, ...]:
        """The URLs of the broker; the embedded one is started here."""
        if self.config.broker.url != ("embedded",):
            return self.config.broker.url
        limits, own = self.config.limits, BrokerLimits().max_connections
        # With an admission of its own, so that a crowd keeps no app server from the broker.
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
    """The URL for a browser on this machine of `port`, which listens at `place`; None if it is not
    a TCP port."""
    address = port.getHost()
    if not isinstance(address, IPv4Address | IPv6Address):
        return None
    scheme = "https" if place.is_tls else "http"
    return f"{scheme}://{Address(reached_at(address.host), address.port)}/"


class Readiness(TwistedService):
    """Knows whether people who log in find an app server, or will without anybody's help. Full
    servers count: people wait there for a place, in their order.

    If the provider launches, the login server is ready once there has been an app server, as others
    replace those that are gone. If the minimum is 0 it is ready from the start, as a server is
    launched when somebody comes. Without launches it is ready while there is an app server.

    :param launches: whether the provider ever launches anything.
    :param minimum: the number of app servers that the fleet is to have.
    :ivar is_ready: whether this login server is ready, as last seen.
    :ivar first: fires when it is ready for the first time.
    """

    def __init__(
        self, database: Database, reactor: IReactorTime, *, launches: bool, minimum: int
    ) -> None:
        self.is_ready = False
        self.first: Deferred[None] = Deferred()
        self._database = database
        self._launches = launches
        self._on_demand = launches and not minimum
        self._timer: Any = TimerService(LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._look()))
        self._timer.clock = reactor

    def startService(self) -> None:
        TwistedService.startService(self)
        if self._on_demand:
            self._update(True)
        elif self._launches:
            # In a fleet at rest nothing else announces the app servers.
            self.look()
        else:
            self._timer.startService()

    def stopService(self) -> Any:
        TwistedService.stopService(self)
        return self._timer.stopService() if self._timer.running else None

    def look(self) -> None:
        if self.running and not (self._launches and self.is_ready):
            Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        try:
            is_ready = await self._database.run(placement.any_ready)
        except Unavailable:
            return  # Others report that the database is away.
        except Exception:
            _log.failure("a look for app servers failed")
            return
        if self.running:
            self._update(is_ready)

    def _update(self, is_ready: bool) -> None:
        self.is_ready = is_ready
        if is_ready and not self.first.called:
            self.first.callback(None)
