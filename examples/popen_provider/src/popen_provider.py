"""App servers as processes of `subprocess.Popen`: a provider to copy from."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from subprocess import PIPE, Popen
from threading import Thread

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from bbs.framework import Instance, IProvider, LaunchFailed, LaunchKit, Provider, setting


@dataclass(frozen=True)
class Section:
    nice: int = setting(5, "how far app servers stand back behind other processes", minimum=0)
    log_folder: str = setting("popen-logs", "where each app server has its log")
    grace: float = setting(5.0, "s that an app server has to end by itself", minimum=0)


@implementer(IProvider)
class PopenProvider(Service):
    """Its app servers end with it. The last hundred that have ended stay listed."""

    shared = False
    when_changed: Callable[[], None] | None = None

    def __init__(self, kit: LaunchKit) -> None:
        self.scope, self._kit, self._launching = kit.scope, kit, DeferredLock()
        self._servers: dict[str, tuple[Popen[bytes], Deferred[None]]] = {}

    def launch(self, launch_id: str) -> Deferred[None]:
        return self._launching.run(self._launch, launch_id)

    def list(self) -> Deferred[Mapping[str, Instance]]:
        return succeed({each: self._instance(each) for each in self._servers})

    def terminate(self, launch_id: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._end({launch_id}))

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._end(self._servers.keys()))

    def _instance(self, launch_id: str) -> Instance:
        process, _ = self._servers[launch_id]
        end = "" if process.returncode is None else f", ended with {process.returncode}"
        return Instance(launch_id, self._kit.host, not end, f"process {process.pid}{end}")

    async def _launch(self, launch_id: str) -> None:
        if launch_id in self._servers:
            return
        if not self.running:
            raise LaunchFailed("the provider is not running")
        try:
            process = await deferToThread(self._start, launch_id)
        except OSError as error:
            raise LaunchFailed(f"cannot start an app server: {error}") from error
        ended: Deferred[None] = Deferred()
        self._servers[launch_id] = process, ended.addCallback(self._ended)
        Thread(target=self._wait, args=(process, ended), daemon=True).start()
        self._tell()

    def _start(self, launch_id: str) -> Popen[bytes]:
        kit, section = self._kit, self._kit.section
        os.makedirs(section.log_folder, mode=0o700, exist_ok=True)
        argv = ["nice", f"-n{section.nice}", *kit.command(launch_id)]
        # Nobody writes to the pipe: it ends with this process, and the app server with it. Ctrl-C
        # does not reach a session of its own: this process ends its app servers in its own order.
        with open(os.path.join(section.log_folder, f"{launch_id}.log"), "ab") as log:
            return Popen(argv, 0, None, PIPE, log, log, env=kit.environment, start_new_session=True)

    def _wait(self, process: Popen[bytes], ended: Deferred[None]) -> None:
        with process:  # Closes the pipe after the process has ended.
            process.wait()
        self._kit.reactor.callFromThread(ended.callback, None)

    def _ended(self, _: None) -> None:
        ended = [each for each in self._servers if not self._instance(each).alive]
        for each in ended[:-100]:
            del self._servers[each]
        self._tell()

    async def _end(self, launch_ids: Collection[str]) -> None:
        await self._launching.run(lambda: None)  # What is being launched is there then.
        servers = [self._servers[each] for each in launch_ids if each in self._servers]
        for process, _ in servers:
            process.terminate()
        kills = [self._kit.reactor.callLater(self._kit.section.grace, p.kill) for p, _ in servers]
        await gatherResults([ended for _, ended in servers])
        for kill in kills:
            if kill.active():
                kill.cancel()

    def _tell(self) -> None:
        if self.when_changed:
            with Logger().failuresHandled("when_changed failed"):
                self.when_changed()


popen = Provider("popen", Section, PopenProvider)
