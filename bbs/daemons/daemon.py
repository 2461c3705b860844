"""The base of all servers: parts that start in order and stop in reverse, the reason in one line if
a server cannot start, and a database, a broker and ports to open."""

from __future__ import annotations

import errno
import os
import resource
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from twisted.application.internet import TimerService
from twisted.application.service import IService
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
)
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from bbs.commands import declared
from bbs.commands.background import start_daemons
from bbs.commands.context import ServerContext
from bbs.commands.extensions import extended
from bbs.commands.service import Service, ServiceUnusable
from bbs.config import ConfigError, Configuration, references
from bbs.core import tracing
from bbs.core.addresses import ListeningPlace
from bbs.core.certificates import note_certificate
from bbs.core.clock import IReactor, ServiceClock, measure_steadily, since_boot
from bbs.core.errors import Refusal, Unavailable
from bbs.core.plugins import PluginUnusable, name_clash
from bbs.core.threads import Workers
from bbs.core.values import DiskState, Tally
from bbs.daemons.composition import Runtime, admission_of
from bbs.daemons.debugging import DEBUG_VARIABLE, DebugReport
from bbs.daemons.listening import (
    CannotListen,
    CertificateRenewal,
    Contexts,
    Pems,
    endpoint_at,
    read_pems,
)
from bbs.daemons.logs import Speaker
from bbs.daemons.security_log import SecurityLog
from bbs.daemons.watchdog import SystemdWatchdog
from bbs.limits.connections import Admission, IPausablePort, Network, Networks
from bbs.limits.handshakes import Handshakes
from bbs.protocols.line import LineFactory
from bbs.protocols.stomp import Broker, RedundantStomp, StompService
from bbs.protocols.stomp.interfaces import IStomp, StompError, StompRefused
from bbs.rules import fleets
from bbs.storage import clock, engines, migrations
from bbs.storage.database import Database, DiskSpace, unused_bytes
from bbs.storage.engines import DatabaseRefused

RECEIPT_DEADLINE = 2.0  # seconds that a `listen` waits for the broker's confirmation
FAREWELL = 2.0  # seconds that peers have to leave by themselves when a server stops

MOST_EVENTS = 32
"""Events in a turn of the reactor. The most expensive one, when a visitor who is logged in leaves
the gateway, takes about 1 ms on a busy machine. With fewer, the turns themselves would cost."""

DISK_INTERVAL = 2.0
"""Seconds between looks at the free disk. A user stores 0.5 MiB a second at the most
(`[limits] deliveries`), so that 64 of them at once store 64 MiB from one look to the next."""

FREE_DISK, FREE_SHARE = 2**28, 1 / 16
"""Bytes that stay free by default, and the most of a small disk that they may be: sixteen logs of
10 MiB, a WAL of 16 MiB, and a day of accounts and sessions have room there."""

OWN_SHARE = 1 / 4
"""How much of that has to be free on the disk itself. The rest may be pages that the database has
and does not use: what people delete, and what expires, makes no room elsewhere."""

DISK_LOG_INTERVAL = 60.0  # seconds between two lines in the log that the disk is nearly full

_LISTEN_ADVICE = {
    errno.EADDRINUSE: ": another program listens there: stop it, or choose another port",
    errno.EADDRNOTAVAIL: ": this machine has no such address: choose one of its own",
    errno.EACCES: ": ports below 1024 are for root: choose another port",
}

EMBEDDED = "broker.url: the embedded broker is inside a login server; name another broker"

T = TypeVar("T")

_log = Logger()


