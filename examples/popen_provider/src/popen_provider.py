"""App servers as processes of `subprocess.Popen`: a provider to copy from.

It launches in several pools (sets of processors), several at a time, and tells an app server that
it will be ended.
"""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread
from typing import NamedTuple
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults, inlineCallbacks, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from bbs.framework import setting
from bbs.providers import (
    IHasPools,
    IMachine,
    IMakesBatches,
    Instance,
    IProvider,
    LaunchFailed,
    LaunchKit,
    MachineKit,
    MachineNotice,
    MachineUnavailable,
    Provider,
)


@dataclass(frozen=True)
class Section:
    nice: int = setting(5, "how far app servers stand back behind other processes", minimum=0)
    grace: float = setting(5.0, "s that an app server has to end by itself", minimum=0)
    processors: tuple[str, ...] = setting((), "sets such as 0-3, each a pool; none: no pools")
    notices: str = setting("", "a folder; a file named like a launch says why that will end")


class Server(NamedTuple):
    process: Popen
    ended: Deferred
    pool: str


@implementer(IProvider, IHasPools, IMakesBatches)
class PopenProvider(Service):
    shared, when_changed = False, None
    write_strategy, lacking_pools = None, ()

    def __init__(self, kit: LaunchKit) -> None:
        self.scope, self._kit, self._launching = kit.scope, kit, DeferredLock()
        self._servers: dict[str, Server] = {}
        self.pools = {f"processors {each}": each for each in kit.section.processors}
        self._written: dict[str, str] = {}  # The pool of each launch that is to come.
        self.prefer({}, {}, False)

    # IProvider

    def launch(self, launch_id: str) -> Deferred:
        return self._launching.run(self._launch, launch_id)

    def list(self) -> Deferred:
        return succeed({id: self._instance(id, server) for id, server in self._servers.items()})

    @inlineCallbacks
    def terminate(self, launch_id: str | None = None):  # None: all of them.
        yield self._launching.run(lambda: None)  # What is being launched is there then.
        servers = [it for each, it in self._servers.items() if launch_id in (each, None)]
        for process, ended, _ in servers:
            process.terminate()
            kill = self._kit.reactor.callLater(self._kit.section.grace, process.kill)
            ended.addCallback(lambda _, it: it.active() and it.cancel(), kill)
        yield gatherResults([each.ended for each in servers])

    def stopService(self) -> Deferred:
        Service.stopService(self)
        return self.terminate()

    # IHasPools: which pool a launch is to be in

    def prefer(
        self, doubts: Mapping[str, float], staying: Mapping[str, int], in_two_zones: bool
    ) -> None:
        self._doubts, self._staying = doubts, staying

    def choose_strategies(self, count: int, to_stop: bool = False) -> Sequence[str]:
        chosen, staying = [], Counter(self._staying)
        for _ in range(count if self.pools else 0):
            # In the pool with the fewest doubts, and of these the one with the fewest servers.
            best = min(self.pools, key=lambda p: (self._doubts.get(p, 0), staying[self.pools[p]]))
            staying[self.pools[best]] += 1
            chosen.append(best)
        return chosen

    def know_strategies(self, written: Mapping[str, str], asked: Collection[str]) -> None:
        news = {id: pool for id, pool in written.items() if pool in self.pools}
        self._written = news | self._written

    def forget_strategies(self, kept: Collection[str] = ()) -> None:
        self._written = {id: pool for id, pool in self._written.items() if id in kept}

    # IMakesBatches: launches of one thread, whose ids begin alike

    def batches(self, strategies: Sequence[str]) -> Sequence[tuple[str, str]]:
        batch = uuid4().hex[:24]
        found = [(f"{batch}-{number}", pool) for number, pool in enumerate(strategies)]
        return found if len(found) > 1 else []

    def _batch_of(self, launch_id: str) -> Sequence[str]:
        """The launches to begin together with this one, which is among them."""
        batch, dash, _ = launch_id.rpartition("-")
        others = [id for id in self._written if dash and id.startswith(batch + dash)]
        return [launch_id, *(id for id in others if id != launch_id and id not in self._servers)]

    # How it is done

    async def _launch(self, launch_id: str) -> None:
        if launch_id in self._servers:
            return
        if not self.running:
            raise LaunchFailed("the provider is not running")
        if self.pools and launch_id not in self._written:
            [pool] = self.choose_strategies(1)
            if self.write_strategy:
                await self.write_strategy(launch_id, None, pool)
            self._written[launch_id] = pool
        started = await deferToThread(self._start_all, self._batch_of(launch_id))
        for each in [id for id, it in self._servers.items() if it.ended.called][:-99]:
            del self._servers[each]  # The last hundred that have ended stay listed.
        for id, process in started.items():
            self._keep(id, process)
        if launch_id not in started:
            raise LaunchFailed(f"cannot start an app server: {self._error}")

    def _start_all(self, launch_ids: Sequence[str]) -> Mapping[str, Popen]:
        started: dict[str, Popen] = {}
        try:
            for id in launch_ids:
                started[id] = Popen(self._argv(id), stdin=PIPE, env=self._kit.environment)
        except OSError as error:  # The others are asked for as well.
            self._error = error
        return started

    def _argv(self, launch_id: str) -> Sequence[str]:
        pool = self._written.get(launch_id)
        bound = ["taskset", "--cpu-list", self.pools[pool]] if pool else []
        nice = ["nice", f"-n{self._kit.section.nice}"]
        return [*bound, *nice, *self._kit.command(launch_id)]

    def _keep(self, launch_id: str, process: Popen) -> None:
        ended, pool = Deferred().addCallback(self._tell), self._written.pop(launch_id, "")
        self._servers[launch_id] = Server(process, ended, pool)
        Thread(target=self._wait, args=(process, ended), daemon=True).start()
        self._tell()

    def _instance(self, launch_id: str, server: Server) -> Instance:
        process, ended, pool = server
        detail = f"process {process.pid} with return code {process.returncode}"
        zone = self.pools.get(pool, "")
        host = self._kit.host
        return Instance(launch_id, host, not ended.called, detail, zone=zone, pool=pool)

    def _wait(self, process: Popen, ended: Deferred) -> None:
        # Closes the pipe then. If this process ends first, so does the pipe, and the app server.
        with process:
            process.wait()
        self._kit.reactor.callFromThread(ended.callback, None)

    def _tell(self, _: None = None) -> None:
        if self.when_changed:
            with Logger().failuresHandled("when_changed failed"):
                self.when_changed()


@implementer(IMachine)
class Machine:
    """What an app server asks: whether somebody has written a notice for it."""

    notice_interval = 1.0

    def __init__(self, kit: MachineKit) -> None:
        self._notice = Path(kit.section.notices, kit.launch_id)

    def address(self) -> Deferred:
        return succeed(None)  # The provider's list has it.

    def instance_id(self) -> Deferred:
        return succeed(None)  # An operator reads the process's id in the list.

    def zone(self) -> Deferred:
        return succeed(",".join(map(str, sorted(os.sched_getaffinity(0))))[:64])

    def notice(self) -> Deferred:
        return deferToThread(self._read)

    def _read(self) -> MachineNotice | None:
        try:
            why = " ".join(self._notice.read_text().split())[:200]
        except FileNotFoundError:
            return None
        except (OSError, UnicodeError) as error:
            raise MachineUnavailable(f"cannot read a notice: {error}") from error
        return MachineNotice(why or "no reason", certain=not why.startswith("perhaps"))


def machine(kit: MachineKit) -> Machine | None:
    return Machine(kit) if kit.section.notices else None


popen = Provider("popen", Section, PopenProvider, machine=machine)
