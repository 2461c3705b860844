"""App servers as processes of `subprocess.Popen`: a provider to copy from."""

from dataclasses import dataclass
from subprocess import PIPE, Popen
from threading import Thread

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults, inlineCallbacks, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from bbs.framework import setting
from bbs.providers import Instance, IProvider, LaunchFailed, LaunchKit, Provider


@dataclass(frozen=True)
class Section:
    nice: int = setting(5, "how far app servers stand back behind other processes", minimum=0)
    grace: float = setting(5.0, "s that an app server has to end by itself", minimum=0)


@implementer(IProvider)
class PopenProvider(Service):
    shared, when_changed = False, None

    def __init__(self, kit: LaunchKit) -> None:
        self.scope, self._kit, self._launching = kit.scope, kit, DeferredLock()
        self._servers: dict[str, tuple[Popen, Deferred]] = {}

    def launch(self, launch_id: str) -> Deferred:
        return self._launching.run(self._launch, launch_id)

    def list(self) -> Deferred:
        host, detail = self._kit.host, "process {0.pid} with return code {0.returncode}".format
        servers = self._servers.items()
        return succeed({i: Instance(i, host, not end.called, detail(p)) for i, (p, end) in servers})

    @inlineCallbacks
    def terminate(self, launch_id: str | None = None):  # None: all of them.
        yield self._launching.run(lambda: None)  # What is being launched is there then.
        servers = [it for each, it in self._servers.items() if launch_id in (each, None)]
        for process, ended in servers:
            process.terminate()
            kill = self._kit.reactor.callLater(self._kit.section.grace, process.kill)
            ended.addCallback(lambda _, it: it.active() and it.cancel(), kill)
        yield gatherResults([ended for _, ended in servers])

    def stopService(self) -> Deferred:
        Service.stopService(self)
        return self.terminate()

    async def _launch(self, launch_id: str) -> None:
        if launch_id in self._servers:
            return
        if not self.running:
            raise LaunchFailed("the provider is not running")
        argv = ["nice", f"-n{self._kit.section.nice}", *self._kit.command(launch_id)]
        try:
            process = await deferToThread(Popen, argv, stdin=PIPE, env=self._kit.environment)
        except OSError as error:
            raise LaunchFailed(f"cannot start an app server: {error}") from error
        for each in [e for e, (_, ended) in self._servers.items() if ended.called][:-99]:
            del self._servers[each]  # The last hundred that have ended stay listed.
        self._servers[launch_id] = process, Deferred().addCallback(self._tell)
        Thread(target=self._wait, args=self._servers[launch_id], daemon=True).start()
        self._tell()

    def _wait(self, process: Popen, ended: Deferred) -> None:
        # Closes the pipe then. If this process ends first, so does the pipe, and the app server.
        with process:
            process.wait()
        self._kit.reactor.callFromThread(ended.callback, None)

    def _tell(self, _: None = None) -> None:
        if self.when_changed:
            with Logger().failuresHandled("when_changed failed"):
                self.when_changed()


popen = Provider("popen", Section, PopenProvider)