def disk_space(path: str) -> tuple[int, int]:
    """The bytes that are free for this process on the disk of `path`, and all that it has."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


class CannotStart(Exception):
    """A server cannot start; the text is the reason, in one line."""


REASONS = (
    *(CannotListen, CannotStart, ConfigError, DatabaseRefused, PluginUnusable, ServiceUnusable),
)
"""Errors whose text says in one line what to mend."""


class Daemon(TwistedService):
    """A service whose parts start one after the other and stop in reverse.

    :param on_failure: called with one line if the start fails.
    :cvar kind: the second half of the daemon's name, after the name of the service.
    :cvar keeps_security_log: whether it writes `log.security`.
    :ivar server_id: the fleet's id for this server, "" before there is one.
    :ivar admission: decides who may connect to this process, once the daemon has started.
    :ivar in_thread: runs blocking work on a thread, once the database is open.
    :ivar log_observer: writes twistd's log; None: twistd does that by itself.
    :ivar second_choice: where to listen instead of a place whose port is taken.
    :ivar wall: the clock that stamps what is stored, the service's; `reactor.seconds` is for
        measuring.
    :ivar when_begun: called when the daemon has been told to start.
    :ivar when_started: called when it has started.
    :ivar base: what the server stands on, once it has its database and knows of its broker.
    :ivar debug: what developers are told of this process; None outside of an `up --debug`.
    :ivar first: another daemon in the process, which starts before this one and shares its
        admission.
    :ivar figures: those of this process, which heartbeats carry (`Tally`).
    """

    first: Daemon | None = None
    debug: DebugReport | None = None
    base: Runtime | None = None
    kind: str
    keeps_security_log = True
    admission: Admission
    in_thread: Callable[..., Deferred[Any]]

    def __init__(
        self,
        service: Service,
        config: Configuration,
        reactor: IReactor,
        on_failure: Callable[[str], None],
    ) -> None:
        self.name = f"{service.name}-{self.kind}"
        self.service = extended(service)
        self.config = config
        # Before anything gets `reactor.seconds` to measure by.
        measure_steadily(reactor)
        self.reactor = reactor
        self.wall = ServiceClock(time.time, since_boot)
        self.server_id = ""
        self.log_observer: ILogObserver | None = None
        self.second_choice: Mapping[ListeningPlace, ListeningPlace] = {}
        self.on_failure = on_failure
        self.when_begun: Callable[[], object] = lambda: None
        self.when_started: Callable[[], object] = lambda: None
        self.figures: dict[str, int] = {}
        self._stops: list[Callable[[], Any]] = []
        self._starting: Deferred[None] | None = None

    async def start(self) -> None:
        """Start the parts with `begin`, `listen` and `on_stop`."""
        raise NotImplementedError

    def setServiceParent(self, parent: Any) -> None:
        if self.log_observer is not None:
            parent.setComponent(ILogObserver, self.log_observer)
        TwistedService.setServiceParent(self, parent)

    def startService(self) -> None:
        TwistedService.startService(self)
        # Each connection needs a descriptor; the usual limit of 1024 is for programs with select.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if self.first is not None:
            self.admission = self.first.admission
        else:
            self.admission = admission_of(self.reactor, self.config.limits, hard)
        bound_turns(self.reactor)
        self.when_begun()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    async def _start(self) -> None:
        if self.first is None:
            self._begin_process()
        await self.start()
        self.when_started()

    def stopService(self) -> Deferred[None]:
        TwistedService.stopService(self)
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._starting:
            self._starting.cancel()
            await self._starting
        while self._stops:
            try:
                stopped = self._stops.pop()()
                if stopped is not None:
                    await stopped
            except Exception:
                # The other parts must stop all the same.
                _log.failure("a part of {name} failed to stop", name=self.name)

    def _failed(self, failure: Failure) -> None:
        if not self.running:
            return
        error = failure.value
        if isinstance(error, Refusal):
            reason = error.message
        elif isinstance(error, REASONS):
            reason = " ".join(str(error).split())
        else:
            _log.failure("{name} did not start", failure=failure, name=self.name)
            reason = "a bug, which the log describes"
        _log.critical("{name} did not start: {reason}", name=self.name, reason=reason)
        self.on_failure(f"{self.name}: {reason}")

    def speaker(self) -> Speaker:
        return Speaker(self.service.name, self.kind, self.server_id)

    def on_stop(self, stop: Callable[[], Any]) -> None:
        """Call `stop` when the daemon stops, after the parts that started later have stopped."""
        self._stops.append(stop)

    def begin(self, service: Any) -> None:
        """Start a part that is a service, and stop it with the daemon."""
        cast("IService", service).startService()
        self.on_stop(service.stopService)

    def carry_figures(self, tally: Tally) -> None:
        """Put the figures of this process into `tally`, now and from now on."""
        tally.figures.update(self.figures)
        self.figures = tally.figures

    def begin_others(self, home: ServerContext) -> None:
        """Start the Twisted services that the service declares (`Service.daemons`).

        :raises CannotStart: one of them cannot be made.
        """
        try:
            daemons = start_daemons(home)
        except Exception as error:  # The service's code may raise anything.
            _log.failure("a daemon of {service} did not start", service=self.service.name)
            raise CannotStart(
                f"a daemon of {self.service.name}: {type(error).__name__}: {error}"
            ) from error
        for daemon in daemons:
            self.on_stop(daemon.stopService)
        if self.config.manhole.socket:
            self.begin_manhole(home.database, home)

    def begin_manhole(self, database: Database, home: ServerContext | None = None) -> None:
        """Begin the manhole that `manhole.socket` asks for."""
        # Imported here, as few servers have one.
        from bbs.daemons.manhole import Manhole, socket_of

        path = socket_of(os.path.abspath(self.config.manhole.socket), self.server_id)
        names = {"server": self, "home": home, "database": database, "run": database.run}
        name = f"{self.kind} server {self.server_id}"
        self.begin(Manhole(path, names, name, self.reactor))

    def _begin_process(self) -> None:
        """Begin what daemons in the same process share."""
        if clash := name_clash():
            _log.warn("{clash}", clash=clash)
        for line in self.config.former_keys():
            _log.warn("{line}", line=line)
        if watchdog := SystemdWatchdog.from_environ(os.environ, self.reactor):
            self.begin(watchdog)
        if self.config.log.security and self.keeps_security_log:
            self._begin_security_log()
        if path := os.environ.get(DEBUG_VARIABLE):
            self.debug = DebugReport(path, lambda: f"{self.kind} {self.server_id[:8]}".rstrip())
            self.begin(self.debug)
        if self.config.tracing.endpoint:
            self._begin_tracing()

    def _begin_security_log(self) -> None:
        log = self.config.log
        path = os.path.abspath(log.security)
        try:
            self.begin(SecurityLog(path, log.rotate.bytes, log.keep, self.reactor))
        except OSError as error:
            reason = f"log.security: cannot write {log.security}: {error.strerror}"
            raise CannotStart(reason) from error

    def _begin_tracing(self) -> None:
        settings = self.config.tracing
        try:
            name, version = f"{self.service.name}-{self.kind}", self.service.program_version
            tracing.start(name, settings.endpoint, settings.sample, version)
        except ImportError:
            self.cannot_trace(f"tracing.endpoint: {tracing.NEEDS}")
        else:
            self.on_stop(lambda: tracing.stop(self.reactor))

    def cannot_trace(self, reason: str) -> None:
        """Refuse to start: there is a collector, but the packages that send to it are missing."""
        raise CannotStart(reason)

    async def open_database(self) -> Database:
        """Connect to the database, and upgrade its schema unless it is newer and suits this
        version."""
        (url,) = await self._reveal("database.url", self.config.database.url)
        workers = Workers(self.reactor, "database", 1)
        self.begin(workers)
        self.in_thread = workers.run
        if warning := await workers.run(engines.prepare_file, url):
            _log.warn("{warning}", warning=warning)
        database = Database(url, workers, self.reactor, self.config.database.pool_size)
        database.refuse_here()
        database.slow.server = lambda: f"{self.kind} server {self.server_id}".rstrip()
        if self.debug is not None:
            self.debug.watch(database, self.service.schema)
        _log.info("the database's driver is {driver}", driver=database.driver)
        schema = self.service.schema
        if path := engines.file_of(url):
            floor = self.config.limits.free_disk
            self.begin(DiskWatch(database, path, floor, self.reactor, workers.run))
        _, there = await database.run_untimed(migrations.upgrade, database.peewee, schema)
        if facts := database.server:
            _log.info("the database's server is {facts}", facts=str(facts))
            if advice := await database.advice():
                _log.warn("{advice}", advice=advice)
        if newer := migrations.newer(there, schema):
            _log.info("the database is newer, and suits this program: {newer}", newer=newer)
        asked = self.wall.steady()
        self.wall.hear(await database.run_at_start(clock.read), asked)
        installed = {each.name for each in schema.parts}
        if gone := [name for name in there.extensions if name not in installed]:
            _log.info(
                "extensions that are not installed have left their tables: {names}",
                names=", ".join(gone),
            )
        return database

    async def runtime(self, database: Database, stomp: IStomp) -> Runtime:
        service, config, reactor = self.service, self.config, self.reactor
        hint_key = await database.run_at_start(fleets.hint_key)
        answered = None
        if self.debug is not None:
            answered = declared.telling(self.debug.tell)
        elif os.environ.get(declared.COMPARE):
            answered = declared.telling(declared.fail)
        self.base = Runtime(
            *(service, config, database, stomp, reactor, self.wall, hint_key, self.admission),
            answered,
        )
        return self.base

    async def begin_broker(self, urls: tuple[str, ...]) -> StompService | RedundantStomp:
        """Begin to connect to a broker, or to all; `reach_broker` waits for one."""
        brokers = [Broker.from_url(url) for url in await self._reveal("broker.url", *urls)]
        is_redundant = self.config.broker.all and len(brokers) > 1
        client = RedundantStomp if is_redundant else StompService
        stomp = client(self.reactor, brokers, deadline=RECEIPT_DEADLINE)
        self.begin(stomp)
        return stomp

    async def reach_broker(self, stomp: StompService | RedundantStomp) -> None:
        """Wait until a broker is connected or all are known to be away; then a connection is tried
        in the background.

        :raises CannotStart: the broker refuses the credential.
        """
        try:
            with tracing.span("broker"):
                await stomp.first_connection()
        except StompRefused as error:
            raise CannotStart(f"broker.url: {error}") from error
        except StompError as error:
            _log.warn("the broker is away: {error}", error=str(error))

    async def _reveal(self, key: str, *values: str) -> tuple[str, ...]:
        """The values with the secrets that they refer to. `self.config` has the references only."""
        if not references.needed(values):
            return values
        return await self.ask_secrets("secrets", references.reveal, key, values, self.config)

    async def ask_secrets(self, name: str, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work, which may ask for secrets, on a thread `name`, which ends then."""
        return await self.run_once(name, work, *arguments)

    async def run_once(self, name: str, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work on a thread `name`, which ends then."""
        workers = Workers(self.reactor, name, 1)
        workers.startService()
        try:
            return await workers.run(work, *arguments)
        finally:
            await workers.stopService()

    async def listen(
        self,
        places: tuple[ListeningPlace, ...],
        factory: LineFactory,
        proxies: Sequence[Network] = (),
    ) -> list[IListeningPort]:
        """Serve the line protocol at `places`, also by `proxies`, which speak the PROXY protocol; a
        stop closes the connections."""
        self.on_stop(lambda: factory.close_all(FAREWELL))
        believed = Networks(proxies) if proxies else None
        return [await self._listen(place, factory, proxies=believed) for place in places]

    async def _listen(
        self,
        place: ListeningPlace,
        factory: IProtocolFactory,
        *,
        pauses: bool = True,
        proxies: Networks | None = None,
    ) -> IListeningPort:
        """Listen with `factory`. The port `pauses` while descriptors are short, unless operators
        need it."""
        contexts = Contexts(place, await self._read_pems(place)) if place.is_tls else None
        limits = self.config.limits
        handshakes = Handshakes(
            limits.handshakes, Networks(limits.trusted), self.admission.knows, self.reactor
        )
        endpoint = endpoint_at(self.reactor, place, contexts, proxies, handshakes, self.admission)
        try:
            port: IListeningPort = await endpoint.listen(factory)
        except (CannotListenError, OSError) as error:
            reason = getattr(error, "socketError", error)
            second = self.second_choice.get(place)
            if second and getattr(reason, "errno", None) == errno.EADDRINUSE:
                return await self._listen(second, factory, pauses=pauses, proxies=proxies)
            advice = _LISTEN_ADVICE.get(getattr(reason, "errno", None) or 0, "")
            raise CannotStart(f"cannot listen on {place}: {reason}{advice}") from error
        self.on_stop(port.stopListening)
        if contexts is not None:
            self._keep_certificate(place, port, contexts)
        if pauses and hasattr(port, "stopReading"):
            self.on_stop(self.admission.add_port(cast("IPausablePort", port)))
        return port

    async def _read_pems(self, place: ListeningPlace) -> Pems:
        return await self.ask_secrets("certificate", read_pems, place, self.config)

    def _keep_certificate(
        self, place: ListeningPlace, port: IListeningPort, contexts: Contexts
    ) -> None:
        """Take over new certificates of a place until the daemon stops, and tell when they end."""
        number = getattr(port.getHost(), "port", 0)

        def note(end: float) -> None:
            # The other daemon in the process has the heartbeats.
            note_certificate((self.first or self).figures, number, place.certificate, end)

        def read() -> Deferred[Pems]:
            return Deferred.fromCoroutine(self._read_pems(place))

        self.begin(CertificateRenewal(place, contexts, read, self.reactor, self.wall, note))


class DiskWatch(TimerService):
    """Has texts refused while the disk of an SQLite database is nearly full (`stores_text`), logs
    that, and tells the database how much is free.

    :param floor: bytes that have to stay free, or `AUTO`.
    :param in_thread: runs `space` on a thread, as a disk may be slow to answer.
    :param space: gives the free bytes, and all bytes, of the disk of a path.
    """

    def __init__(
        self,
        database: Database,
        path: str,
        floor: int | str,
        reactor: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        space: Callable[[str], tuple[int, int]] = disk_space,
    ) -> None:
        TimerService.__init__(self, DISK_INTERVAL, lambda: Deferred.fromCoroutine(self._tick()))
        self.clock = self._reactor = reactor
        self._database, self._path, self._floor = database, path, floor
        self._in_thread, self._space = in_thread, space
        self._logged, self._logged_at = DiskState.FREE, float("-inf")

    async def _tick(self) -> None:
        try:
            await self._look()
        except Exception:  # After an error the timer would stop.
            _log.failure("a look at the free disk failed")

    async def _look(self) -> None:
        try:
            free, whole = await self._in_thread(self._space, self._path)
        except OSError:
            return  # The database reports what is wrong with its file.
        floor = self._floor
        if isinstance(floor, str):
            floor = min(FREE_DISK, int(whole * FREE_SHARE))
        if floor * OWN_SHARE <= free < floor:
            with suppress(Unavailable):
                free += await self._database.run(unused_bytes)
        self._database.space = DiskSpace(free, floor, whole)
        was_low = self._database.disk_is_low
        self._database.note_room(is_low=free < floor)
        if self._database.disk_is_low:
            self._log_lack(free, floor)
        elif was_low:
            self._logged = DiskState.FREE
            _log.info("the disk has room again: {free} MiB", free=free >> 20)

    def _log_lack(self, free: int, floor: int) -> None:
        """Log that there is too little room: at once when that changes, else once a minute."""
        now, disk = self._reactor.seconds(), self._database.disk
        if disk is self._logged and now - self._logged_at < DISK_LOG_INTERVAL:
            return
        self._logged, self._logged_at = disk, now
        _log.error(
            "the disk is {state}: {free} MiB are free on the disk of {path}, and {floor} MiB have"
            " to be. Delete old backups or other files on it, or enlarge it.",
            state=_LACKS[disk],
            free=free >> 20,
            floor=-(-floor >> 20),
            path=self._path,
        )


_LACKS = {
    DiskState.LOW: "nearly full, and what people write is refused",
    DiskState.FULL: "full, and nothing can be stored: nobody can log in or write",
}


def bound_turns(reactor: IReactorTime) -> None:
    """Have `reactor` handle at most `MOST_EVENTS` events in a turn, if it uses epoll, as on Linux.

    Twisted handles all events in one turn. When thousands of connections end at once, nobody else
    is served meanwhile: 6,000 of the telnet gateway's took 720 ms in one turn. Events that are left
    are the first of the next turn: epoll "will round robin through the set of ready file
    descriptors" (epoll_wait(2)), so it passes over nobody.

    The work of a single event or timer is bounded where it is done.
    """
    epoll = getattr(select, "epoll", None)
    # Twisted has no option for this, so its epoll object is replaced (`EPollReactor.doPoll`).
    poller = getattr(reactor, "_poller", None)
    if epoll is not None and isinstance(poller, epoll):
        reactor._poller = _Poller(poller)  # type: ignore[attr-defined]


class _Poller:
    """An epoll object that returns few events at a time."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        # Looked up once: each is called for every connection.
        self._poll = poller.poll
        self.register, self.unregister = poller.register, poller.unregister
        self.modify = poller.modify

    def poll(self, timeout: float, most: int) -> Any:
        return self._poll(timeout, min(most, MOST_EVENTS))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)
