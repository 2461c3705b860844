"""App servers as processes of this machine, which end with the login server."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bbs.framework import setting
from bbs.providers import Instance, IProvider, LaunchFailed, LaunchKit, Provider
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

KEPT = 100
"""How many app servers that have ended stay listed."""


@dataclass(frozen=True)
class Section:
    grace: float = setting(5.0, "s that an app server has to end by itself", minimum=0)


class AppServer(ProcessProtocol):
    """One process. Its standard input ends with this process, and it does then."""

    transport: IProcessTransport

    def __init__(self, when_ended: Callable[[], None]) -> None:
        self.alive = True
        self.detail = "starts"
        self._when_ended = when_ended
        self._waiting: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self.detail = f"process {self.transport.pid}"

    def processExited(self, reason: Failure) -> None:
        self.alive = False
        self.detail = f"ended: {reason.getErrorMessage()}"
        self.transport.loseConnection()
        self._when_ended()
        for each in self._waiting:
            each.callback(None)

    def signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def ended(self) -> Deferred[None]:
        """Fires when it has ended."""
        if not self.alive:
            return succeed(None)
        self._waiting.append(waiting := Deferred[None]())
        return waiting


@implementer(IProvider)
class Processes(Service):
    """Launches only while it runs, each id once."""

    shared = False
    when_changed: Callable[[], None] | None = None

    def __init__(self, kit: LaunchKit) -> None:
        self.scope = kit.scope
        self._kit = kit
        self._servers: dict[str, AppServer] = {}

    def launch(self, launch_id: str) -> Deferred[None]:
        if launch_id in self._servers:
            return succeed(None)
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        server = AppServer(self._changed)
        argv, environ = self._kit.command(launch_id), self._kit.environment
        fds = {0: "w", 1: 1, 2: 2}  # Its output goes where the login server's does.
        try:
            self._kit.reactor.spawnProcess(server, argv[0], argv, environ, childFDs=fds)
        except OSError as error:
            return fail(LaunchFailed(f"cannot start an app server: {error}"))
        self._servers[launch_id] = server
        for each in [id for id, it in self._servers.items() if not it.alive][:-KEPT]:
            del self._servers[each]
        self._changed()
        return succeed(None)

    def list(self) -> Deferred[Mapping[str, Instance]]:
        servers, host = self._servers.items(), self._kit.host
        found = {id: Instance(id, host, it.alive, it.detail) for id, it in servers}
        return succeed(found)

    def terminate(self, launch_id: str) -> Deferred[None]:
        server = self._servers.get(launch_id)
        if server is None or not server.alive:
            return succeed(None)
        server.signal("TERM")
        grace, reactor = self._kit.section.grace, self._kit.reactor
        kill = reactor.callLater(grace, server.signal, "KILL")
        return server.ended().addCallback(lambda _: kill.active() and kill.cancel())

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        ends = [self.terminate(each) for each in self._servers]
        return DeferredList(ends).addCallback(lambda _: None)

    def _changed(self) -> None:
        if self.when_changed:
            with Logger().failuresHandled("when_changed failed"):
                self.when_changed()


provider = Provider("NAME", Section, Processes)
